"""Which machines may compute one run together, and what a run remembers when it moves to another kind.

A sum is exact whoever adds it, but two kinds of machine round the gradients themselves differently: with
both in one world the result would depend on who computed what. Moving a whole run to another kind of machine
between segments is allowed; it is written down, because an unbroken run elsewhere would have other bits.
"""

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthray.diffusion.fingerprint import fingerprint
from synthray.errors import InvalidInput, Reason
from synthray.training.ledger import RunEvent, with_events
from synthray.training.settings import RunSettings
from synthray.training.state import TrainingState
from synthray.training.world import World

_log = logging.getLogger(__name__)

FINGERPRINT_CHANGED = "FingerprintChanged"


@dataclass(frozen=True)
class WorkerMachine:
    """One worker's place and the fingerprint of its machine."""

    rank: int
    node: str
    fingerprint: Mapping[str, str]


def describe_mixture(machines: Sequence[WorkerMachine]) -> str:
    """The fields in which fingerprints differ, with each value's workers; empty where none does."""
    names = sorted({name for machine in machines for name in machine.fingerprint})
    differences = []
    for name in names:
        holders: dict[str, list[str]] = {}
        for machine in machines:
            value = machine.fingerprint.get(name, "unknown")
            holders.setdefault(value, []).append(f"worker {machine.rank} on {machine.node}")
        if len(holders) > 1:
            values = " and ".join(f"{value} ({', '.join(who)})" for value, who in holders.items())
            differences.append(f"{name} is {values}")
    return "; ".join(differences)


def describe_change(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The fields that changed between two fingerprints; empty where none did."""
    return "; ".join(
        f"{name} was {before.get(name, 'unknown')} and is {now.get(name, 'unknown')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )


def agree_on_fingerprint(settings: RunSettings, world: World) -> dict[str, str]:
    """This worker's fingerprint, once all have compared theirs.

    With reduction exact raises InvalidInput on every worker where two differ; with statistical the first
    worker logs it.
    """
    mine = fingerprint(threads=settings.threads, dtype=settings.precision, device=world.device)
    machines = world.gather_objects(WorkerMachine(world.rank, socket.gethostname(), mine))
    mixture = describe_mixture(machines)
    if mixture and settings.reduction == "exact":
        raise InvalidInput(
            f"workers compute on unlike machines, so the result depends on who computes what: {mixture}; "
            "use nodes of one kind with one image, or spec.reduction=statistical in a new run",
            reason=Reason.MIXED_FINGERPRINTS,
        )
    if mixture and world.rank == 0:
        _log.warning("workers compute on unlike machines, and round differently: %s", mixture)
    return mine


def note_change(state: TrainingState, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Mark the run, in its ledger, if the machine is not of the kind that wrote the resumed state."""
    change = describe_change(before, now)
    if change:
        message = f"training goes on with another kind of machine, no longer bit for bit: {change}"
        _log.warning("%s", message)
        fault = RunEvent(state.images_seen, FINGERPRINT_CHANGED, message, time.time())
        state.ledger = with_events(state.ledger, [fault])
