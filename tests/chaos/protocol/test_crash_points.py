"""A run that dies at any one storage operation of its whole life goes on to the same end.

Every point is tried: before each write, create and delete, right after it took effect, with its answer lost
to a process that lives on, and with that answer lost to a library that asks again.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import TypeVar

import pytest
from attempt_writer import AttemptWriter
from intercepted_stores import InterceptedStore
from memory_store import MemoryStore
from run_contexts import build_context, build_identity
from small_run import check_tensors

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.export import export_model
from synthray.checkpoints.identity import claim_prefix
from synthray.checkpoints.names import CheckpointName
from synthray.checkpoints.report import build_verification
from synthray.checkpoints.requests import RetentionPolicy
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import Unavailable
from synthray.storage import ObjectStore
from synthray.storage.objects import already_exists

POLICY = RetentionPolicy(states=2, models_every_nth_epoch=4, best=0)
SAVES_OF_A_SEGMENT = 2
RESUMPTION_CHANGES = 12  # the next attempt's two objects, and its first save with a model
END, LATER_END = 400, 600
NEIGHBOURS = ("run/notes.txt", "run/previews/e1/1.png", "run/states/README", "run-2/states/x", "elsewhere")


Store = TypeVar("Store", bound=ObjectStore)


class Fate(Enum):
    DIES_BEFORE = auto()
    DIES_AFTER = auto()
    HEARS_NOTHING = auto()
    LIBRARY_ASKS_AGAIN = auto()


class Died(BaseException):
    """In place of a SIGKILL: no `except Exception` and no clean-up of the code under test hears of it."""


class Plan:
    """What befalls the change number `at`; counts them over all stores that share it."""

    def __init__(self, at: int = -1, fate: Fate = Fate.DIES_BEFORE, committed: int = 0) -> None:
        self.at, self.fate = at, fate
        self.num_changes = 0
        self.committed = committed
        self.created = False

    def is_due(self, *fates: Fate) -> bool:
        return self.num_changes == self.at and self.fate in fates


class MortalStore(InterceptedStore):
    """Carries a plan out on itself and on its children."""

    def __init__(self, store: ObjectStore, plan: Plan) -> None:
        super().__init__(store)
        self._plan = plan

    def create(self, key: str, data: bytes) -> None:
        self._plan.created = True
        super().create(key, data)

    def before(self, key: str) -> None:
        if self._plan.is_due(Fate.DIES_BEFORE):
            raise Died(key)

    def after(self, key: str) -> None:
        self._note(key)
        due, self._plan.num_changes = self._plan.is_due(*Fate), self._plan.num_changes + 1
        created, self._plan.created = self._plan.created, False
        if due and self._plan.fate is Fate.DIES_AFTER:
            raise Died(key)
        if due and self._plan.fate is Fate.HEARS_NOTHING:
            raise Unavailable(f"{key}: no answer")
        if due and created:
            raise already_exists(key)

    def _note(self, key: str) -> None:
        name = CheckpointName.parse(key.removeprefix("states/").removesuffix("/manifest.json"))
        if name is not None and self._store.stat(key) is not None:
            self._plan.committed = max(self._plan.committed, name.images_seen)

    def child(self, path: str) -> ObjectStore:
        return MortalStore(self._store.child(path), self._plan)


def newest(store: ObjectStore) -> CheckpointName | None:
    """Where a process that knows nothing goes on, with the content checked."""
    checkpoints = CheckpointStore(store)
    point = checkpoints.newest_good_state()
    assert point.bad == ()
    if point.manifest is None:
        return None
    check_tensors(checkpoints, point.manifest)
    return point.manifest.name


def live(root: ObjectStore, end: int) -> None:
    """Begin or resume, save with retention, resume again, and export the last model."""
    store = root.child("run")
    claim_prefix(store, build_identity("small"))
    while (state := newest(store)) is None or state.images_seen < end:
        record = begin_attempt(store, "driver", str(state) if state else None)
        writer = AttemptWriter(store, build_context(record, retention=POLICY))
        first = (state.images_seen if state else 0) + 100
        for images_seen in range(first, min(first + 100 * SAVES_OF_A_SEGMENT, end + 1), 100):
            save(writer, images_seen)
    models = CheckpointStore(store).list_models()
    export_model(CheckpointStore(store), models[-1], root.child(f"exported-{end}"))


def save(writer: AttemptWriter, images_seen: int) -> None:
    """As the trainer does: what finds no storage is sent again."""
    for _ in range(2):
        answer = writer.save(images_seen, model=images_seen % 200 == 0)
        if answer.error_class != Unavailable.__name__:
            break
    assert answer.report is not None, answer.error_message


def live_through(root: ObjectStore, end: int) -> None:
    """The driver starts again what found no storage."""
    try:
        live(root, end)
    except Unavailable:
        live(root, end)


def prepare(root: Store) -> Store:
    for key in NEIGHBOURS:
        root.write(key, key.encode())
    return root


def list_keys(root: ObjectStore) -> list[str]:
    """Everything in the store but attempts, of which there may be more, without their numbers in names."""
    return sorted(
        re.sub(r"-a[0-9]{6}/", "/", info.key)
        for info in root.list()
        if not info.key.startswith("run/attempts/")
    )


def check_after_death(root: ObjectStore, plan: Plan) -> None:
    store = root.child("run")
    state = newest(store)
    assert (state.images_seen if state else 0) == plan.committed
    if state is not None:
        answer = build_verification(CheckpointStore(store))
        assert answer["ok"] is True
        # A model whose state was not committed any more is left behind by the attempt that resumes before it.
        assert all(one["kind"] == "model" and one["ok"] for one in answer["ignored"])


def check_end(root: ObjectStore, keys: Iterable[str]) -> None:
    checkpoints = CheckpointStore(root.child("run"))
    assert [state.images_seen for state in checkpoints.list_states()] == [400, 500, 600]
    assert [model.images_seen for model in checkpoints.list_models()] == [400, 600]
    answer = build_verification(checkpoints)
    assert (answer["ok"], answer["ignored"], answer["unfinished"]) == (True, [], [])
    assert list_keys(root) == list(keys)
    assert all(root.read(key) == key.encode() for key in NEIGHBOURS)


def die_and_go_on(root: ObjectStore, plan: Plan, keys: Iterable[str]) -> None:
    """One life that meets its plan, then one that completes it, then one that trains on."""
    try:
        live_through(MortalStore(root, plan), END)
    except Died:
        check_after_death(root, plan)
    live(root, END)
    live(root, LATER_END)
    check_end(root, keys)


@pytest.fixture(scope="module")
def unbroken() -> tuple[int, list[str]]:
    """How many changes a life makes that nothing befalls, and what it leaves."""
    root, plan = prepare(MemoryStore()), Plan()
    live(MortalStore(root, plan), END)
    live(root, LATER_END)
    keys = list_keys(root)
    check_end(root, keys)
    return plan.num_changes, keys


@pytest.mark.parametrize("fate", Fate, ids=lambda fate: fate.name.lower())
def test_each_of_51_crash_points_leaves_the_right_state_and_the_same_end(
    unbroken: tuple[int, list[str]], fate: Fate
) -> None:
    num_changes, keys = unbroken
    for at in range(num_changes):
        die_and_go_on(prepare(MemoryStore()), Plan(at, fate), keys)
    assert num_changes == 51, f"{num_changes} crash points were tried; name the test after them"


def test_612_second_deaths_while_the_run_resumes_change_nothing(unbroken: tuple[int, list[str]]) -> None:
    """Each pair of a first death and one in what follows, up to the first new commit."""
    num_changes, keys = unbroken
    for first in range(num_changes):
        dead = prepare(MemoryStore())
        with suppress(Died):
            live(MortalStore(dead, Plan(first, Fate.DIES_AFTER)), END)
        state = newest(dead.child("run"))
        for second in range(RESUMPTION_CHANGES):
            plan = Plan(second, Fate.DIES_BEFORE, committed=state.images_seen if state else 0)
            die_and_go_on(MemoryStore(dict(dead.objects)), plan, keys)
    assert num_changes * RESUMPTION_CHANGES == 612, "name the test after the pairs that were tried"


def test_some_crash_points_on_a_real_server(unbroken: tuple[int, list[str]], s3: ObjectStore) -> None:
    num_changes, keys = unbroken
    for number, fate in enumerate(Fate):
        at = (2 * number + 1) * num_changes // (2 * len(Fate))
        die_and_go_on(prepare(s3.child(str(number))), Plan(at, fate), keys)


def test_some_crash_points_in_a_folder(unbroken: tuple[int, list[str]], local_store: ObjectStore) -> None:
    num_changes, keys = unbroken
    for number, fate in enumerate(Fate):
        at = number * num_changes // len(Fate)
        die_and_go_on(prepare(local_store.child(str(number))), Plan(at, fate), keys)
