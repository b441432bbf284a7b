"""Fencing by a chain of attempts."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.checkpoints.attempts import (
    AttemptRecord,
    accepted_checkpoints,
    begin_attempt,
    check_not_fenced,
    list_attempt_numbers,
    read_attempts,
)
from synthray.checkpoints.names import CheckpointName, attempt_key
from synthray.errors import Reason, RunFailed
from synthray.storage import ObjectExists, ObjectStore


def make_record(number: int, resumes_from: CheckpointName | None) -> AttemptRecord:
    return AttemptRecord(
        number=number,
        nonce=f"{number:032x}",
        driver="test",
        resumes_from=str(resumes_from) if resumes_from else None,
        created="2026-01-01T00:00:00+00:00",
        reason="",
    )


def test_nothing_is_accepted_where_there_is_nothing() -> None:
    assert accepted_checkpoints({}, []) == frozenset()


def test_what_a_stale_attempt_commits_after_its_replacement_resumed_is_off_the_chain() -> None:
    a100, a200, b150 = CheckpointName(100, 1), CheckpointName(200, 1), CheckpointName(150, 2)
    attempts = {1: make_record(1, None), 2: make_record(2, a100)}
    assert accepted_checkpoints(attempts, [a100, b150, a200]) == {a100, b150}


def test_an_attempt_that_started_from_nothing_leaves_all_earlier_ones_off_the_chain() -> None:
    old, new = CheckpointName(500, 1), CheckpointName(10, 2)
    attempts = {1: make_record(1, None), 2: make_record(2, None)}
    assert accepted_checkpoints(attempts, [old, new]) == {new}


def test_a_damaged_record_hides_no_checkpoint_of_the_attempts_before_it() -> None:
    a100, b200, c300 = CheckpointName(100, 1), CheckpointName(200, 2), CheckpointName(300, 3)
    attempts = {1: make_record(1, None), 2: None, 3: make_record(3, b200)}
    assert accepted_checkpoints(attempts, [a100, b200, c300]) == {a100, b200, c300}


def test_the_chain_is_walked_although_the_state_it_resumed_from_is_gone() -> None:
    a100, b300 = CheckpointName(100, 1), CheckpointName(300, 2)
    attempts = {1: make_record(1, None), 2: make_record(2, CheckpointName(200, 1))}
    assert accepted_checkpoints(attempts, [a100, b300]) == {a100, b300}


@given(st.data())
def test_exactly_the_lineage_of_the_newest_attempt_is_accepted(data: st.DataObject) -> None:
    """Histories with stale writers: any attempt may commit at any time, also after it was replaced."""
    attempts: dict[int, AttemptRecord | None] = {}
    lineages: dict[int, list[CheckpointName]] = {}
    committed: list[CheckpointName] = []
    for number in range(1, data.draw(st.integers(1, 5)) + 1):
        known = lineages.get(number - 1, [])
        source = data.draw(st.sampled_from([None, *known]))
        attempts[number] = make_record(number, source)
        lineages[number] = known[: known.index(source) + 1] if source else []
        for _ in range(data.draw(st.integers(0, 4))):
            writer = data.draw(st.integers(1, number))
            mine = [name.images_seen for name in committed if name.attempt == writer]
            record = attempts[writer]
            assert record is not None
            start = CheckpointName.parse(record.resumes_from) if record.resumes_from else None
            behind = max([*mine, start.images_seen if start else 0])
            name = CheckpointName(behind + data.draw(st.integers(1, 50)), writer)
            committed.append(name)
            lineages[writer].append(name)
    newest = max(attempts)
    assert accepted_checkpoints(attempts, committed) == set(lineages[newest])


def test_racing_attempts_get_numbers_of_their_own(local_store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda n: begin_attempt(local_store, f"driver-{n}", None), range(8)))
    assert sorted(record.number for record in records) == list(range(1, 9))
    assert read_attempts(local_store) == {record.number: record for record in records}


def test_all_but_the_newest_attempt_are_fenced_off(local_store: ObjectStore) -> None:
    first, second = (begin_attempt(local_store, "driver", None) for _ in range(2))
    check_not_fenced(local_store, second.number)
    with pytest.raises(RunFailed) as caught:
        check_not_fenced(local_store, first.number)
    assert caught.value.reason is Reason.FENCED
    assert caught.value.message == (
        f"{local_store.uri}: attempt 1 was replaced by attempt 2, which goes on with the run; "
        "this one stops without committing anything more"
    )


def test_an_attempt_whose_creation_was_not_answered_knows_itself_again(
    local_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = type(local_store).create

    def create_unheard(self: ObjectStore, key: str, data: bytes) -> None:
        create(self, key, data)
        raise ObjectExists("the library sent it again after a lost answer")

    monkeypatch.setattr(type(local_store), "create", create_unheard)
    assert begin_attempt(local_store, "driver", None).number == 1
    assert list_attempt_numbers(local_store) == [1]


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe"], ids=["empty", "no fields", "no text"])
def test_a_damaged_record_still_counts_as_an_attempt(local_store: ObjectStore, damage: bytes) -> None:
    begin_attempt(local_store, "driver", None)
    local_store.write(attempt_key(2), damage)
    assert read_attempts(local_store)[2] is None
    assert begin_attempt(local_store, "driver", None).number == 3


def test_a_record_copied_to_another_number_is_damaged(local_store: ObjectStore) -> None:
    begin_attempt(local_store, "driver", None)
    local_store.write(attempt_key(2), local_store.read(attempt_key(1)))
    assert read_attempts(local_store)[2] is None
