"""Profiles: named settings under which a forward pass gives the same bits, whatever shares its batch.

torch picks other kernels for another batch shape, thread count, memory format or precision flag, and other
kernels round differently. A profile pins all of these; its name stands in every receipt, so its meaning never
changes: a better choice becomes a new profile. This module must not know samplers or models.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch.nn.attention import SDPBackend, sdpa_kernel

from synthray.diffusion.determinism import PINNED, read_switches, set_switches
from synthray.errors import InvalidInput


@dataclass(frozen=True)
class Profile:
    """A batch shape, a number of threads and a precision, all part of a picture's identity.

    `is_half`: on a GPU products and convolutions in float16, by torch's autocast; weights and sampler stay
    fp32. Without it, and on a CPU, everything is fp32.
    """

    name: str
    batch_images: int
    threads: int
    is_half: bool = False


# Four images: on one CPU thread a pass over 4 costs no more per image than one over 8 (demo-64, AVX2: 23.3 ms
# against 25.2 ms) and a single seed waits half as long; at 512 px four images already fill a GPU, and their
# activations fit beside a training run's.
STRICT_1 = Profile(name="strict-1", batch_images=4, threads=1)

# The same seed gives the same bytes here too, but not those of strict-1. Half the memory: twice the images.
FAST_1 = Profile(name="fast-1", batch_images=8, threads=1, is_half=True)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (STRICT_1, FAST_1)}

# The first backend that supports the shapes is used; the shapes are fixed, so the choice is too.
_ATTENTION_BACKENDS = {
    "cpu": [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH],
    "cuda": [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}
# float16 needs no card newer than the reference's. A CPU computes either kind of half slower than fp32.
_HALF = {"cuda": torch.float16}


def precision_name(profile: Profile, device_type: str) -> str:
    """What a profile computes in on such a device, as fingerprints and training's `precision` name it."""
    return "fp16" if profile.is_half and device_type in _HALF else "fp32"


def profile_of_name(name: str) -> Profile:
    """Look a profile up; raises InvalidInput for a name that does not exist."""
    profile = PROFILES.get(name)
    if profile is None:
        raise InvalidInput(f"profile={name!r} does not exist; use one of {', '.join(PROFILES)}")
    return profile


@contextmanager
def _switches_and_threads(profile: Profile) -> Iterator[None]:
    # Training on a GPU asks for deterministic algorithms; drawing must not differ inside and outside of it.
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    threads = torch.get_num_threads()
    switches = read_switches()
    try:
        set_switches(PINNED)
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(profile.threads)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        set_switches(switches)


@contextmanager
def _attention_processors(unet: UNet2DModel) -> Iterator[None]:
    layers = [module for module in unet.modules() if isinstance(module, Attention)]
    processors = [layer.processor for layer in layers]
    try:
        for layer in layers:
            layer.set_processor(AttnProcessor2_0())
        yield
    finally:
        for layer, processor in zip(layers, processors, strict=True):
            layer.set_processor(processor)


@contextmanager
def _evaluation_mode(unet: UNet2DModel) -> Iterator[None]:
    training = unet.training
    unet.eval()
    try:
        yield
    finally:
        unet.train(training)


@contextmanager
def pinned(profile: Profile, unet: UNet2DModel) -> Iterator[None]:
    """Pin everything that decides a bit, for this thread, and put it all back afterwards.

    The thread count belongs to the calling thread, so the forward pass must run in the thread that entered;
    the flags belong to the process, so nothing else should compute meanwhile.
    """
    device_type = next(unet.parameters()).device.type
    with ExitStack() as stack:
        stack.enter_context(_switches_and_threads(profile))
        stack.enter_context(_attention_processors(unet))
        stack.enter_context(_evaluation_mode(unet))
        stack.enter_context(sdpa_kernel(_ATTENTION_BACKENDS[device_type], set_priority=True))
        half = _HALF.get(device_type) if profile.is_half else None
        stack.enter_context(torch.autocast(device_type, half, enabled=half is not None, cache_enabled=False))
        stack.enter_context(torch.inference_mode())
        yield


def check_weights(unet: UNet2DModel) -> None:
    """Raise ValueError unless every weight is fp32 and contiguous, as all profiles require."""
    for name, weight in unet.named_parameters():
        if weight.dtype != torch.float32 or not weight.is_contiguous():
            raise ValueError(f"{name} is {weight.dtype} with strides {weight.stride()}: not contiguous fp32")
