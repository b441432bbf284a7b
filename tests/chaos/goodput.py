"""Goodput by arithmetic: what faults of measured costs leave of a run's time.

The equation. Faults arrive once in M seconds of elapsed time. One of kind k has the share s_k of the mix and
costs c_k seconds in which nothing new is computed: until it is noticed, until training goes on, and until
the work since the last save is redone. With g the goodput of a run that is left alone (the rest is saves and
waits for data), to the first order in c / M

    G(M) = g * (1 - c / M),    c = sum over k of s_k * c_k.

This is Young's model (1974) with the costs of many kinds; Daly's (2006) has the terms of higher order, which
matter where c is not small beside M. A kind without notice redoes half a save interval t on average, so that
c_k = detection + restart + t / 2. Young chooses t = sqrt(2 d M) for saves during which training stands still
for d; here it goes on meanwhile, so t can be as short as a save takes. Pure functions; no clock.
"""

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K", bound=str)


def mean_cost_seconds(costs_seconds: Mapping[K, float], weights: Mapping[K, float]) -> float:
    """The cost of a fault of the mix; kinds that were not measured are left out of the mix."""
    measured = {kind: weights[kind] for kind in costs_seconds if weights.get(kind, 0) > 0}
    total = sum(measured.values())
    return sum(costs_seconds[kind] * weight for kind, weight in measured.items()) / total if total else 0.0


def predict_goodput(*, unbroken_ratio: float, cost_seconds: float, seconds_between_faults: float) -> float:
    """G(M) of the module's equation, never below 0."""
    return max(0.0, unbroken_ratio * (1 - cost_seconds / seconds_between_faults))


def redone_seconds(save_interval_seconds: float) -> float:
    """Work that a fault without notice makes to be done again, on average: half an interval."""
    return save_interval_seconds / 2
