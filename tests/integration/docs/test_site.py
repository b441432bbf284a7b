"""The site of docs/, built as `make docs-site` builds it: from the tree itself, and with mistakes."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
# What the navigation and the pages' links need, beside docs/.
BESIDE_DOCS = [
    "mkdocs.yml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "helm/synthray",
    "manifests/examples",
    "tests/cluster/environment",
    "tools/docs_site.py",
]


def build_site(tree: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Ends with the code of mkdocs; its words are in stderr."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    answer = build_site(REPOSITORY, built)
    assert answer.returncode == 0, answer.stderr
    assert "WARNING" not in answer.stderr
    return built


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that the site is made of."""
    copy = tmp_path / "tree"
    for path in ("docs", *BESIDE_DOCS):
        source = REPOSITORY / path
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / path)
    return copy


class Loaded(HTMLParser):
    """What a browser loads by itself when it opens a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("src") or (given.get("href") if tag == "link" else None)
        if address and given.get("rel") not in {"canonical", "prev", "next"}:
            self.addresses.append(address)


def test_a_page_loads_nothing_from_elsewhere_and_all_that_it_loads_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in Loaded(page).addresses:
            assert not re.match(r"[a-z]+:|//", address), f"{page.name} loads {address}"
            if page.name != "404.html":
                assert (page.parent / address.split("?")[0].split("#")[0]).is_file(), (page.name, address)


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    for page in (REPOSITORY / "docs").rglob("*.md"):
        place = page.relative_to(REPOSITORY / "docs").with_suffix(".html")
        assert (site / str(place).replace("README.html", "index.html")).is_file()


def test_a_link_to_a_file_of_the_repository_leads_to_its_copy_in_the_site(site: Path) -> None:
    index = (site / "index.html").read_text()
    assert 'href="repository/CONTRIBUTING.html"' in index
    assert 'href="../docs/promise.html"' not in (site / "repository" / "CONTRIBUTING.html").read_text()
    assert 'href="../promise.html"' in (site / "repository" / "CONTRIBUTING.html").read_text()
    example = site / "repository" / "manifests" / "examples" / "ranzcr-512.yaml"
    assert example.read_text() == (REPOSITORY / "manifests/examples/ranzcr-512.yaml").read_text()


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        ("[x](no-such-page.md)", "'no-such-page.md'"),
        ("[x](promise.md#no-such-part)", "'promise.md#no-such-part'"),
        ("[x](../NO-SUCH-FILE.md)", "'../NO-SUCH-FILE.md'"),
        ("[x](/promise.md)", "absolute link '/promise.md'"),
        ("text\n- item", "begins a list right after text: put an empty line before it"),
    ],
)
def test_a_mistake_in_a_page_fails_the_build_and_is_named(tree: Path, mistake: str, complaint: str) -> None:
    page = tree / "docs" / "index.md"
    page.write_text(f"{page.read_text()}\n{mistake}\n")
    answer = build_site(tree, tree / "site")
    assert answer.returncode == 1
    warnings = [line for line in answer.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1, answer.stderr
    assert "index.md" in warnings[0]
    assert complaint in warnings[0]


def test_a_page_outside_the_navigation_fails_the_build(tree: Path) -> None:
    (tree / "docs" / "forgotten.md").write_text("# Forgotten\n")
    answer = build_site(tree, tree / "site")
    assert answer.returncode == 1
    assert "forgotten.md" in answer.stderr
