"""Each reason that a run can give has a page for whoever is on call, and the page says what is true."""

from pathlib import Path

import pytest

from synthray.errors import Reason
from synthray.operator.reasons import find_consequence

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
HEADINGS = ["## What the operator does", "## Look", "## Mend"]


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_has_a_page_that_says_what_it_means_what_happens_where_to_look_and_how_to_mend(
    reason: Reason,
) -> None:
    lines = (RUNBOOKS / f"{reason}.md").read_text().splitlines()
    assert lines[0] == f"# {reason}"
    assert lines[2], "what it means"
    assert [line for line in lines if line.startswith("## ")] == HEADINGS
    said = lines[lines.index(HEADINGS[0]) + 1]
    assert said.startswith(f"{find_consequence(reason).value.capitalize()}. ")


def test_the_index_names_every_page_and_there_is_no_other() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(Reason)
    index = (RUNBOOKS / "README.md").read_text()
    assert all(f"- [{page}]({page}.md): " in index for page in pages)
    alerts = {page.stem for page in (RUNBOOKS / "alerts").glob("*.md")}
    assert all(f"- [{page}](alerts/{page}.md): " in index for page in alerts)
