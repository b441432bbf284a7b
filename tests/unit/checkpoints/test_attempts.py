"""Fencing: claims, records, and what is made of them when they are damaged."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from small_run import SmallRun

from synthray.checkpoints.attempts import (
    AttemptRecord,
    begin_attempt,
    check_not_fenced,
    newest_attempt,
    read_attempts,
)
from synthray.checkpoints.documents import seal
from synthray.checkpoints.names import attempt_key, claim_key
from synthray.errors import NotFound, Reason, RunFailed, Unavailable
from synthray.storage import ObjectExists, ObjectInfo, ObjectStore


def test_racing_attempts_get_numbers_of_their_own(local_store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda n: begin_attempt(local_store, f"driver-{n}", None), range(8)))
    assert sorted(record.number for record in records) == list(range(1, 9))
    read = read_attempts(local_store)
    assert {number: one.record for number, one in read.items()} == {one.number: one for one in records}
    assert all(one.problems == () for one in read.values())


def test_all_but_the_newest_attempt_are_fenced_off(local_store: ObjectStore) -> None:
    first, second = (begin_attempt(local_store, "driver", None) for _ in range(2))
    check_not_fenced(local_store, second.number)
    with pytest.raises(RunFailed) as caught:
        check_not_fenced(local_store, first.number)
    assert (caught.value.reason, caught.value.exit_code) == (Reason.FENCED, 5)
    assert caught.value.message == (
        f"{local_store.uri}: attempt 1 was replaced by attempt 2, which goes on with the run; "
        "this one stops without committing anything more"
    )


def test_a_claim_alone_fences_earlier_attempts_off_and_hides_nothing_from_readers(run: SmallRun) -> None:
    run.commit(run.begin(), 100)
    begin_attempt(run.store, "driver", None)
    run.store.delete([attempt_key(2)])
    with pytest.raises(RunFailed):
        check_not_fenced(run.store, 1)
    assert read_attempts(run.store)[2].is_pending
    run.check_loads(100)


def test_an_attempt_whose_creation_was_not_answered_knows_itself_again(
    local_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = type(local_store).create

    def create_unheard(self: ObjectStore, key: str, data: bytes) -> None:
        create(self, key, data)
        raise ObjectExists("the library sent it again after a lost answer")

    monkeypatch.setattr(type(local_store), "create", create_unheard)
    assert begin_attempt(local_store, "driver", None).number == 1
    assert newest_attempt(local_store) == 1


def test_an_attempt_keeps_the_manifest_that_it_resumed_from(run: SmallRun) -> None:
    """A late delete of an earlier attempt can still take the object; the state stays readable."""
    run.commit(run.begin(), 100)
    run.begin("000000000100-a000001")
    run.store.delete(["states/000000000100-a000001/manifest.json"])
    run.check_loads(100)
    run.begin("000000000100-a000001")
    run.check_loads(100)


@pytest.mark.parametrize("change", [b"", b"{}", None], ids=["empty", "no fields", "gone"])
def test_a_state_that_goes_while_an_attempt_begins_is_said_so_and_the_run_stands_where_it_stood(
    run: SmallRun, change: bytes | None
) -> None:
    context = run.begin()
    run.commit(context, 100)
    run.commit(context, 200)
    manifest = "states/000000000100-a000001/manifest.json"
    run.store.delete([manifest]) if change is None else run.store.write(manifest, change)
    with pytest.raises(Unavailable, match="the state 000000000100-a000001 went while an attempt began"):
        begin_attempt(run.store, "driver", "000000000100-a000001")
    run.check_loads(200)
    assert begin_attempt(run.store, "driver", "000000000200-a000001").number == 3


def test_numbers_go_on_after_those_of_states_although_the_records_are_gone(run: SmallRun) -> None:
    run.begin()
    run.commit(run.begin(), 100)
    run.store.delete([key for number in (1, 2) for key in (attempt_key(number), claim_key(number))])
    assert begin_attempt(run.store, "driver", "000000000100-a000002").number == 3


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe"], ids=["empty", "no fields", "no text"])
@pytest.mark.parametrize("key", [attempt_key(2), claim_key(2)])
def test_a_damaged_record_or_claim_is_named_and_still_counts_as_an_attempt(
    local_store: ObjectStore, damage: bytes, key: str
) -> None:
    for _ in range(2):
        begin_attempt(local_store, "driver", None)
    local_store.write(key, damage)
    damaged = read_attempts(local_store)[2]
    assert damaged.problems[0].startswith(f"{key} is damaged: ")
    assert (damaged.record is None) == (key == attempt_key(2))
    assert begin_attempt(local_store, "driver", None).number == 3


def test_a_record_copied_to_another_number_is_damaged(local_store: ObjectStore) -> None:
    for _ in range(2):
        begin_attempt(local_store, "driver", None)
    local_store.write(attempt_key(2), local_store.read(attempt_key(1)))
    assert read_attempts(local_store)[2].problems == (
        "attempts/000002.json is damaged: it belongs to attempt 1",
    )


def test_a_record_of_another_run_is_not_followed(run: SmallRun, other_run: SmallRun) -> None:
    """Else one foreign object would make all states of its attempt look foreign, or hide earlier ones."""
    run.commit(run.begin(), 100)
    run.commit(run.begin("000000000100-a000001"), 200)
    for _ in range(2):
        other_run.begin()
    run.store.write(attempt_key(2), other_run.store.read(attempt_key(2)))
    assert read_attempts(run.store)[2].problems == (
        "attempts/000002.json and attempts/000002.claim.json are of different processes",
    )
    run.check_loads(200)


def test_a_claim_that_is_gone_is_missed(local_store: ObjectStore) -> None:
    begin_attempt(local_store, "driver", None)
    local_store.delete([claim_key(1)])
    assert read_attempts(local_store)[1].problems == ("attempts/000001.claim.json is missing",)


def test_records_of_the_first_format_which_knew_no_claims_are_read(local_store: ObjectStore) -> None:
    record = AttemptRecord(
        format_version=1,
        number=1,
        nonce="0" * 32,
        driver="driver",
        resumes_from=None,
        created="2026-01-01T00:00:00+00:00",
        reason="",
    )
    assert b"source" not in seal(record)
    local_store.create(attempt_key(1), seal(record))
    assert read_attempts(local_store)[1].record == record
    assert read_attempts(local_store)[1].problems == ()


def test_attempts_that_were_read_are_not_read_again(local_store: ObjectStore) -> None:
    known = read_attempts(local_store)
    begin_attempt(local_store, "driver", None)
    first = read_attempts(local_store, known)
    local_store.write(attempt_key(1), b"")
    assert read_attempts(local_store, known) == first


def test_records_that_vanish_while_they_are_read_are_left_out(
    local_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        begin_attempt(local_store, "driver", None)
    list_objects = type(local_store).list

    def list_then_remove(self: ObjectStore, prefix: str = "") -> Iterator[ObjectInfo]:
        found = list(list_objects(self, prefix))
        with suppress(NotFound):
            self.delete([attempt_key(2)])
        return iter(found)

    monkeypatch.setattr(type(local_store), "list", list_then_remove)
    assert [number for number, one in read_attempts(local_store).items() if one.record] == [1]
