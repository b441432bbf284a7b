"""Whether a run that was disturbed ended as one that was left alone.

Pure but for `observe_end`, which reads the run's checkpoints and the workers' own record of samples, past
the proxy, when all is over.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sample_audit import AuditLine, audit_history, read_audit, read_chain

from synthray.checkpoints.attempts import read_attempts
from synthray.checkpoints.store import CheckpointStore
from synthray.storage import ObjectStore

from .reference import Result, read_ledger, read_result
from .scene import Scene

_SHOWN = 5
Chain = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class End:
    """What a run left: its result and accounts, what its workers recorded, and what should not be there.

    `lost_images` counts, by attempt, what it computed beyond the state that the next one went on from.
    """

    result: Result
    ledger: Mapping[str, float]
    lost_images: Mapping[int, int]
    audit_problems: Sequence[str]
    orphans: Sequence[str]
    bad_states: Sequence[str]
    processes_left: Sequence[str]


def observe_end(scene: Scene, processes_left: Sequence[str]) -> End:
    """Read everything that the run left."""
    checkpoints = scene.checkpoints()
    result = read_result(checkpoints)
    chain = read_chain(checkpoints.store)
    lines = read_audit(scene.audit_folder)
    audit = audit_history(lines, chain, images_seen=int(result.state[0]))
    bad = checkpoints.newest_good_state().bad
    return End(
        result=result,
        ledger=read_ledger(checkpoints),
        lost_images=count_lost(lines, _resume_points(checkpoints.store)),
        audit_problems=audit.problems,
        orphans=find_orphans(_accepted_names(checkpoints), chain),
        bad_states=[f"{one.uri}: {'; '.join(one.problems)}" for one in bad],
        processes_left=processes_left,
    )


def judge(end: End, expected: Result) -> list[str]:
    """What is wrong, in words; empty if nothing is."""
    problems = []
    if end.result.state != expected.state:
        problems.append(f"the last state differs: {end.result.state}, not {expected.state}")
    models, wanted = end.result.models, expected.models
    if models != wanted:
        odd = sorted(images for images in {*models, *wanted} if models.get(images) != wanted.get(images))
        problems.append(f"models differ after {_some(odd)} images")
    for what, found in (
        ("samples", end.audit_problems),
        ("accepted off the chain", end.orphans),
        ("bad states", end.bad_states),
        ("processes left", end.processes_left),
    ):
        if found:
            problems.append(f"{what}: {_some(found)}")
    return problems


def count_lost(lines: Iterable[AuditLine], resume_points: Mapping[int, int]) -> dict[int, int]:
    """Images that each attempt computed beyond where the next one began."""
    ends: dict[int, int] = {}
    for line in lines:
        ends[line.attempt] = max(ends.get(line.attempt, 0), max(line.positions, default=-1) + 1)
    return {
        attempt: max(0, ends.get(attempt, 0) - resume_points[following])
        for attempt, following in pairwise(sorted(resume_points))
    }


def find_orphans(names: Iterable[tuple[int, int]], chain: Chain) -> list[str]:
    """Accepted checkpoints (images seen, attempt) that the chain of resume points does not lead through."""
    limits = {attempt: limit for (attempt, _), (_, limit) in pairwise([*chain, (0, 2**63)])}
    return [
        f"{images} of attempt {attempt}"
        for images, attempt in names
        if attempt not in limits or images > limits[attempt]
    ]


def _accepted_names(checkpoints: CheckpointStore) -> list[tuple[int, int]]:
    manifests = [*checkpoints.list_states(), *checkpoints.list_models()]
    return [(manifest.images_seen, manifest.attempt) for manifest in manifests]


def _resume_points(store: ObjectStore) -> dict[int, int]:
    return {
        number: attempt.record.source.images_seen if attempt.record.source else 0
        for number, attempt in read_attempts(store).items()
        if attempt.record is not None
    }


def _some(found: Sequence[object]) -> str:
    shown = ", ".join(map(str, found[:_SHOWN]))
    return shown if len(found) <= _SHOWN else f"{shown} and {len(found) - _SHOWN} more"
