"""The commit protocol, stopped before and after every single write."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from attempt_writer import AttemptWriter
from intercepted_stores import InterceptedStore, VanishingStore
from small_run import SmallRun

from synthray.checkpoints.commit import Committer
from synthray.checkpoints.names import MODEL_WEIGHTS_FILE, STATE_FILES
from synthray.checkpoints.requests import RetentionPolicy, SaveRequest
from synthray.errors import InvalidInput, Reason, RunFailed, Unavailable, VerificationFailed
from synthray.storage import ObjectExists, ObjectStore

Vanishing = Callable[..., VanishingStore]

WRITES_OF_A_SAVE = 10  # a model's four files, a state's four, two manifests


def test_a_save_can_be_loaded(run: SmallRun) -> None:
    report = run.commit(run.begin(), 100)
    assert (report.state, report.model) == ("000000000100-a000001", "000000000100-a000001")
    run.check_loads(100)


def test_parts_come_first_then_the_models_manifest_then_the_states(
    run: SmallRun, intercepted: InterceptedStore
) -> None:
    run.commit(run.begin(), 100, store=intercepted)
    assert len(intercepted.changes) == WRITES_OF_A_SAVE
    assert intercepted.changes[-2:] == [
        "models/000000000100-a000001/manifest.json",
        "states/000000000100-a000001/manifest.json",
    ]


def test_a_models_weights_are_the_states_moving_average_byte_for_byte(run: SmallRun) -> None:
    run.commit(run.begin(), 100)
    prefix = "000000000100-a000001"
    assert run.store.read(f"models/{prefix}/{MODEL_WEIGHTS_FILE}") == run.store.read(
        f"states/{prefix}/ema.safetensors"
    )


def test_a_periodic_save_writes_no_model(run: SmallRun) -> None:
    assert run.commit(run.begin(), 100, model=False).model is None
    assert list(run.store.list("models/")) == []
    assert {info.key.rpartition("/")[2] for info in run.store.list("states/")} == {
        *STATE_FILES,
        "manifest.json",
    }


@pytest.mark.parametrize("heard", [True, False], ids=["answered", "answer lost"])
@pytest.mark.parametrize("writes", range(WRITES_OF_A_SAVE + 1))
def test_killed_after_any_write_the_next_attempt_finds_the_right_state(
    run: SmallRun, vanishing: Vanishing, writes: int, heard: bool
) -> None:
    context = run.begin()
    run.commit(context, 100)
    with suppress(Unavailable):
        run.commit(context, 200, store=vanishing(writes, heard=heard))
    newest = 200 if writes == WRITES_OF_A_SAVE else 100
    run.check_loads(newest)
    run.commit(run.begin(resumes_from=f"{newest:012d}-a000001"), 300)
    run.check_loads(300)
    assert run.checkpoints.newest_good_state().bad == ()
    assert [model.images_seen for model in run.checkpoints.list_models()] == [
        *range(100, newest + 1, 100),
        300,
    ]


@pytest.mark.parametrize("heard", [True, False], ids=["answered", "answer lost"])
@pytest.mark.parametrize("writes", range(1, WRITES_OF_A_SAVE))
def test_tried_again_after_any_write_the_save_is_committed(
    run: SmallRun, vanishing: Vanishing, writes: int, heard: bool
) -> None:
    context = run.begin()
    with pytest.raises(Unavailable):
        run.commit(context, 100, store=vanishing(writes, heard=heard))
    run.commit(context, 100)
    run.check_loads(100)
    assert run.checkpoints.newest_good_state().bad == ()


def save_with(committer: Committer, run: SmallRun, images_seen: int, note: str, *, model: bool) -> None:
    request = SaveRequest(
        images_seen=images_seen,
        step=0,
        epoch=0,
        write_model=model,
        progress={"images_seen": images_seen, "note": note},
        ledger={},
    )
    committer.save(run.files(images_seen), request, None)


@pytest.mark.parametrize("writes", range(1, WRITES_OF_A_SAVE + 1))
def test_a_second_try_writes_the_bytes_of_the_first(run: SmallRun, vanishing: Vanishing, writes: int) -> None:
    """Else the first try's manifest, arriving late, would vouch for bytes that are gone."""
    context = run.begin()
    store = vanishing(writes, heard=False)
    committer = Committer(store, context)
    with pytest.raises(Unavailable):
        save_with(committer, run, 100, "first", model=True)
    store.recover()
    save_with(committer, run, 100, "second", model=True)
    manifest = run.checkpoints.newest_good_state().manifest
    assert manifest is not None
    assert run.checkpoints.load_progress(manifest)["note"] == "first"


def test_a_create_that_says_exists_after_a_lost_answer_is_a_success_if_it_is_our_own(
    run: SmallRun, intercepted: InterceptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeat(key: str) -> None:
        if key.endswith("manifest.json"):
            raise ObjectExists("the library sent it again after a lost answer")

    monkeypatch.setattr(intercepted, "after", repeat)
    run.commit(run.begin(), 100, store=intercepted)
    run.check_loads(100)


def test_what_is_committed_is_not_written_again(run: SmallRun, intercepted: InterceptedStore) -> None:
    context = run.begin()
    run.commit(context, 100)
    run.commit(context, 100, store=intercepted)
    assert intercepted.changes == []
    run.check_loads(100)


def test_a_model_can_follow_the_state_that_was_saved_without_it(run: SmallRun) -> None:
    context = run.begin()
    run.commit(context, 100, model=False)
    run.commit(context, 100, model=True)
    assert [model.images_seen for model in run.checkpoints.list_models()] == [100]
    run.check_loads(100)


def test_an_attempt_that_was_replaced_commits_nothing(run: SmallRun) -> None:
    first = run.begin()
    run.commit(first, 100)
    run.begin("000000000100-a000001")
    with pytest.raises(RunFailed) as caught:
        run.commit(first, 200)
    assert caught.value.reason is Reason.FENCED
    assert [state.images_seen for state in run.checkpoints.list_states()] == [100]


def test_a_writer_paused_between_its_last_look_and_its_commit_is_ignored(run: SmallRun) -> None:
    class PausedStore:
        """The newer attempt begins after the fence was checked, before the manifest is created."""

        def __init__(self, store: ObjectStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        def create(self, key: str, data: bytes) -> None:
            if key.startswith("models/"):
                run.begin("000000000100-a000001")
            self._store.create(key, data)

    first = run.begin()
    run.commit(first, 100)
    run.commit(first, 200, store=PausedStore(run.store))  # type: ignore[arg-type]
    run.check_loads(100)
    _, ignored = run.checkpoints.list_checkpoints("state")
    assert [str(checkpoint.name) for checkpoint in ignored] == ["000000000200-a000001"]


def test_a_stranger_under_the_same_attempt_number_is_fenced(run: SmallRun, other_run: SmallRun) -> None:
    run.commit(run.begin(), 100)
    stranger = other_run.begin()
    with pytest.raises(RunFailed, match="committed by another process that calls itself attempt 1") as caught:
        run.commit(stranger, 100)
    assert caught.value.reason is Reason.FENCED


def test_other_weights_at_the_same_step_of_one_attempt_are_refused(run: SmallRun) -> None:
    context = run.begin()
    run.commit(context, 100)
    request = SaveRequest(images_seen=100, step=0, epoch=0, write_model=False, progress={}, ledger={})
    with pytest.raises(VerificationFailed, match="computed the same step twice with different results"):
        Committer(run.store, context).save(run.files(101), request, None)
    run.check_loads(100)


def test_an_upload_that_fails_because_a_newer_attempt_swept_it_says_so(
    run: SmallRun, intercepted: InterceptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's temporary file that is gone is no fault of the folder."""

    def be_swept(key: str) -> None:
        if key.endswith("ema.safetensors"):
            run.begin("000000000100-a000001")
            raise InvalidInput("cannot be written (No such file or directory)")

    context = run.begin()
    run.commit(context, 100)
    monkeypatch.setattr(intercepted, "before", be_swept)
    with pytest.raises(RunFailed) as caught:
        run.commit(context, 200, store=intercepted)
    assert caught.value.reason is Reason.FENCED


def test_an_upload_that_fails_by_itself_says_why(
    run: SmallRun, intercepted: InterceptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_key: str) -> None:
        raise InvalidInput("permission is denied")

    monkeypatch.setattr(intercepted, "before", refuse)
    with pytest.raises(InvalidInput, match="permission is denied"):
        run.commit(run.begin(), 100, store=intercepted)


def test_the_first_save_of_an_attempt_discards_what_earlier_ones_left_half_written(run: SmallRun) -> None:
    run.begin()
    key = "states/000000000100-a000001/ema.safetensors"
    half_written = Path(run.store.uri, key).with_name(".synthray-unfinished-1-ab-ema.safetensors")
    context = replace(run.begin(), retention=RetentionPolicy(states=2, models_every_nth_epoch=1, best=0))
    writer = AttemptWriter(run.store, context)
    for images_seen, discarded in ((100, (key,)), (200, ())):
        half_written.parent.mkdir(parents=True, exist_ok=True)
        half_written.write_bytes(b"half")
        assert writer.save(images_seen).deleted == discarded
