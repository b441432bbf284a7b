"""Running out of memory in a step, said once as what it is, with the field that mends it.

torch names an allocation that failed in several ways, by device and by the library that asked. All of them
mean the same to whoever trains: the micro-batch is too large for the machine, and another attempt would die
at the same place.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from synthray.errors import Reason, RunFailed

_MESSAGES = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that host or device had no room."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


@contextmanager
def naming_the_micro_batch(where: str, micro_batch_size: int) -> Iterator[None]:
    """Raise RunFailed(OUT_OF_MEMORY) instead of what torch or Python say; `where` begins the message."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = "a smaller one or " if micro_batch_size > 1 else ""
        first_line = str(error).partition("\n")[0] or type(error).__name__
        raise RunFailed(
            f"{where} ran out of memory with spec.optimization.microBatchSize={micro_batch_size}; use "
            f"{smaller}spec.model.activationCheckpointing=true in a new run (both are part of the result), "
            f"or a device with more memory: {first_line}",
            reason=Reason.OUT_OF_MEMORY,
        ) from error
