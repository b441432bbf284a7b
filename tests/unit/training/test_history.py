"""What a run's prefix tells of its life."""

from pathlib import Path

import pytest
from committed_run import CommittedRun

from synthray.checkpoints.store import CheckpointStore
from synthray.errors import NotFound
from synthray.storage import S3Settings, open_store
from synthray.training.history import EPOCH_ENDED, read_history, to_documents
from synthray.training.ledger import AttemptStart, Ledger, Planned, RunEvent, after_start, with_events


@pytest.fixture
def run(tmp_path: Path) -> CommittedRun:
    return CommittedRun(open_store(str(tmp_path / "run"), S3Settings()), S3Settings())


def build_ledger() -> Ledger:
    lost = RunEvent(40, "WorkerLost", "a worker was lost", 2.0)
    begun = Ledger(started=1.0, saved=1.0)
    first = after_start(begun, 0, AttemptStart(1.0, number=1, workers=2, redone_images=0, faults=()))
    return with_events(first, [lost])


def test_starts_faults_epochs_and_the_newest_save_are_told_in_order(run: CommittedRun) -> None:
    state = run.commit(100, ledger=build_ledger().to_json(), validation_loss=0.25)
    history = read_history(CheckpointStore(run.store))
    assert [(entry.kind, entry.images_seen) for entry in history[:2]] == [
        (str(Planned.STARTED), 0),
        ("WorkerLost", 40),
    ]
    assert {entry.kind for entry in history[2:]} == {str(Planned.SAVED), EPOCH_ENDED}
    assert [entry.message for entry in history if entry.is_fault] == ["a worker was lost"]
    (epoch,) = (entry for entry in history if entry.kind == EPOCH_ENDED)
    assert epoch.message == f"epoch 1, model {state}, validation loss 0.25"


def test_an_attempt_that_has_saved_nothing_yet_is_told_by_its_own_record(run: CommittedRun) -> None:
    ledger = build_ledger().to_json()
    first = run.commit(100, ledger=ledger)
    run.commit(200, resumes_from=first, ledger=ledger)
    history = read_history(CheckpointStore(run.store))
    (second,) = (entry for entry in history if entry.message.startswith("attempt 2"))
    assert second.message == f"attempt 2 goes on from {first}"
    assert second.images_seen == 100


def test_times_are_told_in_utc(run: CommittedRun) -> None:
    run.commit(100, ledger=build_ledger().to_json())
    documents = to_documents(read_history(CheckpointStore(run.store)))
    assert documents[0]["time"] == "1970-01-01T00:00:01Z"


def test_a_prefix_without_a_run_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "empty"), S3Settings())
    with pytest.raises(NotFound, match="holds no run"):
        read_history(CheckpointStore(store))
