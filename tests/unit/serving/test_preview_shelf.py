import pytest
from memory_store import MemoryStore

from synthray.serving.preview_shelf import PreviewShelf, run_of


@pytest.mark.parametrize(
    ("uri", "run"),
    [
        ("s3://xray/runs/a/models/000000001000-a000001", "s3://xray/runs/a"),
        ("/data/a/states/000000001000-a000001", "/data/a"),
        ("/data/a/models/mine", None),
        ("/data/pipeline", None),
        ("/data/a/unet", None),
        ("", None),
    ],
)
def test_a_model_leads_to_its_run_by_its_address(uri: str, run: str | None) -> None:
    assert run_of(uri) == run


def test_what_is_no_preview_of_ours_is_passed_over() -> None:
    store = MemoryStore({"previews/000000000100/ema/1.png": b"no", "previews/x.png": b"", "run.json": b""})
    assert PreviewShelf(store).list() == []
