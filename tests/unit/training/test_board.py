"""The board between driver and supervisors, and what is read from it."""

from dataclasses import replace

import pytest

from synthray.errors import RunFailed
from synthray.training.board import Member, Note, Orders, Posting, RunBoard, Seat
from synthray.training.observation import describe_stuck, find_stuck, is_ready, view_segment
from synthray.training.worker_task import Beat, Ending, Wishes

FIRST = Seat(crew=1, group="a", rank=0, size=2)
SECOND = Seat(crew=1, group="a", rank=1, size=2)


def member(
    *,
    ending: Ending | None = None,
    attempt: int = 1,
    age_seconds: float = 0.0,
    quiet_seconds: float = 0.0,
    stacks: str = "",
) -> Member:
    return Member(
        Note(node="node-a", is_warm=True, attempt=attempt, ending=ending, stacks=stacks),
        age_seconds,
        quiet_seconds,
    )


def posting(*members: Member, group: str = "a") -> Posting:
    return Posting(group, dict(enumerate(members)))


class TestBoard:
    def test_orders_stand_until_the_next_ones(self) -> None:
        board = RunBoard()
        board.direct(1, Orders(wishes=Wishes(stop=True)))
        answers = [board.exchange(seat, Note("node-a"))[0] for seat in (FIRST, SECOND, FIRST)]
        assert all(orders.wishes.stop for orders in answers)

    def test_the_first_workers_address_is_told_for_the_attempt_that_it_is_for(self) -> None:
        board = RunBoard()
        board.exchange(FIRST, Note("node-a", attempt=3, address="tcp://here:1"))
        assert board.exchange(SECOND, Note("node-b", attempt=3))[1] == "tcp://here:1"
        assert board.exchange(SECOND, Note("node-b", attempt=2))[1] == ""

    def test_a_new_group_replaces_the_old_one_whose_members_are_dismissed(self) -> None:
        board = RunBoard()
        board.exchange(FIRST, Note("node-a"))
        board.exchange(replace(FIRST, group="b"), Note("node-a"))
        assert board.posting(1).group == "b"
        assert board.exchange(SECOND, Note("node-a"))[0].dismissed
        assert list(board.posting(1).members) == [0]

    def test_crews_have_pages_of_their_own(self) -> None:
        board = RunBoard()
        board.direct(2, Orders(dismissed=True))
        assert not board.exchange(FIRST, Note("node-a"))[0].dismissed

    def test_a_worker_is_quiet_for_as_long_as_its_count_stands_still(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [100.0]
        monkeypatch.setattr("synthray.training.board.time.monotonic", lambda: now[0])
        board = RunBoard()
        for count in (1, 1, 2, 2):
            board.exchange(FIRST, Note("node-a", attempt=1, beat=Beat(count, None)))
            now[0] += 10
        assert board.posting(1).members[0].quiet_seconds == 20
        assert board.posting(1).members[0].age_seconds == 10


class TestReadiness:
    def test_a_crew_is_ready_when_all_of_it_was_heard_of_lately(self) -> None:
        assert is_ready(posting(member(), member()), 2)
        assert not is_ready(posting(member()), 2)
        assert not is_ready(posting(member(), member(age_seconds=60)), 2)

    def test_a_crew_without_a_standby_that_can_fork_is_not_ready(self) -> None:
        cold = Member(Note(node="node-a"), 0.0, 0.0)
        assert not is_ready(posting(member(), cold), 2)


class TestView:
    def test_a_segment_is_over_when_every_worker_has_ended(self) -> None:
        complete = member(ending=Ending(outcome="complete"))
        assert not view_segment(posting(complete, member()), "a", 1, 2).over
        view = view_segment(posting(complete, complete), "a", 1, 2)
        assert view.over
        assert not view.doomed
        assert view.end.outcome == "complete"

    def test_endings_of_another_attempt_say_nothing_of_this_one(self) -> None:
        ended = member(attempt=1, ending=Ending(crash="boom"))
        assert not view_segment(posting(ended, ended), "a", 2, 2).doomed

    def test_what_one_worker_says_of_the_end_does_not_count_while_another_is_silent(self) -> None:
        complete = member(ending=Ending(outcome="complete"))
        view = view_segment(posting(member(age_seconds=31), complete), "a", 1, 2)
        assert view.doomed
        assert view.end == Ending()

    def test_a_foreseen_failure_explains_the_others(self) -> None:
        failure = RunFailed("not finite")
        view = view_segment(
            posting(
                member(ending=Ending(crash="the worker process was killed by SIGKILL")),
                member(ending=Ending(failure=failure)),
            ),
            *("a", 1, 2),
        )
        assert view.end.failure is failure

    def test_a_killed_process_explains_the_broken_connection_of_its_neighbour(self) -> None:
        view = view_segment(
            posting(
                member(ending=Ending(crash="Traceback\nRuntimeError: Connection closed by peer")),
                member(ending=Ending(crash="the worker process was killed by SIGKILL")),
            ),
            *("a", 1, 2),
        )
        assert view.loss == "worker 1 on node-a: the worker process was killed by SIGKILL"

    def test_a_segment_ends_with_the_group_that_began_it(self) -> None:
        view = view_segment(posting(member(), member(), group="b"), "a", 1, 2)
        assert view.over
        assert view.loss == "a worker's supervisor was lost"

    def test_a_supervisor_of_which_nothing_is_heard_dooms_the_segment(self) -> None:
        view = view_segment(posting(member(), member(age_seconds=31)), "a", 1, 2)
        assert view.doomed
        assert view.silent == (1,)


class TestHang:
    def test_a_segment_hangs_when_no_worker_gets_on(self) -> None:
        both = posting(member(quiet_seconds=31), member(quiet_seconds=31))
        one = posting(member(quiet_seconds=31), member(quiet_seconds=1))
        assert find_stuck(both, median_step_seconds=1.0, quiet_limit_seconds=30)
        assert not find_stuck(one, median_step_seconds=1.0, quiet_limit_seconds=30)

    def test_long_steps_and_the_start_have_longer(self) -> None:
        both = posting(member(quiet_seconds=31), member(quiet_seconds=31))
        assert not find_stuck(both, median_step_seconds=10.0, quiet_limit_seconds=30)
        assert not find_stuck(both, median_step_seconds=None, quiet_limit_seconds=30)

    def test_the_worker_that_the_others_wait_for_is_named_with_what_it_does(self) -> None:
        waiting = (
            'Thread 0x1 (most recent call first):\n  File "/x/synthray/training/world.py", line 9 in add\n'
        )
        reading = (
            'Thread 0x1 (most recent call first):\n  File "/x/synthray/data/reader.py", line 5 in read\n'
        )
        stuck = posting(member(stacks=waiting), member(stacks=reading))
        assert describe_stuck(stuck) == "worker 1 on node-a (in data/reader.py, line 5 in read)"

    def test_a_stopped_process_is_named_as_such(self) -> None:
        stopped = posting(member(stacks="the process is stopped (SIGSTOP)"))
        assert describe_stuck(stopped) == "worker 0 on node-a (the process is stopped (SIGSTOP))"

    def test_a_dead_collective_is_nobodys_fault(self) -> None:
        waiting = 'File "/x/synthray/training/world.py", line 9 in add\n'
        assert "every worker waits" in describe_stuck(posting(member(stacks=waiting)))
