"""Readers: any damage to any object is found and reported, and the run goes on from the state before."""

from collections.abc import Callable, Sequence

import pytest
from intercepted_stores import InterceptedStore
from small_run import SmallRun, check_tensors

from synthray.checkpoints.names import STATE_FILES
from synthray.checkpoints.requests import RunContext
from synthray.checkpoints.store import BadCheckpoint, CheckpointStore, select_manifest
from synthray.errors import NotFound, Reason, Unavailable, VerificationFailed
from synthray.storage import ByteRange, ObjectStore

OLD, NEW = "states/000000000100-a000001", "states/000000000200-a000001"

Damage = Callable[[ObjectStore, str], str]


def remove(store: ObjectStore, path: str) -> str:
    store.delete([f"{NEW}/{path}"])
    return f"{path} is missing"


def truncate(store: ObjectStore, path: str) -> str:
    data = store.read(f"{NEW}/{path}")
    store.write(f"{NEW}/{path}", data[:-1])
    return f"{path} holds {len(data) - 1} bytes instead of {len(data)}"


def empty(store: ObjectStore, path: str) -> str:
    size = len(store.read(f"{NEW}/{path}"))
    store.write(f"{NEW}/{path}", b"")
    return f"{path} holds 0 bytes instead of {size}"


def flip(store: ObjectStore, path: str) -> str:
    data = bytearray(store.read(f"{NEW}/{path}"))
    data[len(data) // 2] ^= 1
    store.write(f"{NEW}/{path}", bytes(data))
    return f"{path} does not match its SHA-256"


def take_from_another_state(store: ObjectStore, path: str) -> str:
    store.write(f"{NEW}/{path}", store.read(f"{OLD}/{path}"))
    return f"{path} does not match its SHA-256"


@pytest.fixture
def two_states(run: SmallRun) -> SmallRun:
    context = run.begin()
    run.commit(context, 100)
    run.commit(context, 200)
    run.check_loads(200)
    return run


@pytest.mark.parametrize("path", sorted(STATE_FILES))
@pytest.mark.parametrize("damage", [remove, truncate, empty, flip, take_from_another_state])
def test_a_damaged_part_is_found_and_the_state_before_is_taken(
    two_states: SmallRun, damage: Damage, path: str
) -> None:
    problem = damage(two_states.store, path)
    assert two_states.checkpoints.newest_good_state().bad == (
        BadCheckpoint(f"{two_states.store.uri}/{NEW}", (problem,)),
    )
    two_states.check_loads(100)


@pytest.mark.parametrize("damage", [remove, truncate])
def test_what_a_listing_shows_to_be_damaged_is_not_even_listed(two_states: SmallRun, damage: Damage) -> None:
    damage(two_states.store, "optimizer.safetensors")
    assert [state.images_seen for state in two_states.checkpoints.list_states()] == [100]


def test_parts_swapped_within_a_state_are_found(two_states: SmallRun) -> None:
    weights, ema = (two_states.store.read(f"{NEW}/{part}.safetensors") for part in ("weights", "ema"))
    two_states.store.write(f"{NEW}/weights.safetensors", ema)
    two_states.store.write(f"{NEW}/ema.safetensors", weights)
    (bad,) = two_states.checkpoints.newest_good_state().bad
    assert bad.problems == (
        "weights.safetensors does not match its SHA-256",
        "ema.safetensors does not match its SHA-256",
    )


@pytest.mark.parametrize(
    "replace",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda data: data.replace(b'"epoch": 2', b'"epoch": 3'),
        lambda data: data.replace(b'"kind": "state"', b'"kind": "model"'),
        lambda _: b"{}",
        lambda data: b"\x00" * len(data),
    ],
    ids=["truncated", "empty", "another epoch", "another kind", "no fields", "zeros"],
)
def test_a_damaged_manifest_makes_a_bad_state_and_no_crash(
    two_states: SmallRun, replace: Callable[[bytes], bytes]
) -> None:
    data = two_states.store.read(f"{NEW}/manifest.json")
    assert replace(data) != data
    two_states.store.write(f"{NEW}/manifest.json", replace(data))
    (bad,) = two_states.checkpoints.newest_good_state().bad
    assert bad.problems[0].startswith("manifest.json is damaged: ")
    two_states.check_loads(100)
    assert [state.images_seen for state in two_states.checkpoints.list_states()] == [100]


def test_a_manifest_of_another_state_is_damage(two_states: SmallRun) -> None:
    two_states.store.write(f"{NEW}/manifest.json", two_states.store.read(f"{OLD}/manifest.json"))
    (bad,) = two_states.checkpoints.newest_good_state().bad
    assert bad.problems == ("manifest.json is damaged: it belongs to the state 000000000100-a000001",)


def test_a_whole_state_of_another_run_is_bad_although_it_is_sound_in_itself(
    two_states: SmallRun, other_run: SmallRun
) -> None:
    other_run.commit(other_run.begin(), 300)
    foreign = "states/000000000300-a000001"
    for info in list(other_run.store.list(foreign)):
        two_states.store.write(info.key, other_run.store.read(info.key))
    (bad,) = two_states.checkpoints.newest_good_state().bad
    assert bad.problems == ("manifest.json was not written by attempt 1 of this run",)
    two_states.check_loads(200)


def test_where_no_state_is_good_the_run_starts_anew_and_says_why(two_states: SmallRun) -> None:
    two_states.store.delete([f"{OLD}/progress.json", f"{NEW}/ema.safetensors"])
    point = two_states.checkpoints.newest_good_state()
    assert point.manifest is None
    assert [(bad.uri.rpartition("/")[2], *bad.problems) for bad in point.bad] == [
        ("000000000200-a000001", "ema.safetensors is missing"),
        ("000000000100-a000001", "progress.json is missing"),
    ]


def test_a_damaged_state_that_an_attempt_resumed_from_is_passed_over_along_the_chain(
    two_states: SmallRun,
) -> None:
    two_states.begin("000000000200-a000001")
    flip(two_states.store, "optimizer.safetensors")
    two_states.check_loads(100)


def test_an_upload_that_was_never_committed_is_not_a_bad_state(two_states: SmallRun) -> None:
    two_states.store.write("states/000000000300-a000001/weights.safetensors", b"half")
    assert two_states.checkpoints.newest_good_state().bad == ()


class NoisyStore:
    """Flips one bit of the first answer for each key, as a bad wire does."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._heard: set[str] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def _flip(self, key: str, buffer: memoryview) -> None:
        if key not in self._heard:
            self._heard.add(key)
            buffer[len(buffer) // 2] ^= 1

    def read(self, key: str) -> bytes:
        data = bytearray(self._store.read(key))
        self._flip(key, memoryview(data))
        return bytes(data)

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        answers = [bytearray(data) for data in self._store.read_ranges(ranges)]
        for byte_range, data in zip(ranges, answers, strict=True):
            self._flip(byte_range.key, memoryview(data))
        return [bytes(data) for data in answers]

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        self._store.read_into(key, buffer, start=start, size_bytes=size_bytes)
        self._flip(key, buffer)


def test_bytes_that_flipped_on_the_way_are_read_again(two_states: SmallRun) -> None:
    noisy = CheckpointStore(NoisyStore(two_states.store))  # type: ignore[arg-type]
    assert noisy.newest_good_state().bad == ()
    manifest = noisy.list_states()[-1]
    check_tensors(CheckpointStore(NoisyStore(two_states.store)), manifest)  # type: ignore[arg-type]


def test_loading_a_part_that_was_changed_since_it_was_verified_fails(two_states: SmallRun) -> None:
    manifest = two_states.checkpoints.list_states()[-1]
    flip(two_states.store, "weights.safetensors")
    with pytest.raises(VerificationFailed) as caught:
        two_states.checkpoints.load_tensors(manifest, "weights.safetensors")
    assert caught.value.reason is Reason.CHECKPOINT_CORRUPT
    assert caught.value.message == (
        f"{two_states.store.uri}/{NEW}/weights.safetensors does not match its SHA-256; "
        "it was changed after it was committed"
    )


def test_a_missing_epoch_is_answered_with_those_that_are_there(two_states: SmallRun) -> None:
    states = two_states.checkpoints.list_states()
    assert select_manifest(states, "s3://x/run", 1).images_seen == 100
    with pytest.raises(NotFound) as caught:
        select_manifest(states, "s3://x/run", 7)
    assert caught.value.message == "s3://x/run holds no checkpoint of epoch 7; there are epochs 1, 2"


class OvertakenStore(InterceptedStore):
    """While a reader reads, the run commits a state and removes all earlier ones."""

    def __init__(self, run: SmallRun, context: RunContext, prefix: str) -> None:
        super().__init__(run.store)
        self._run, self._context, self._prefix = run, context, prefix

    def overtake(self, key: str) -> None:
        if key.startswith(self._prefix) and len(list(self._store.list("states/"))) == 10:
            self._run.commit(self._context, 300, model=False)
            earlier = [info.key for info in self._store.list("states/") if "300-a" not in info.key]
            self._store.delete(sorted(earlier, key=lambda key: "manifest" not in key))

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        self.overtake(byte_ranges[0].key)
        return super().read_ranges(byte_ranges)

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        self.overtake(key)
        super().read_into(key, buffer, start=start, size_bytes=size_bytes)


@pytest.mark.parametrize("moment", ["attempts/", "states/000000000200-a000001/"])
def test_a_reader_that_retention_overtakes_finds_the_newer_state_and_never_an_empty_run(
    run: SmallRun, moment: str
) -> None:
    """An empty one would be begun anew."""
    context = run.begin()
    run.commit(context, 100, model=False)
    run.commit(context, 200, model=False)
    reader = CheckpointStore(OvertakenStore(run, context, moment))
    point = reader.newest_good_state()
    assert point.manifest is not None
    assert (point.manifest.images_seen, point.bad) == (300, ())


def test_a_store_that_changes_faster_than_it_can_be_read_is_not_taken_for_empty(
    two_states: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_ranges = type(two_states.store).read_ranges

    def vanish(self: ObjectStore, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        if "manifest" in byte_ranges[0].key:
            raise NotFound("removed since it was listed")
        return read_ranges(self, byte_ranges)

    def vanish_too(self: ObjectStore, key: str) -> bytes:
        raise NotFound(f"{key}: removed since it was listed")

    monkeypatch.setattr(type(two_states.store), "read_ranges", vanish)
    monkeypatch.setattr(type(two_states.store), "read", vanish_too)
    with pytest.raises(Unavailable, match="come and go faster than they can be read"):
        two_states.checkpoints.list_states()


def test_large_parts_are_read_in_windows_and_hashed_as_they_come(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthray.checkpoints.reading._WINDOW_BYTES", 50)
    context = run.begin()
    run.commit(context, 100)
    run.commit(context, 200)
    run.check_loads(200)
    flip(run.store, "ema.safetensors")
    run.check_loads(100)
    truncate(run.store, "weights.safetensors")
    assert [state.images_seen for state in run.checkpoints.list_states()] == [100]
