import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from committed_run import CommittedRun
from hypothesis import given, settings
from hypothesis import strategies as st

from synthray.errors import NotFound
from synthray.generation.gallery import PAGE_BESIDE_RUN, read_ledger, write_gallery, write_page_beside
from synthray.generation.gallery_page import GalleryContent, Picture, build_page
from synthray.generation.loss_curve import EpochPoint, Fault
from synthray.generation.preview_names import PreviewName
from synthray.generation.receipts import Pixels, PreviewOrigin, Receipt, pixels_sha256, write_png
from synthray.storage import ObjectStore, S3Settings, open_store

HISTORY = [
    {"epoch": 1, "images_seen": 100, "loss": 0.4, "validation_loss": 0.5, "useful_seconds": 9.0},
    {"epoch": 2, "images_seen": 200, "loss": 0.2, "validation_loss": None, "useful_seconds": 9.0},
]
OFF_CHAIN = {"epoch": 1, "images_seen": 100, "loss": 7.0, "validation_loss": None, "useful_seconds": 9.0}
FAULTS = [{"images_seen": 150, "kind": "WorkerLost", "message": "SIGKILL", "time": 0.0}]


class Page(HTMLParser):
    """A page read strictly: every tag that opens closes in order; collects tags, attributes and text."""

    VOID = frozenset({"meta", "img", "input", "line", "path", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def put_preview(run: CommittedRun, name: PreviewName, *, key: str = "") -> bytes:
    pixels: Pixels = np.full((16, 16, 1), name.seed, dtype=np.uint8)
    receipt = Receipt(
        model_uri="a",
        model_digest="0" * 64,
        architecture_digest="0" * 64,
        sampler="ddim",
        steps=2,
        seed=name.seed,
        profile="strict-1",
        pixels_sha256=pixels_sha256(pixels),
        fingerprint={},
        preview=PreviewOrigin.model_validate(
            {
                "run": "tiny",
                "images_seen": name.images_seen,
                "epoch": name.images_seen // 100,
                "weights": name.weights,
            }
        ),
    )
    png = write_png(pixels, receipt)
    run.store.write(key or name.picture_key, png)
    run.store.write(name.receipt_key, receipt.to_json().encode())
    return png


@pytest.fixture
def page_store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "page"), S3Settings())


def written(run: CommittedRun, destination: ObjectStore) -> Page:
    write_gallery(run.store, destination)
    return Page(destination.read("index.html").decode())


def test_rows_are_seeds_and_columns_are_epochs(run: CommittedRun, page_store: ObjectStore) -> None:
    run.commit(200, ledger={"history": HISTORY, "faults": FAULTS})
    pngs = {
        name.picture_key: put_preview(run, name)
        for images_seen in (100, 200)
        for weights in ("ema", "raw")
        for seed in (10, 9)
        for name in [PreviewName(images_seen, weights, seed)]
    }
    page = written(run, page_store)
    sources = [str(image["src"]) for image in page.all("img")]
    assert sources == [
        f"pictures/000000000{images_seen}/{weights}/{seed}.png"
        for seed in (9, 10)
        for images_seen in (100, 200)
        for weights in ("ema", "raw")
    ]
    for source in sources:
        assert page_store.read(source) == pngs[source.replace("pictures/", "previews/")]
    assert "Epoch 1 100 images Epoch 2 200 images 9 10" in page.text
    assert [radio["id"] for radio in page.all("input")] == ["show-ema", "show-raw"]
    assert "Epoch 2, 200 images seen." in page.text


def test_the_page_beside_a_run_shows_the_previews_where_they_lie(run: CommittedRun) -> None:
    run.commit(200, ledger={"history": HISTORY, "faults": FAULTS})
    names = [PreviewName(images_seen, "ema", 9) for images_seen in (100, 200, 300)]
    for name in names:
        put_preview(run, name)
    write_page_beside(run.store, "tiny")
    page = Page(run.store.read(PAGE_BESIDE_RUN).decode())
    # What was drawn after the newest state belongs to no epoch yet.
    assert [image["src"] for image in page.all("img")] == [name.picture_key for name in names[:2]]
    assert {(image["width"], image["height"]) for image in page.all("img")} == {("16", "16")}
    assert "Epoch 1 100 images Epoch 2 200 images 9" in page.text


def test_the_page_beside_a_run_is_there_before_its_first_preview(run: CommittedRun) -> None:
    run.commit(200, ledger={"history": HISTORY, "faults": []})
    write_page_beside(run.store, "tiny")
    assert "No previews yet" in run.store.read(PAGE_BESIDE_RUN).decode()


def test_the_loss_and_what_happened_come_from_the_newest_accepted_state(
    run: CommittedRun, page_store: ObjectStore
) -> None:
    first = run.commit(100, ledger={"history": HISTORY[:1], "faults": []})
    run.commit(900, resumes_from=first, ledger={"history": [OFF_CHAIN], "faults": []})
    run.commit(200, resumes_from=first, ledger={"history": HISTORY, "faults": FAULTS}, model=False)
    page = written(run, page_store)
    assert "training loss 0.4" in page.text
    assert "validation loss 0.5" in page.text
    assert "training loss 7" not in page.text
    assert "WorkerLost at 150 images" in page.text


def test_a_run_that_has_nothing_yet_still_has_a_page(run: CommittedRun, page_store: ObjectStore) -> None:
    page = written(run, page_store)
    assert "Nothing has been saved yet." in page.text
    assert "No epoch has ended yet" in page.text
    assert "No previews yet" in page.text
    assert page.all("img") == []


def test_a_place_without_a_run_is_not_found(page_store: ObjectStore, tmp_path: Path) -> None:
    empty = open_store(str(tmp_path / "empty"), S3Settings())
    with pytest.raises(NotFound, match=r"empty holds no run; name the prefix where its checkpoints are"):
        write_gallery(empty, page_store)


def test_a_preview_that_was_not_drawn_leaves_its_place_empty(
    run: CommittedRun, page_store: ObjectStore
) -> None:
    put_preview(run, PreviewName(100, "ema", 1))
    put_preview(run, PreviewName(200, "ema", 2))
    page = written(run, page_store)
    assert len(page.all("img")) == 2
    assert page.text.count("none") == 2
    assert page.all("input") == [], "there is nothing to choose between"


def test_what_is_no_preview_is_left_out_with_the_reason(run: CommittedRun, page_store: ObjectStore) -> None:
    put_preview(run, PreviewName(100, "ema", 1))
    run.store.write("previews/000000000100/ema/2.png", b"GIF89a")
    put_preview(run, PreviewName(100, "ema", 3), key="previews/000000000100/ema/03.png")
    run.store.write("previews/000000000100/ema/<script>.png", b"")
    report = write_gallery(run.store, page_store)
    assert report.num_pictures == 1
    [reason] = report.left_out
    assert "previews/000000000100/ema/2.png cannot be read as a PNG" in reason
    assert [info.key for info in page_store.list()] == ["index.html", "pictures/000000000100/ema/1.png"]


def test_the_page_is_the_same_when_written_again(run: CommittedRun, page_store: ObjectStore) -> None:
    run.commit(200, ledger={"history": HISTORY, "faults": FAULTS})
    put_preview(run, PreviewName(100, "ema", 1))
    write_gallery(run.store, page_store)
    first = page_store.read("index.html")
    write_gallery(run.store, page_store)
    assert page_store.read("index.html") == first


def build(run: str = "r", kind: str = "k", message: str = "m") -> str:
    history = tuple(EpochPoint(e, e * 100, 0.5 / e, 0.6 / e) for e in (1, 2))
    pictures = tuple(
        Picture(100, 1, weights, 1, f"pictures/{weights}.png", 64, 64) for weights in ("ema", "raw")
    )
    return build_page(GalleryContent(run, 2, 200, history, (Fault(150, kind, message),), pictures))


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_nothing_in_a_run_becomes_markup(run: str, kind: str, message: str) -> None:
    def skeleton(page: Page) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in page.tags]

    assert skeleton(Page(build(run, kind, message))) == skeleton(Page(build()))


def test_markup_in_a_runs_words_is_shown_as_it_is() -> None:
    page = Page(build(message="<img src=x onerror=alert(1)>&amp;"))
    assert "<img src=x onerror=alert(1)>&amp;" in page.text


def test_the_policy_allows_the_pages_own_style_and_pictures_alone() -> None:
    text = build()
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    [policy] = [meta["content"] for meta in Page(text).all("meta") if "http-equiv" in meta]
    assert policy == (
        f"default-src 'none'; img-src 'self'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = Page(build())
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src"):
            assert not re.match(r"[a-z]+:|//", attributes.get(name) or "")


def test_people_with_a_keyboard_or_a_screen_reader_find_their_way() -> None:
    page = Page(build())
    assert page.all("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert name not in attributes or attributes[name] in ids
    assert all(image["alt"] for image in page.all("img"))
    assert all(place["tabindex"] == "0" for place in page.all("div") if place.get("role") == "region")
    assert {cell["scope"] for cell in page.all("th")} == {"row", "col"}
    assert page.all("a")[0]["href"] == "#pictures"


def test_a_ledger_that_is_not_as_expected_is_read_as_far_as_it_goes() -> None:
    history, faults = read_ledger(
        {
            "history": [{"epoch": 1, "images_seen": 100, "loss": float("nan")}, 7, {"epoch": "x"}],
            "faults": [None, {"kind": "Restart"}, {"images_seen": 5, "kind": "Restart"}],
        }
    )
    assert history == (EpochPoint(1, 100, None, None),)
    assert faults == (Fault(5, "Restart", ""),)
    assert read_ledger({}) == ((), ())


def test_the_gallery_is_written_without_torch() -> None:
    code = "import synthray.generation.gallery, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
