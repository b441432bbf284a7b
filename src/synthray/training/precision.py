"""Numeric precision: which one a device gets, and the loss scale of fp16 as a small pure state.

torch's GradScaler looks at the accumulated gradient of one process; a scale that must be equal on every
worker, saved in the state and replayed exactly, is a function of that state and of one agreed flag.
This module must not import torch, so that the driver can resolve `precision: auto`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from synthray.errors import InvalidInput, Reason

Precision = Literal["fp32", "fp16", "bf16"]

INITIAL_SCALE = 2.0**14
MAX_SCALE = 2.0**24
GROWTH_INTERVAL_STEPS = 2000


@dataclass(frozen=True)
class LossScale:
    """The factor on the loss (always a power of two) and the good steps since it last changed."""

    scale: float = 1.0
    good_steps: int = 0
    dynamic: bool = False

    @property
    def exhausted(self) -> bool:
        """Whether an overflow at this scale can't be mended by a smaller one."""
        return not self.dynamic or self.scale <= 1.0


def initial_loss_scale(precision: Precision) -> LossScale:
    """fp16 starts at 2^14 and adapts; fp32 and bf16 have fp32's exponents and need none."""
    return LossScale(INITIAL_SCALE, 0, dynamic=True) if precision == "fp16" else LossScale()


def after_overflow(state: LossScale) -> LossScale:
    """Half the scale; the same batch is computed again with it."""
    return replace(state, scale=max(1.0, state.scale / 2), good_steps=0)


def after_good_step(state: LossScale) -> LossScale:
    """Count the step; after `GROWTH_INTERVAL_STEPS` good ones double the scale (1710.03740, section 3.2)."""
    if not state.dynamic:
        return state
    if state.good_steps + 1 < GROWTH_INTERVAL_STEPS:
        return replace(state, good_steps=state.good_steps + 1)
    return replace(state, scale=min(MAX_SCALE, state.scale * 2), good_steps=0)


def resolve_precision(requested: str, compute_capability: tuple[int, int] | None) -> Precision:
    """`auto` is fp32 on a CPU, fp16 before Ampere (8.0) and bf16 from it on; else what was asked for."""
    if requested == "fp32" or (requested == "auto" and compute_capability is None):
        return "fp32"
    if requested == "fp16":
        return "fp16"
    if requested == "bf16" or compute_capability is None or compute_capability >= (8, 0):
        return "bf16"
    return "fp16"


def keep_precision(pinned: Precision, compute_capability: tuple[int, int] | None) -> Precision:
    """What `auto` stays in a run whose first attempt resolved it to `pinned`.

    Raises InvalidInput for a device without it: other precision is another result.
    """
    capable = pinned == "fp32" or (
        compute_capability is not None and (pinned == "fp16" or compute_capability >= (8, 0))
    )
    if not capable:
        here = (
            "has no GPU"
            if compute_capability is None
            else f"has a GPU of compute capability {'.'.join(map(str, compute_capability))}"
        )
        raise InvalidInput(
            f"spec.optimization.precision=auto is {pinned} in this run, as its first attempt resolved it, "
            f"and this machine {here}, where that is very slow; go on with GPUs like the first ones, insist "
            f"with --set spec.optimization.precision={pinned}, or begin another run with another "
            "checkpoints.uri",
            reason=Reason.PRECISION_UNSUPPORTED,
        )
    return pinned
