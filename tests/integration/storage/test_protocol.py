"""What every store promises, on a folder and on a real S3 server alike."""

from concurrent.futures import ThreadPoolExecutor

from synthray.storage import ObjectExists, ObjectStore


def test_what_was_written_is_read_back(store: ObjectStore) -> None:
    store.write("a/b/c.bin", b"content")
    assert store.read("a/b/c.bin") == b"content"


def test_a_write_replaces(store: ObjectStore) -> None:
    store.write("a", b"first")
    store.write("a", b"2nd")
    assert store.read("a") == b"2nd"


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
