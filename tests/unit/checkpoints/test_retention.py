"""What may be deleted, and that a crash between two deletes leaves nothing half there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intercepted_stores import InterceptedStore, VanishingStore
from small_run import SmallRun

from synthray.checkpoints.names import CheckpointName
from synthray.checkpoints.requests import RetentionPolicy
from synthray.checkpoints.retention import (
    RetentionMemory,
    SavedModel,
    SavedState,
    apply_retention,
    discard_unfinished,
    plan_models,
    plan_states,
)
from synthray.errors import Unavailable

names = st.builds(CheckpointName, st.integers(0, 30), st.integers(1, 4))
states = st.lists(st.builds(SavedState, names, st.booleans()), unique_by=lambda state: state.name)
losses = st.none() | st.integers(0, 3).map(float)
models = st.lists(
    st.builds(SavedModel, names, st.integers(0, 6), losses, st.booleans()), unique_by=lambda model: model.name
)
policies = st.builds(RetentionPolicy, st.integers(0, 4), st.integers(1, 4), st.integers(0, 3))
attempts = st.integers(1, 4)


@given(states, st.sets(names), st.sets(names), attempts, st.integers(0, 4))
def test_no_needed_state_is_ever_deleted(
    states: list[SavedState],
    accepted: set[CheckpointName],
    protected: set[CheckpointName],
    attempt: int,
    keep: int,
) -> None:
    gone = plan_states(states, accepted, protected, attempt, keep)
    sound = sorted(state.name for state in states if state.is_sound and state.name in accepted)
    assert gone.isdisjoint(sound[-max(keep, 1) :])
    assert gone.isdisjoint(protected)
    assert all(name.attempt <= attempt for name in gone)
    if sound:
        assert gone.isdisjoint(one.name for one in states if one.name in accepted and one.name > sound[-1])


@given(states, st.sets(names), st.sets(names), attempts, st.integers(1, 4))
def test_no_more_than_the_wanted_states_stay_once_they_are_there(
    states: list[SavedState],
    accepted: set[CheckpointName],
    protected: set[CheckpointName],
    attempt: int,
    keep: int,
) -> None:
    gone = plan_states(states, accepted, protected, attempt, keep)
    sound = {state.name for state in states if state.is_sound and state.name in accepted}
    movable = {name for name in sound - protected if name.attempt <= attempt}
    assert len(movable - gone) <= keep or len(sound) <= keep


@given(models, st.sets(names), attempts, policies)
def test_of_models_the_newest_the_best_and_every_nth_epochs_stay(
    models: list[SavedModel], accepted: set[CheckpointName], attempt: int, policy: RetentionPolicy
) -> None:
    gone = plan_models(models, accepted, attempt, policy)
    sound = sorted((one for one in models if one.is_sound and one.name in accepted), key=lambda one: one.name)
    rated = sorted((m.validation_loss, m.name) for m in sound if m.validation_loss is not None)
    assert gone.isdisjoint(name for _, name in rated[: policy.best])
    assert gone.isdisjoint(one.name for one in sound[-1:])
    assert gone.isdisjoint(one.name for one in sound if one.epoch % policy.models_every_nth_epoch == 0)
    assert all(name.attempt <= attempt for name in gone)


def test_every_second_epochs_models_and_the_best_one_stay() -> None:
    models = [
        SavedModel(CheckpointName(epoch * 100, 1), epoch, validation_loss, is_sound=True)
        for epoch, validation_loss in enumerate([0.9, 0.5, 0.4, 0.1, 0.3, 0.2, 0.6, 0.7])
    ]
    gone = plan_models(models, [model.name for model in models], 1, RetentionPolicy(3, 2, 1))
    assert {name.images_seen // 100 for name in gone} == {1, 5}


def list_names(run: SmallRun, kind: str) -> list[str]:
    return sorted({info.key.split("/")[1] for info in run.store.list(f"{kind}/")})


POLICY = RetentionPolicy(states=2, models_every_nth_epoch=1, best=1)


def test_the_newest_states_stay_and_the_one_that_was_resumed_from(run: SmallRun) -> None:
    first = run.begin()
    for images_seen in (100, 200):
        run.commit(first, images_seen)
    second = run.begin("000000000200-a000001")
    for images_seen in (300, 400, 500):
        run.commit(second, images_seen)
    deleted = apply_retention(run.store, 2, POLICY, RetentionMemory())
    assert deleted == ["states/000000000100-a000001/", "states/000000000300-a000002/"]
    assert list_names(run, "states") == [
        "000000000200-a000001",
        "000000000400-a000002",
        "000000000500-a000002",
    ]
    assert len(list_names(run, "models")) == 5


def test_damaged_states_do_not_count_among_those_that_are_kept(run: SmallRun) -> None:
    context = run.begin()
    for images_seen in (100, 200, 300):
        run.commit(context, images_seen)
    run.store.delete([f"states/000000000{n}-a000001/weights.safetensors" for n in (200, 300)])
    assert apply_retention(run.store, 1, POLICY, RetentionMemory()) == []
    run.check_loads(100)


def test_a_damaged_manifest_is_noticed_although_it_was_read_before(run: SmallRun) -> None:
    context, known = run.begin(), RetentionMemory()
    for images_seen in (100, 200, 300):
        run.commit(context, images_seen)
    run.store.delete(["states/000000000300-a000001/optimizer.safetensors"])
    apply_retention(run.store, 1, POLICY, known)
    apply_retention(run.store, 1, POLICY, known)
    run.check_loads(200)
    assert list_names(run, "states")[0] == "000000000100-a000001"


def test_what_was_never_committed_is_swept(run: SmallRun) -> None:
    context = run.begin()
    run.store.write("states/000000000050-a000001/weights.safetensors", b"half")
    run.store.write("models/000000000050-a000001/model_index.json", b"half")
    run.commit(context, 100)
    assert apply_retention(run.store, 1, POLICY, RetentionMemory()) == [
        "states/000000000050-a000001/",
        "models/000000000050-a000001/",
    ]
    run.check_loads(100)


def test_uploads_of_a_newer_attempt_are_not_touched_by_an_older_one(run: SmallRun) -> None:
    first = run.begin()
    for images_seen in (100, 200, 300):
        run.commit(first, images_seen)
    run.begin("000000000100-a000001")
    run.store.write("states/000000000200-a000002/weights.safetensors", b"under way")
    before = [info.key for info in run.store.list()]
    assert apply_retention(run.store, 1, POLICY, RetentionMemory()) == []
    assert [info.key for info in run.store.list()] == before


def test_states_off_the_chain_go_once_enough_lie_on_it(run: SmallRun) -> None:
    first = run.begin()
    for images_seen in (100, 200):
        run.commit(first, images_seen, model=False)
    second = run.begin()
    run.commit(second, 10, model=False)
    assert apply_retention(run.store, 2, POLICY, RetentionMemory()) == []
    run.commit(second, 20, model=False)
    assert len(apply_retention(run.store, 2, POLICY, RetentionMemory())) == 2
    assert list_names(run, "states") == ["000000000010-a000002", "000000000020-a000002"]


def test_the_manifest_is_deleted_before_the_parts(run: SmallRun, intercepted: InterceptedStore) -> None:
    context = run.begin()
    for images_seen in (100, 200, 300):
        run.commit(context, images_seen, model=False)
    apply_retention(intercepted, 1, POLICY, RetentionMemory())
    assert intercepted.changes[0] == "states/000000000100-a000001/manifest.json"
    assert len(set(intercepted.changes)) == 5


@pytest.mark.parametrize("deletes", range(6))
def test_killed_between_two_deletes_no_bad_state_is_left_and_the_next_sweep_finishes(
    run: SmallRun, vanishing: Callable[..., VanishingStore], deletes: int
) -> None:
    context = run.begin()
    for images_seen in (100, 200, 300):
        run.commit(context, images_seen, model=False)
    with pytest.raises(Unavailable):
        apply_retention(vanishing(deletes, heard=False), 1, POLICY, RetentionMemory())
    listed, _ = run.checkpoints.list_checkpoints("state")
    assert all(checkpoint.is_sound for checkpoint in listed)
    apply_retention(run.store, 1, POLICY, RetentionMemory())
    assert list_names(run, "states") == ["000000000200-a000001", "000000000300-a000001"]
    run.check_loads(300)


def test_a_whole_run_keeps_what_its_policy_says(run: SmallRun) -> None:
    policy = replace(POLICY, models_every_nth_epoch=4)
    context, known = run.begin(), RetentionMemory()
    for images_seen in range(100, 1001, 100):
        run.commit(context, images_seen)
        apply_retention(run.store, 1, policy, known)
        run.check_loads(images_seen)
    assert len(list_names(run, "states")) == 2
    # The validation loss of this run falls with every epoch, so the newest is the best.
    assert [name[7:12] for name in list_names(run, "models")] == ["00400", "00800", "01000"]


def flip(run: SmallRun, key: str) -> None:
    data = run.store.read(key)
    run.store.write(key, data[:-1] + bytes([data[-1] ^ 1]))


def test_what_is_known_to_be_damaged_is_left_for_a_person_to_see(run: SmallRun) -> None:
    context = run.begin()
    for images_seen in (100, 200, 300, 400):
        run.commit(context, images_seen)
    run.store.delete(["states/000000000100-a000001/progress.json"])
    run.store.write("states/000000000200-a000001/manifest.json", b"{}")
    run.store.delete(["models/000000000100-a000001/model_index.json"])
    assert apply_retention(
        run.store, 1, replace(POLICY, states=1, models_every_nth_epoch=9), RetentionMemory()
    ) == [
        "states/000000000300-a000001/",
        "models/000000000200-a000001/",
        "models/000000000300-a000001/",
    ]


def test_a_damaged_state_that_an_attempt_passed_over_is_never_deleted(run: SmallRun) -> None:
    """It lies off the chain from then on; what lies there is read before it goes, once."""
    first = run.begin()
    for images_seen in (100, 200, 300):
        run.commit(first, images_seen, model=False)
    flip(run, "states/000000000300-a000001/weights.safetensors")
    second = run.begin("000000000100-a000001")
    for images_seen in (210, 310):
        run.commit(second, images_seen, model=False)
    memory = RetentionMemory()
    assert apply_retention(run.store, 2, POLICY, memory) == ["states/000000000200-a000001/"]
    flip(run, "states/000000000300-a000001/weights.safetensors")
    assert apply_retention(run.store, 2, POLICY, memory) == []
    assert apply_retention(run.store, 2, POLICY, RetentionMemory()) == ["states/000000000300-a000001/"]


def test_a_manifest_that_a_late_writer_left_without_its_parts_is_swept(run: SmallRun) -> None:
    first = run.begin()
    for images_seen in (100, 200):
        run.commit(first, images_seen, model=False)
    run.commit(run.begin("000000000100-a000001"), 150, model=False)
    stale = "states/000000000200-a000001"
    run.store.delete([info.key for info in run.store.list(stale) if not info.key.endswith("manifest.json")])
    assert apply_retention(run.store, 2, POLICY, RetentionMemory()) == [f"{stale}/"]


class OvertakenStore(InterceptedStore):
    """A newer attempt takes its number once some deletes were made."""

    def __init__(self, run: SmallRun, deletes: int) -> None:
        super().__init__(run.store)
        self._run, self._deletes = run, deletes

    def after(self, _key: str) -> None:
        if len(self.changes) == self._deletes:
            self._run.begin()


@pytest.mark.parametrize("deletes", [1, 2, 5, 6])
def test_retention_stops_as_soon_as_it_sees_a_newer_attempt(run: SmallRun, deletes: int) -> None:
    """The directory whose parts it has begun to delete goes whole, and no other."""
    context = run.begin()
    for images_seen in (100, 200, 300, 400):
        run.commit(context, images_seen, model=False)
    store = OvertakenStore(run, deletes)
    apply_retention(store, 1, POLICY, RetentionMemory())
    assert len(store.changes) == {1: 1, 2: 6, 5: 6, 6: 6}[deletes]


def test_half_written_objects_of_earlier_attempts_are_discarded_and_no_others(
    run: SmallRun, other_run: SmallRun
) -> None:
    for one in (run, other_run):
        one.commit(one.begin(), 100)
        one.begin("000000000100-a000001")
    half_written = [
        Path(one.store.uri, folder, f".synthray-unfinished-1-ab-{name}")
        for one in (run, other_run)
        for folder, name in (
            ("states/000000000200-a000001", "weights.safetensors"),
            ("models/000000000200-a000001/unet", "config.json"),
            ("attempts", "000001.json"),
            ("attempts", "000002.claim.json"),
            ("states/000000000200-a000002", "weights.safetensors"),
            ("previews", "1.png"),
        )
    ]
    for path in half_written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert sorted(discard_unfinished(run.store, 2)) == [
        "attempts/000001.json",
        "models/000000000200-a000001/unet/config.json",
        "states/000000000200-a000001/weights.safetensors",
    ]
    assert [path.exists() for path in half_written] == [False] * 3 + [True] * 9
