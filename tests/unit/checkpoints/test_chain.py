"""Which checkpoints count: those on the chain of resume points."""

from hypothesis import given
from hypothesis import strategies as st

from synthray.checkpoints.attempts import Attempt, AttemptRecord
from synthray.checkpoints.chain import accepted_checkpoints
from synthray.checkpoints.names import CheckpointName


def went_on_from(number: int, source: CheckpointName | None, *, with_model: bool = True) -> Attempt:
    record = AttemptRecord(
        number=number,
        nonce=f"{number:032x}",
        driver="test",
        resumes_from=str(source) if source else None,
        created="2026-01-01T00:00:00+00:00",
        reason="",
        source_has_model=with_model,
    )
    return Attempt(number, record, frozenset({record.nonce}))


def test_nothing_is_accepted_where_there_is_nothing() -> None:
    assert accepted_checkpoints({}, []) == frozenset()


def test_what_a_stale_attempt_commits_after_its_replacement_resumed_is_off_the_chain() -> None:
    a100, a200, b150 = CheckpointName(100, 1), CheckpointName(200, 1), CheckpointName(150, 2)
    attempts = {1: went_on_from(1, None), 2: went_on_from(2, a100)}
    assert accepted_checkpoints(attempts, [a100, b150, a200]) == {a100, b150}


def test_a_model_that_a_stale_attempt_commits_beside_the_resume_point_is_off_the_chain() -> None:
    a100, a200 = CheckpointName(100, 1), CheckpointName(200, 1)
    late = {1: went_on_from(1, None), 2: went_on_from(2, a200, with_model=False)}
    there = {1: went_on_from(1, None), 2: went_on_from(2, a200)}
    assert accepted_checkpoints(late, [a100, a200], "model") == {a100}
    assert accepted_checkpoints(late, [a100, a200], "state") == {a100, a200}
    assert accepted_checkpoints(there, [a100, a200], "model") == {a100, a200}


def test_an_attempt_that_started_from_nothing_leaves_all_earlier_ones_off_the_chain() -> None:
    old, new = CheckpointName(500, 1), CheckpointName(10, 2)
    attempts = {1: went_on_from(1, None), 2: went_on_from(2, None)}
    assert accepted_checkpoints(attempts, [old, new]) == {new}


def test_a_damaged_record_hides_no_checkpoint_of_the_attempts_before_it() -> None:
    a100, b200, c300 = CheckpointName(100, 1), CheckpointName(200, 2), CheckpointName(300, 3)
    attempts = {1: went_on_from(1, None), 2: Attempt(2, None), 3: went_on_from(3, b200)}
    assert accepted_checkpoints(attempts, [a100, b200, c300]) == {a100, b200, c300}


def test_an_attempt_that_has_not_said_yet_where_it_goes_on_from_hides_nothing() -> None:
    a100, a200 = CheckpointName(100, 1), CheckpointName(200, 1)
    attempts = {1: went_on_from(1, None), 2: Attempt(2, None, is_pending=True)}
    assert accepted_checkpoints(attempts, [a100, a200]) == {a100, a200}


def test_the_chain_is_walked_although_the_state_it_resumed_from_is_gone() -> None:
    a100, b300 = CheckpointName(100, 1), CheckpointName(300, 2)
    attempts = {1: went_on_from(1, None), 2: went_on_from(2, CheckpointName(200, 1))}
    assert accepted_checkpoints(attempts, [a100, b300]) == {a100, b300}


@given(st.data())
def test_exactly_the_lineage_of_the_newest_attempt_is_accepted(data: st.DataObject) -> None:
    """Histories with stale writers: any attempt may commit at any time, also after it was replaced."""
    attempts: dict[int, Attempt] = {}
    lineages: dict[int, list[CheckpointName]] = {}
    committed: list[CheckpointName] = []
    for number in range(1, data.draw(st.integers(1, 5)) + 1):
        known = lineages.get(number - 1, [])
        source = data.draw(st.sampled_from([None, *known]))
        attempts[number] = went_on_from(number, source)
        lineages[number] = known[: known.index(source) + 1] if source else []
        for _ in range(data.draw(st.integers(0, 4))):
            writer = data.draw(st.integers(1, number))
            mine = [name.images_seen for name in committed if name.attempt == writer]
            record = attempts[writer].record
            assert record is not None
            behind = max([*mine, record.source.images_seen if record.source else 0])
            name = CheckpointName(behind + data.draw(st.integers(1, 50)), writer)
            committed.append(name)
            lineages[writer].append(name)
    newest = max(attempts)
    assert accepted_checkpoints(attempts, committed) == set(lineages[newest])
