"""What a crew's board says of a running segment, as pure functions of its posting.

Whether the crew is there, how the segment stands, why it failed, whether it hangs and on whom. No clock: the
posting brings its ages along.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from synthray.training.board import Posting
from synthray.training.worker_task import Ending

_PRESENT_SECONDS = 3.0
_SILENT_SECONDS = 30.0
_GONE_SECONDS = 15.0
_LIMITS_BEFORE_STEPS = 20
_WAITING_FOR_OTHERS = "/training/world.py"


def is_ready(posting: Posting, size: int) -> bool:
    """Whether all of a crew stand on the board, have been heard of lately and can begin at once."""
    members = posting.members.values()
    return 0 < size == len(members) and all(
        member.note.is_warm and member.age_seconds < _PRESENT_SECONDS for member in members
    )


@dataclass(frozen=True)
class SegmentView:
    """A running segment as its board shows it."""

    over: bool
    doomed: bool
    """Some worker's part has failed: what the others still compute is lost."""
    end: Ending
    loss: str
    silent: tuple[int, ...]
    """Ranks of which nothing is heard: not even their supervisor answers."""


def view_segment(posting: Posting, group: str, attempt: int, size: int) -> SegmentView:
    """Read from a posting how the segment of `attempt`, begun by `group`, stands."""
    if posting.group != group:
        return SegmentView(True, True, Ending(), "a worker's supervisor was lost", ())
    endings = {
        rank: member.note.ending
        for rank, member in posting.members.items()
        if member.note.attempt == attempt and member.note.ending is not None
    }
    over = len(endings) == size
    silent = tuple(r for r, member in posting.members.items() if member.age_seconds > _SILENT_SECONDS)
    if all(member.age_seconds > _GONE_SECONDS for member in posting.members.values()):
        return SegmentView(True, True, Ending(), "all supervisors were lost", silent)
    rank, end = _find_cause(endings)
    if end.outcome is not None and not over:
        end = Ending()  # what some say of the end counts only when all have said it
    node = posting.members[rank].note.node if rank in posting.members else ""
    return SegmentView(
        over=over,
        doomed=any(ending.outcome is None for ending in endings.values()) or bool(silent),
        end=end,
        loss=f"worker {rank} on {node}: {_last_line(end.crash)}" if end.crash else "a worker was lost",
        silent=silent,
    )


def _find_cause(endings: Mapping[int, Ending]) -> tuple[int, Ending]:
    """The ending that explains the others: a foreseen failure, else a killed process, else any."""

    def rank_of(item: tuple[int, Ending]) -> tuple[int, int]:
        rank, ending = item
        if ending.failure is not None:
            return 0, rank
        if ending.crash:
            return (1 if ending.crash.startswith("the worker process") else 2), rank
        return 3, rank

    return min(endings.items(), key=rank_of, default=(0, Ending()))


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def find_stuck(posting: Posting, *, median_step_seconds: float | None, quiet_limit_seconds: float) -> bool:
    """Whether a segment hangs: no worker has got on for 5 median steps and at least the limit.

    Before the first steps are measured a worker opens data and state, which may take long: twenty limits.
    """
    quiet = min((member.quiet_seconds for member in posting.members.values()), default=0.0)
    if median_step_seconds is None:
        return quiet > _LIMITS_BEFORE_STEPS * quiet_limit_seconds
    return quiet > max(quiet_limit_seconds, 5 * median_step_seconds)


def describe_stuck(posting: Posting) -> str:
    """Name the ranks that hold the others up: those whose main thread is in no collective operation."""
    suspects = [
        f"worker {rank} on {member.note.node} {_describe_activity(member.note.stacks)}"
        for rank, member in posting.members.items()
        if member.note.ending is None and _WAITING_FOR_OTHERS not in member.note.stacks
    ]
    return "; ".join(suspects) or "every worker waits for the others in a collective operation"


def _describe_activity(stacks: str) -> str:
    """The innermost call of ours in a dump of faulthandler, or what stands there instead of one."""
    main = stacks.rpartition("(most recent call first):")[2] or stacks
    ours = next((line.strip() for line in main.splitlines() if "/synthray/" in line), "")
    if not ours:
        return f"({stacks.strip() or 'it told nothing'})"
    path, _, place = ours.removeprefix("File ").partition(",")
    return f"(in {path.strip(chr(34)).rpartition('/synthray/')[2]},{place})"
