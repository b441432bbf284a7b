"""Where the things of a run lie under its prefix, and how a checkpoint is named.

A checkpoint's name is its place in the run: how many images had been seen, and which attempt wrote it. So
names sort by progress, no two attempts ever write to the same directory, and the chain of attempts can be
walked although a manifest on it is damaged.
"""

import re
from dataclasses import dataclass
from typing import Self

IDENTITY_KEY = "run.json"
ATTEMPTS_PREFIX = "attempts/"
STATES_PREFIX = "states/"
MODELS_PREFIX = "models/"
MANIFEST_FILE = "manifest.json"

PROGRESS_FILE = "progress.json"
TENSOR_PARTS = ("weights", "ema", "optimizer")
"""The tensor files of a state, in the order in which they lie in the host buffer."""
STATE_FILES = frozenset({PROGRESS_FILE, *(f"{part}.safetensors" for part in TENSOR_PARTS)})
MODEL_WEIGHTS_FILE = "unet/diffusion_pytorch_model.safetensors"
MODEL_INDEX_FILE = "model_index.json"
MODEL_FILES = frozenset(
    {MODEL_INDEX_FILE, MODEL_WEIGHTS_FILE, "unet/config.json", "scheduler/scheduler_config.json"}
)
"""Diffusers' own layout, so that `DDPMPipeline.from_pretrained` opens a model as it lies there."""

_NAME = re.compile(r"(?P<images_seen>[0-9]{12})-a(?P<attempt>[0-9]{6})")
_ATTEMPT_KEY = re.compile(r"attempts/(?P<number>[0-9]{6,})(\.claim)?\.json")


@dataclass(frozen=True, order=True)
class CheckpointName:
    """A checkpoint's directory name; the order is that of training."""

    images_seen: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.images_seen:012d}-a{self.attempt:06d}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a directory name; None if it isn't one."""
        match = _NAME.fullmatch(text)
        return cls(int(match["images_seen"]), int(match["attempt"])) if match else None


def part_file(part: str) -> str:
    """The file of tensor part `part` in a state's directory."""
    return f"{part}.safetensors"


def state_directory(name: CheckpointName) -> str:
    """The prefix of a state's objects, with a slash at its end."""
    return f"{STATES_PREFIX}{name}/"


def model_directory(name: CheckpointName) -> str:
    """The prefix of a model's objects, with a slash at its end."""
    return f"{MODELS_PREFIX}{name}/"


def attempt_key(number: int) -> str:
    """The key of an attempt's record."""
    return f"{ATTEMPTS_PREFIX}{number:06d}.json"


def claim_key(number: int) -> str:
    """The key of the claim to an attempt's number."""
    return f"{ATTEMPTS_PREFIX}{number:06d}.claim.json"


def attempt_of_key(key: str) -> int | None:
    """The attempt that an object (or an unfinished one) of a run belongs to; None if to none."""
    match = _ATTEMPT_KEY.fullmatch(key)
    if match is not None:
        return int(match["number"])
    root, _, rest = key.partition("/")
    if f"{root}/" not in {STATES_PREFIX, MODELS_PREFIX}:
        return None
    name = CheckpointName.parse(rest.partition("/")[0])
    return name.attempt if name is not None and "/" in rest else None
