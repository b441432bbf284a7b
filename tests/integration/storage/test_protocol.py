"""What every store promises, kept by a folder and by a real S3 server alike."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from synthray.errors import InvalidInput, NotFound, VerificationFailed
from synthray.storage import ByteRange, ObjectExists, ObjectStore, check_conditional_writes
from synthray.storage.objects import CHUNK_BYTES


def test_what_was_written_is_read_back(store: ObjectStore) -> None:
    store.write("a/b/c.bin", b"content")
    assert store.read("a/b/c.bin") == b"content"


def test_a_write_replaces(store: ObjectStore) -> None:
    store.write("a", b"first")
    store.write("a", b"2nd")
    assert store.read("a") == b"2nd"


@pytest.mark.parametrize("data", [b"", b"x", bytearray(b"xy"), memoryview(b"xyz")])
def test_any_bytes_can_be_written(store: ObjectStore, data: bytes | bytearray | memoryview) -> None:
    store.write("a", data)
    assert store.read("a") == bytes(data)


@pytest.mark.parametrize("key", ["with space", "ümlaut/日本", "1.2.840.113619.jpg", "a+b&c=d?e#f%20", "..."])
def test_keys_may_hold_any_characters(store: ObjectStore, key: str) -> None:
    store.write(key, b"content")
    assert [info.key for info in store.list()] == [key]
    assert store.read(key) == b"content"
    store.delete([key])
    assert store.stat(key) is None


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "./a", "a/", "a\0b"])
def test_keys_that_could_leave_the_root_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidInput, match="is not a relative path"):
        store.read(key)
    with pytest.raises(InvalidInput, match="is not a relative path"):
        store.write(key, b"")


def test_a_missing_object_is_named_by_its_uri(store: ObjectStore) -> None:
    with pytest.raises(NotFound) as failure:
        store.read("no/such.txt")
    assert str(failure.value) == f"{store.uri}/no/such.txt does not exist"
    assert store.stat("no/such.txt") is None


def test_of_sixteen_racing_creators_one_wins_and_its_bytes_stay(store: ObjectStore) -> None:
    def create(number: int) -> bool:
        try:
            store.create("attempts/000001.json", f"attempt {number}".encode())
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert sum(won) == 1
    assert store.read("attempts/000001.json") == f"attempt {won.index(True)}".encode()


def test_create_never_replaces(store: ObjectStore) -> None:
    store.write("a", b"first")
    with pytest.raises(ObjectExists, match="/a exists already"):
        store.create("a", b"second")
    assert store.read("a") == b"first"


def test_conditional_writes_are_honoured_and_the_probe_leaves_nothing(store: ObjectStore) -> None:
    check_conditional_writes(store)
    assert list(store.list()) == []


def test_ranges_come_in_the_order_asked_for(store: ObjectStore) -> None:
    store.write("a", b"0123456789")
    store.write("b", b"abcdefghij")
    wanted = [ByteRange("b", 8, 10), ByteRange("a", 0, 1), ByteRange("a", 5, 5), ByteRange("b", 0, 10)]
    assert store.read_ranges(wanted) == [b"ij", b"0", b"", b"abcdefghij"]
    assert store.read_range(ByteRange("a", 3, 7)) == b"3456"


@pytest.mark.parametrize(("start", "end"), [(5, 11), (10, 11), (50, 60)])
def test_a_range_beyond_the_end_is_a_broken_object(store: ObjectStore, start: int, end: int) -> None:
    store.write("a", b"0123456789")
    with pytest.raises(VerificationFailed, match=f"/a should hold at least {end} bytes"):
        store.read_range(ByteRange("a", start, end))


def test_a_range_of_a_missing_object_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        store.read_ranges([ByteRange("a", 0, 1)])


@pytest.mark.parametrize(
    "size_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7]
)
def test_large_objects_go_and_come_in_pieces(store: ObjectStore, size_bytes: int) -> None:
    data = (b"0123456789abcdef!" * (size_bytes // 17 + 1))[:size_bytes]
    store.write("big", memoryview(data))
    buffer = bytearray(size_bytes)
    store.read_into("big", memoryview(buffer))
    assert buffer == data
    info = store.stat("big")
    assert info is not None
    assert info.size_bytes == size_bytes


@pytest.mark.parametrize("size_bytes", [0, 9, 11, CHUNK_BYTES + 1])
def test_reading_into_a_buffer_of_another_size_fails(store: ObjectStore, size_bytes: int) -> None:
    store.write("a", b"0123456789")
    with pytest.raises(VerificationFailed, match=f"/a should hold {size_bytes} bytes and holds "):
        store.read_into("a", memoryview(bytearray(size_bytes)))


def test_a_piece_of_an_object_is_read_into_place(store: ObjectStore) -> None:
    store.write("a", b"0123456789")
    buffer = bytearray(6)
    store.read_into("a", memoryview(buffer)[2:5], start=4, size_bytes=10)
    assert buffer == b"\x00\x00456\x00"
    store.read_into("a", memoryview(bytearray(0)), start=10, size_bytes=10)
    for size_bytes in (9, 11):
        with pytest.raises(VerificationFailed, match=f"/a should hold {size_bytes} bytes and holds 10"):
            store.read_into("a", memoryview(buffer), start=0, size_bytes=size_bytes)
        with pytest.raises(VerificationFailed):
            store.read_into("a", memoryview(bytearray(0)), size_bytes=size_bytes)


def test_where_nothing_was_left_half_written_nothing_is_discarded(store: ObjectStore) -> None:
    store.write("a", b"content")
    assert list(store.discard_unfinished(lambda _: True)) == []
    assert store.read("a") == b"content"


def test_reading_a_missing_object_into_a_buffer_is_not_found(store: ObjectStore) -> None:
    for size_bytes in (0, 10):
        with pytest.raises(NotFound):
            store.read_into("a", memoryview(bytearray(size_bytes)))


def test_buffers_of_other_types_are_bytes_too(store: ObjectStore) -> None:
    numbers = memoryview(bytearray(range(16))).cast("I", (2, 2))
    store.write("a", numbers)
    back = memoryview(bytearray(16)).cast("I", (2, 2))
    store.read_into("a", back)
    assert back == numbers


def test_listing_is_recursive_and_sorted_by_key(store: ObjectStore) -> None:
    keys = ["a/b", "a-b", "a/b/../c".replace("/..", "2"), "z", "a.b", "B", "a/d/e/f"]
    for key in keys:
        store.write(key, key.encode())
    found = list(store.list())
    assert [info.key for info in found] == sorted(keys)
    assert [info.size_bytes for info in found] == [len(key) for key in sorted(keys)]


def test_a_prefix_may_end_within_a_name(store: ObjectStore) -> None:
    for key in ["states/0001", "states/0012", "states/002/x", "models/0001"]:
        store.write(key, b"")
    assert [info.key for info in store.list("states/00")] == ["states/0001", "states/0012", "states/002/x"]
    assert [info.key for info in store.list("states/")] == ["states/0001", "states/0012", "states/002/x"]
    assert [info.key for info in store.list("states/002/")] == ["states/002/x"]
    assert [info.key for info in store.list("none/")] == []


def test_listing_goes_on_beyond_one_page(store: ObjectStore) -> None:
    keys = [f"{number:05d}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.write(key, b""), keys))
    assert [info.key for info in store.list()] == keys
    store.delete(keys)
    assert list(store.list()) == []


def test_objects_tell_when_they_were_written(store: ObjectStore) -> None:
    store.write("a", b"")
    info = store.stat("a")
    assert info is not None
    assert info.modified is not None
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=5)


def test_deleting_what_is_missing_is_fine(store: ObjectStore) -> None:
    store.write("a/b", b"")
    store.delete(["a/b", "a/b", "never/was"])
    store.delete([])
    assert list(store.list()) == []


def test_a_child_is_rooted_deeper(store: ObjectStore) -> None:
    child = store.child("runs/1")
    child.write("a", b"content")
    assert child.uri == f"{store.uri}/runs/1"
    assert store.read("runs/1/a") == b"content"
    assert [info.key for info in child.list()] == ["a"]
    with pytest.raises(InvalidInput):
        store.child("../elsewhere")


def test_threads_may_share_a_store(store: ObjectStore) -> None:
    def there_and_back(number: int) -> bool:
        data = str(number).encode() * 100
        store.write(f"{number}", data)
        return store.read(f"{number}") == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(there_and_back, range(200)))
