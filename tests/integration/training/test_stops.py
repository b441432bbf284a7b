"""A stop at any moment: what was begun is finished by the next attempt, and the result has the same bits."""

from collections.abc import Callable

import pytest
from tiny_run import Control, TinyRun, train, write_tiny_run

from synthray.generation.receipts import read_png
from synthray.telemetry.report import SegmentReport
from synthray.training import previews, waiting
from synthray.training.preflight import check_run

NewRun = Callable[..., TinyRun]
CHANGES = (
    "spec.optimization.epochs=3",
    "spec.previews.seeds=[3, 1, 4, 5]",
    "spec.previews.steps=3",
)
FIRST_EPOCH, LAST = 2, 6  # the steps with which they end


def pictures_of(run: TinyRun) -> dict[str, bytes]:
    """The previews' pixels by key."""
    store = run.checkpoints().store
    keys = [info.key for info in store.list("previews/") if info.key.endswith(".png")]
    return {key: read_png(store.read(key))[0].tobytes() for key in keys}


def result_of(run: TinyRun) -> tuple[object, ...]:
    """Digests of the newest state, the loss curve, the models and the pictures."""
    checkpoints = run.checkpoints()
    curve = [
        (epoch["images_seen"], epoch["loss"], epoch["validation_loss"])
        for epoch in checkpoints.list_states()[-1].ledger["history"]
    ]
    models = [(model.epoch, model.ema_sha256, model.validation_loss) for model in checkpoints.list_models()]
    return *run.digests(), curve, models, pictures_of(run)


def in_validation(step: int) -> Callable[[SegmentReport], bool]:
    """True for the first report of the epoch's end that follows `step`: validation, if it takes rounds."""
    return lambda report: report.totals.steps == step and report.state == "Running"


def in_previews(step: int) -> Callable[[SegmentReport], bool]:
    """True for the first report after the epoch's save."""
    saved = []

    def look(report: SegmentReport) -> bool:
        if report.totals.steps == step and report.state == "Saving":
            saved.append(step)
        return bool(saved) and report.state == "Running"

    return look


@pytest.fixture
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny runs validate and draw in less than a round."""
    for module in (waiting, previews):
        monkeypatch.setattr(module, "ROUND_SECONDS", 0.0)


@pytest.fixture(scope="module")
def unbroken(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    run = write_tiny_run(tmp_path_factory.mktemp("unbroken"), "alone", dataset_uri)
    plan = check_run(run.settings(*CHANGES), adopt=False).plan
    assert plan.num_steps == LAST
    assert [step + 1 for step in range(LAST) if plan.ends_epoch(step)] == [FIRST_EPOCH, 4, LAST]
    assert plan.precedes_short_batch(4)
    assert len(plan.positions(LAST - 1)) < plan.global_batch_size
    assert train(run, *CHANGES) == "complete"
    return result_of(run)


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize(
    "stop",
    [
        in_validation(FIRST_EPOCH),
        in_previews(FIRST_EPOCH),
        lambda report: report.totals.steps == 5,
        in_validation(LAST),
        in_previews(LAST),
    ],
    ids=[
        "at the epoch's end",
        "in previews",
        "before the short batch",
        "at the last step",
        "in the last previews",
    ],
)
def test_a_stop_at_any_moment_changes_nothing(
    new_run: NewRun,
    unbroken: tuple[object, ...],
    short_rounds: None,
    stop: Callable[[SegmentReport], bool],
    num_workers: int,
) -> None:
    run = new_run("broken")
    control = Control(stop_once=stop)
    ended = train(run, *CHANGES, num_workers=num_workers, controls={0: control})
    # Three workers may be through with validation in a single round, and hear nothing in it.
    assert ended == "stopped" or num_workers == 3
    assert train(run, *CHANGES, num_workers=2) == "complete"
    assert result_of(run) == unbroken


def test_a_worker_other_than_the_first_is_heard_in_previews(
    new_run: NewRun, unbroken: tuple[object, ...], short_rounds: None
) -> None:
    run = new_run("broken")
    noticed = Control(stop_once=in_previews(0))  # only the first worker counts steps
    assert train(run, *CHANGES, num_workers=2, controls={1: noticed}) == "stopped"
    assert len(pictures_of(run)) < 8
    assert train(run, *CHANGES) == "complete"
    assert result_of(run) == unbroken


def test_a_run_that_is_complete_commits_nothing_more_and_draws_what_is_missing(new_run: NewRun) -> None:
    run = new_run("run")
    assert train(run, *CHANGES) == "complete"
    store, pictures = run.checkpoints().store, pictures_of(run)
    before = [state.name for state in run.checkpoints().list_states()]
    lost = max(pictures)
    store.delete([lost])
    assert train(run, *CHANGES, num_workers=2) == "complete"
    assert pictures_of(run).items() >= pictures.items()
    assert [state.name for state in run.checkpoints().list_states()] == before


def test_pictures_of_an_epoch_that_a_state_still_holds_are_drawn_later(new_run: NewRun) -> None:
    """As after an outage in which training went on without them."""
    run = new_run("run")
    assert train(run, *CHANGES, stop_after_steps=3) == "stopped"
    store, pictures = run.checkpoints().store, pictures_of(run)
    assert len(pictures) == 8
    store.delete([key for key in pictures if "/ema/1" in key or "/raw/" in key])
    assert train(run, *CHANGES, num_workers=3, stop_after_steps=1) == "stopped"
    assert pictures_of(run).items() >= pictures.items()
