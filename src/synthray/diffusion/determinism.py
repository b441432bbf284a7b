"""torch's process-wide switches that decide a bit, and the values that training and drawing pin them to.

A kernel chosen by timing, TF32 or a bf16 shortcut rounds otherwise than fp32 by IEEE's rules; with these
values equal inputs give equal bits on equal machines. Thread counts are not here: they belong to a thread.
"""

from typing import Any, Final

import torch

_CUDNN: Any = torch.backends.cudnn
_CUDA: Any = torch.backends.cuda
_MKLDNN: Any = torch.backends.mkldnn
# (where, attribute, pinned value); "ieee" switches TF32 and bf16 shortcuts off.
_SWITCHES: tuple[tuple[Any, str, object], ...] = (
    (_CUDNN, "benchmark", False),
    (_CUDNN, "deterministic", True),
    (_CUDNN.conv, "fp32_precision", "ieee"),
    (_CUDA.matmul, "fp32_precision", "ieee"),
    (_MKLDNN.conv, "fp32_precision", "ieee"),
    (_MKLDNN.matmul, "fp32_precision", "ieee"),
)

Switches = tuple[object, ...]

PINNED: Final[Switches] = tuple(pinned for _, _, pinned in _SWITCHES)


def read_switches() -> Switches:
    """How the switches stand now."""
    return tuple(getattr(owner, attribute) for owner, attribute, _ in _SWITCHES)


def set_switches(values: Switches) -> None:
    """Set the switches, to `PINNED` or back to what `read_switches` said."""
    for (owner, attribute, _), value in zip(_SWITCHES, values, strict=True):
        setattr(owner, attribute, value)
