"""The desk for saves: what a failed save sends again is what it was asked to save."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from synthray.errors import Unavailable
from synthray.training import saving
from synthray.training.ledger import Ledger
from synthray.training.plan import BatchPlan
from synthray.training.saving import SaveDesk


class FakeSaver:
    """A saver whose uploads end when a test says so; `sent` pairs each request with the buffer's content."""

    def __init__(self) -> None:
        self.buffers: dict[str, int] = {}
        self.sent: list[tuple[int, int]] = []
        self.storage_is_there = True
        self._underway = None
        self._results: deque[SimpleNamespace] = deque()

    @property
    def busy(self) -> bool:
        return self._underway is not None

    def begin(self, _: float | None) -> bool:
        assert not self.busy
        return True

    def commit(self, request) -> None:  # type: ignore[no-untyped-def]
        self._underway = request
        self.sent.append((request.images_seen, self.buffers["images"]))

    def end(self, error: Unavailable | None = None, *, seconds: float = 0.0) -> None:
        took = {"hash_seconds": 0.0, "upload_seconds": seconds, "commit_seconds": 0.0}
        self._results.append(SimpleNamespace(request=self._underway, error=error, **took))
        self._underway = None

    def poll(self) -> SimpleNamespace | None:
        return self._results.popleft() if self._results else None

    def wait(self, _: float) -> SimpleNamespace | None:
        if self.busy:
            self.end(None if self.storage_is_there else Unavailable("storage is away"))
        return self.poll()


def build_state(images_seen: int) -> Any:
    return SimpleNamespace(
        images_seen=images_seen,
        step=images_seen,
        ledger=Ledger(0.0, 0.0),
        progress=dict,
        tensors=dict,
        copy_out=lambda buffers: buffers.update(images=images_seen),
    )


@pytest.fixture
def saver(monkeypatch: pytest.MonkeyPatch) -> FakeSaver:
    fake = FakeSaver()
    monkeypatch.setattr(saving, "Saver", lambda *_, **__: fake)
    monkeypatch.setattr(saving, "_build_context", lambda _: None)
    return fake


class Clock:
    """Time that a test moves on."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(saving, "time", clock)
    return clock


@pytest.fixture
def desk(saver: FakeSaver, clock: Clock) -> SaveDesk:
    storage = SimpleNamespace(checkpoints_uri="", s3_of_workers=None)
    segment = SimpleNamespace(
        settings=SimpleNamespace(storage=storage, max_work_at_risk_seconds=600.0),
        state=build_state(0),
        plan=BatchPlan(num_samples=10, epochs=10, global_batch_size=1, micro_batch_size=1),
        epoch_is_booked=False,
    )
    return SaveDesk(segment)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "save_next",
    [
        lambda desk: desk.save_if_free(build_state(2)),
        lambda desk: desk.save_within(build_state(2), 0.1, model=True),
    ],
    ids=["periodic", "epoch"],
)
def test_a_failure_heard_late_is_never_sent_again_with_newer_tensors(
    saver: FakeSaver, desk: SaveDesk, save_next: Callable[[SaveDesk], object]
) -> None:
    desk.save_if_free(build_state(1))
    saver.end(Unavailable("storage is away"))
    save_next(desk)
    while not desk.settle_within(0.5):
        pass
    assert saver.sent[:2] == [(1, 1), (1, 1)]
    assert all(asked == held for asked, held in saver.sent)


def test_an_outage_is_waited_out_and_holds_no_more_than_one_save(saver: FakeSaver, desk: SaveDesk) -> None:
    saver.storage_is_there = False
    desk.save_if_free(build_state(1))
    for _ in range(200):
        assert not desk.save_within(build_state(2), 0.3, model=True)
        desk.save_if_free(build_state(3))
    assert desk.storage_is_away
    assert len(saver.sent) > 5
    assert set(saver.sent) == {(1, 1)}
    saver.storage_is_there = True
    while not desk.save_within(build_state(2), 0.3, model=True):
        pass
    assert saver.sent[-1] == (2, 2)


def test_what_the_segment_began_with_is_not_saved_again(saver: FakeSaver, desk: SaveDesk) -> None:
    assert desk.save_within(build_state(0), 0.0, model=False)
    assert saver.sent == []


def test_what_is_saved_without_its_model_is_saved_with_it_when_asked(
    saver: FakeSaver, desk: SaveDesk
) -> None:
    for model in (False, False, True, True, False):
        desk.save_within(build_state(1), 0.5, model=model)
    assert saver.sent == [(1, 1), (1, 1)]


def test_a_save_is_due_so_early_that_its_upload_ends_in_time(
    saver: FakeSaver, desk: SaveDesk, clock: Clock
) -> None:
    clock.now += 599
    assert not desk.is_due
    desk.save_if_free(build_state(1))
    saver.end(seconds=200)
    desk.collect()
    clock.now += 399
    assert not desk.is_due
    clock.now += 2
    assert desk.is_due
