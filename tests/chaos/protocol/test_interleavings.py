"""Fencing, model-checked: two attempts of the project's own code, every order of their storage operations.

The older attempt still saves and makes room (it was thought dead, or paused); the newer one looks for the
state to resume from, begins, and saves. Either may stop for ever at any point. Their clocks are hours apart.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo

import pytest
from attempt_writer import AttemptWriter
from memory_store import MemoryStore
from model_checker import Objects, Process, Search, Step, search
from run_contexts import build_context
from small_run import SmallRun, check_tensors

from synthray.checkpoints.attempts import begin_attempt, newest_record, read_attempts
from synthray.checkpoints.manifest import Kind
from synthray.checkpoints.names import CheckpointName
from synthray.checkpoints.requests import RetentionPolicy, RunContext
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import Unavailable
from synthray.storage import ObjectStore

KEEP_ONE = RetentionPolicy(states=1, models_every_nth_epoch=100, best=0)
BEGINNINGS = 3
OLD_CLOCK, NEW_CLOCK = 7, -5
FENCED, COMMITTED = "Fenced", "committed"

hours_off: ContextVar[int] = ContextVar("hours_off", default=0)


class SkewedClock:
    @staticmethod
    def now(zone: tzinfo | None = None) -> datetime:
        return datetime(2026, 1, 1, tzinfo=zone) + timedelta(hours=hours_off.get())


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is replayed: what it draws and what its clock says must be its own and the same each time."""
    monkeypatch.setattr(
        "synthray.checkpoints.attempts.secrets.token_hex", lambda _: f"{hours_off.get() % 24:032x}"
    )
    monkeypatch.setattr("synthray.checkpoints.attempts.datetime", SkewedClock)


def at_clock(hours: int, run: Callable[[ObjectStore], object]) -> Callable[[ObjectStore], object]:
    def run_there(store: ObjectStore) -> object:
        token = hours_off.set(hours)
        try:
            return run(store)
        finally:
            hours_off.reset(token)

    return run_there


def answers(writer: AttemptWriter, saves: Iterable[tuple[int, bool]]) -> tuple[str, ...]:
    """What the trainer hears of each save, until one fails."""
    heard = []
    for images_seen, model in saves:
        answer = writer.save(images_seen, model=model)
        assert not answer.retention_problem, answer.retention_problem
        heard.append(answer.error_reason or COMMITTED)
        if answer.error_class:
            break
    return tuple(heard)


def old_writer(context: RunContext, *saves: tuple[int, bool]) -> Process:
    return Process("old", at_clock(OLD_CLOCK, lambda store: answers(AttemptWriter(store, context), saves)))


def newcomer(name: str, hours: int, *saves_after: tuple[int, bool], corrupt: Container[int] = ()) -> Process:
    """A driver that takes a run over: look, begin, look again if that state went; then its writer saves.

    The states at `corrupt` numbers of images turned out to be so when they were loaded.
    """

    def run(store: ObjectStore) -> object:
        for _ in range(BEGINNINGS):
            states = [one for one in CheckpointStore(store).list_states() if one.images_seen not in corrupt]
            try:
                record = begin_attempt(store, name, str(states[-1].name) if states else None)
            except Unavailable:
                continue
            seen = states[-1].images_seen if states else 0
            writer = AttemptWriter(store, build_context(record, retention=KEEP_ONE))
            return seen, answers(writer, [(seen + more, model) for more, model in saves_after])
        return "gave up"

    return Process(name, at_clock(hours, run))


@dataclass(frozen=True)
class View:
    """What a reader who comes now is told: the accepted checkpoints, and where it would go on."""

    states: dict[CheckpointName, str]
    models: dict[CheckpointName, str]
    newest_good: int
    published: int
    source: CheckpointName | None


def read_view(objects: Objects) -> View:
    store = MemoryStore(dict(objects))
    checkpoints = CheckpointStore(store)
    point = checkpoints.newest_good_state()
    if point.manifest is not None:
        check_tensors(checkpoints, point.manifest)
    record = newest_record(read_attempts(store))

    def accepted(kind: Kind) -> dict[CheckpointName, str]:
        listed, _ = checkpoints.list_checkpoints(kind)
        assert all(one.is_sound for one in listed), [one.problems for one in listed]
        return {one.name: one.manifest.model_dump_json() if one.manifest else "" for one in listed}

    return View(
        accepted("state"),
        accepted("model"),
        point.manifest.images_seen if point.manifest else 0,
        record.number if record else 0,
        record.source if record else None,
    )


@dataclass
class Reader:
    """Looks at every content of the store, and compares what it sees before and after every change."""

    floor: int
    views: dict[int, tuple[Objects, View]] = field(default_factory=dict)

    def look(self, objects: Objects) -> View:
        if id(objects) not in self.views:
            self.views[id(objects)] = objects, read_view(objects)
        return self.views[id(objects)][1]

    def check_store(self, objects: Objects) -> None:
        view = self.look(objects)
        assert view.newest_good >= self.floor, "the newest good state was lost"
        if view.source is not None:
            assert view.source in view.states, "the newest attempt lost the state that it resumed from"
            assert view.newest_good >= view.source.images_seen

    def check_step(self, step: Step) -> None:
        before, after = self.look(step.before), self.look(step.after)
        writer = 1 if step.process == "old" else None
        for kind in ("states", "models"):
            one, other = getattr(before, kind), getattr(after, kind)
            assert all(other[name] == one[name] for name in one.keys() & other.keys()), "content changed"
            gained, lost = other.keys() - one.keys(), one.keys() - other.keys()
            if before.published != after.published:
                assert step.operation.kind == "create"
                source = after.source
                assert gained <= {source}  # whose manifest a late delete had taken already
                assert all(source is None or name > source or kind == "models" for name in lost)
            elif writer == 1 and before.published > 1:
                assert gained == set(), "a stale attempt's commit is accepted"
                assert not lost or step.operation.kind == "delete"
            else:
                assert len(gained) <= 1
                assert not lost or step.operation.kind == "delete"
        if before.published == after.published:
            assert after.newest_good >= before.newest_good, "the run went back"


def begin_run(*saves: tuple[int, bool]) -> tuple[MemoryStore, RunContext]:
    """A store in which attempt 1 has saved, and its context."""
    store = MemoryStore()
    token = hours_off.set(OLD_CLOCK)
    run = SmallRun(store)
    context = run.begin()
    for images_seen, model in saves:
        run.commit(context, images_seen, model=model)
    hours_off.reset(token)
    return store, replace(context, retention=KEEP_ONE)


def search_all(scenario: str, store: MemoryStore, processes: Sequence[Process], *, floor: int) -> Search:
    """Every order of the processes' operations, with a reader who looks after each."""
    reader = Reader(floor)
    found = search(store.objects, processes, reader.check_store, reader.check_step)
    places = ", ".join(f"{process.name} {process.num_places}" for process in processes)
    print(
        f"{scenario}: {found.schedules:.2g} schedules, {found.num_states} states, {found.num_stores} "
        f"contents of the store, histories of answers: {places}"
    )
    return found


def test_while_a_newer_attempt_takes_over_nothing_that_the_older_one_does_harms_it() -> None:
    """The older one deletes the very state that the newer one has just chosen."""
    store, context = begin_run((200, False))
    processes = [old_writer(context, (300, False)), newcomer("new", NEW_CLOCK, (100, False))]
    found = search_all("take-over", store, processes, floor=200)
    assert {old for old, _ in found.results} == {(COMMITTED,), (FENCED,)}
    assert {new for _, new in found.results} == {(200, (COMMITTED,)), (300, (COMMITTED,))}


def test_a_replaced_attempt_commits_at_most_what_it_was_about_to_and_then_stops() -> None:
    store, context = begin_run((200, False))
    processes = [old_writer(context, (300, False), (400, False)), newcomer("new", NEW_CLOCK)]
    found = search_all("stop", store, processes, floor=200)
    assert {old for old, _ in found.results} == {(COMMITTED, COMMITTED), (COMMITTED, FENCED), (FENCED,)}
    assert {new for _, new in found.results} == {(seen, ()) for seen in (200, 300, 400)}


def test_a_stale_attempt_cannot_delete_an_older_state_that_the_newer_one_had_to_go_back_to() -> None:
    """The newest states are corrupt, which the older attempt's retention, that lists only, can't know.

    Where it deleted the last good state before the newer attempt claimed its number, nothing is left to go on
    from; but what an attempt has begun from stays whole.
    """
    store, context = begin_run((100, False), (200, False))
    store.objects["states/000000000200-a000001/weights.safetensors"] = bytes(220)
    processes = [old_writer(context, (300, False)), newcomer("new", NEW_CLOCK, corrupt=(200, 300))]
    found = search_all("going back", store, processes, floor=0)
    assert {new for _, new in found.results} == {(100, ()), (0, ())}


def test_a_model_that_comes_late_beside_the_resume_point_is_neither_accepted_nor_half_swept() -> None:
    store, context = begin_run((200, False))
    processes = [old_writer(context, (200, True)), newcomer("new", NEW_CLOCK, (100, True))]
    found = search_all("late model", store, processes, floor=200)
    assert {old for old, _ in found.results} == {(COMMITTED,), (FENCED,)}
    assert {new for _, new in found.results} == {(200, (COMMITTED,))}


def test_of_two_that_take_over_at_once_one_goes_on_with_the_run() -> None:
    store, _ = begin_run((200, False))
    processes = [newcomer("one", NEW_CLOCK, (100, False)), newcomer("other", 11, (100, False))]
    found = search_all("two newcomers", store, processes, floor=200)
    ends = {(one[1], other[1]) for one, other in found.results}
    assert ends == {((COMMITTED,), (COMMITTED,)), ((COMMITTED,), (FENCED,)), ((FENCED,), (COMMITTED,))}
