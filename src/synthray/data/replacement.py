"""Which sample is computed at a position of the stream: a pure rule of the order and of what was found bad.

A sample that can't be had counts as bad from the position on at which it was found so, and never before. So
whoever computes a position, and whenever, takes the same sample for it, whatever storage answers meanwhile.
What was found is part of the run's state. It must not read anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from synthray.data.order import SampleOrder, SampleRef
from synthray.errors import Reason, VerificationFailed


@dataclass(frozen=True)
class Finding:
    """At `position` of the stream `sample` was to be computed, and could not be had."""

    sample: int
    position: int


@dataclass(frozen=True)
class BadSamples:
    """Bad samples, each with the position from which on it counts as bad."""

    since: Mapping[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.since)

    def includes(self, sample: int, position: int) -> bool:
        """Whether `sample` counts as bad at `position`."""
        since = self.since.get(sample)
        return since is not None and since <= position

    def with_findings(self, findings: Iterable[Finding]) -> "BadSamples":
        """These and newly found ones: the order of the findings, and who made them, don't matter."""
        since = dict(self.since)
        for found in findings:
            since[found.sample] = min(found.position, since.get(found.sample, found.position))
        return BadSamples(since)

    def to_json(self) -> list[tuple[int, int]]:
        """Pairs of sample and first position, in order: the form kept in a state."""
        return sorted(self.since.items())

    @classmethod
    def from_json(cls, pairs: Iterable[tuple[int, int]]) -> "BadSamples":
        """Read what `to_json` wrote."""
        return cls(dict(pairs))


NONE_BAD = BadSamples()


def choose_sample(order: SampleOrder, ref: SampleRef, bad: BadSamples) -> int:
    """The sample to compute at `ref`: its own, or where that is bad the next good one of its epoch.

    Raises VerificationFailed if all are bad.
    """
    if not bad.includes(ref.sample, ref.position):
        return ref.sample
    for candidate in order.replacements(ref):
        if not bad.includes(candidate, ref.position):
            return candidate
    raise VerificationFailed(
        "no sample of the dataset can be read intact; copy the dataset again, or prepare it anew",
        reason=Reason.DATASET_INVALID,
    )
