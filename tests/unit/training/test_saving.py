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

    def end(self, error: Unavailable | None = None) -> None:
        self._results.append(SimpleNamespace(request=self._underway, error=error))
        self._underway = None

    def poll(self) -> SimpleNamespace | None:
        return self._results.popleft() if self._results else None

    def wait(self, _: float) -> SimpleNamespace | None:
        if self.busy:
            self.end()
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


@pytest.fixture
def desk(saver: FakeSaver) -> SaveDesk:
    storage = SimpleNamespace(checkpoints_uri="", s3=None)
    segment = SimpleNamespace(
        settings=SimpleNamespace(storage=storage, max_work_at_risk_seconds=600.0),
        state=build_state(0),
        plan=BatchPlan(num_samples=10, epochs=10, global_batch_size=1, micro_batch_size=1),
    )
    return SaveDesk(segment, lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "save_next",
    [
        lambda desk: desk.save_if_free(build_state(2)),
        lambda desk: desk.save(build_state(2), model=True),
    ],
    ids=["periodic", "epoch"],
)
def test_a_failure_heard_late_is_never_sent_again_with_newer_tensors(
    saver: FakeSaver, desk: SaveDesk, save_next: Callable[[SaveDesk], None]
) -> None:
    desk.save_if_free(build_state(1))
    saver.end(Unavailable("storage is away"))
    save_next(desk)
    desk.finish()
    assert saver.sent[:2] == [(1, 1), (1, 1)]
    assert all(asked == held for asked, held in saver.sent)
