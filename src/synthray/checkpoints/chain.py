"""Which checkpoints count: those on the chain of resume points. Pure: it only knows names and records.

Walking back from the newest attempt along the states that attempts resumed from gives the run's one accepted
history. All else (a stale writer's late commit, what an earlier history went on to) is ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synthray.checkpoints.attempts import Attempt
from synthray.checkpoints.manifest import Kind
from synthray.checkpoints.names import CheckpointName


@dataclass(frozen=True)
class _Limit:
    """How far an attempt's checkpoints count for the attempt that went on from `images_seen`."""

    images_seen: int
    with_model: bool

    def admits(self, name: CheckpointName, kind: Kind) -> bool:
        """A model at the limit counts only if it lay there when the later attempt began."""
        if name.images_seen == self.images_seen:
            return kind == "state" or self.with_model
        return name.images_seen < self.images_seen


def accepted_checkpoints(
    attempts: Mapping[int, Attempt], names: Iterable[CheckpointName], kind: Kind = "state"
) -> frozenset[CheckpointName]:
    """Those of `names` that lie on the chain of resume points, walked back from the newest attempt.

    An attempt whose record is not there yet, lost or damaged is taken to go on from the attempt before it:
    its resume point is unknown, and by the promise any state of the run at the same images_seen is the same.
    """
    candidates = tuple(names)
    numbers = sorted(set(attempts) | {name.attempt for name in candidates})
    accepted: set[CheckpointName] = set()
    limit: _Limit | None = None
    number = numbers[-1] if numbers else None
    while number is not None:
        accepted.update(
            name
            for name in candidates
            if name.attempt == number and (limit is None or limit.admits(name, kind))
        )
        record = attempts[number].record if number in attempts else None
        if record is None:
            number = max((other for other in numbers if other < number), default=None)
        elif record.source is None:
            number = None
        else:
            number = record.source.attempt
            limit = _Limit(record.source.images_seen, record.source_has_model)
    return frozenset(accepted)
