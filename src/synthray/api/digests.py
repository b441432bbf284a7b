"""The digest of a run's configuration: of the fields that change its result, and of no others.

A checkpoint prefix belongs to one configuration; a resume compares digests. A field at its introduction
default is left out, so that a field that is added later leaves the digests of older runs as they were.
The dataset has a digest of its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from synthray.api.v1alpha1 import TrainingRunSpec, resolve_architecture
from synthray.api.v1alpha1.fields import yaml_name
from synthray.api.v1alpha1.model import ARCHITECTURE_FIELDS, ARCHITECTURE_NAMES

_ALWAYS: Final = object()

# Each field that changes the result, by its name in YAML below `spec`, with the value that it had by default
# when it was introduced. That value is history: a default that changes later must not be changed here.
# Not here: epochs, workers' number and size, checkpoints, previews, image, whatever moves no bit. Models are
# resolved first, so the name of a preset does not count, only the network that it stands for.
INTRODUCTION_DEFAULTS: Final[Mapping[str, object]] = {
    "seed": 0,
    "model.initFrom": "",
    "model.resolution": _ALWAYS,
    "model.channels": _ALWAYS,
    "model.blockOutChannels": _ALWAYS,
    "model.layersPerBlock": _ALWAYS,
    "model.downBlockTypes": _ALWAYS,
    "model.upBlockTypes": _ALWAYS,
    "model.attentionHeadDim": _ALWAYS,
    "model.normNumGroups": _ALWAYS,
    "model.activationCheckpointing": _ALWAYS,
    "diffusion.predictionType": "v_prediction",
    "diffusion.schedule": "cosine",
    "diffusion.zeroTerminalSNR": True,
    "diffusion.minSNRGamma": None,
    "augmentation.horizontalFlip": False,
    "optimization.globalBatchSize": _ALWAYS,
    "optimization.microBatchSize": _ALWAYS,
    "optimization.learningRate": 1e-4,
    "optimization.learningRateSchedule.warmupImages": 10_000,
    "optimization.learningRateSchedule.decay": "constant",
    "optimization.learningRateSchedule.decayImages": 0,
    "optimization.beta1": 0.95,
    "optimization.beta2": 0.999,
    "optimization.epsilon": 1e-8,
    "optimization.weightDecay": 1e-6,
    "optimization.gradientClipNorm": 1.0,
    "optimization.ema.halflifeImages": 500_000,
    "optimization.ema.rampupRatio": 0.05,
    "optimization.precision": _ALWAYS,
    "reduction": "exact",
    "workers.threads": 1,
}


@dataclass(frozen=True)
class ConfigDigest:
    """`digest` is 64 hex digits over `fields`, which a manifest keeps beside it."""

    digest: str
    fields: dict[str, object]


def config_digest(spec: TrainingRunSpec, *, precision: str) -> ConfigDigest:
    """The digest of what `spec` asks for, with `precision` as resolved (fp32, fp16 or bf16)."""
    values = _flatten(spec.model_dump(mode="json", by_alias=True))
    values |= _architecture_values(spec)
    values["optimization.precision"] = precision
    fields = {
        path: values[path]
        for path, introduced_as in INTRODUCTION_DEFAULTS.items()
        if values[path] != introduced_as
    }
    return ConfigDigest(digest_fields(fields), fields)


def digest_fields(fields: Mapping[str, object]) -> str:
    """SHA-256 over canonical JSON: keys sorted, no spaces, ASCII, shortest floats."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def changed_fields(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """One line for each field in which two configurations differ, for the message that refuses a resume."""
    return [
        f"spec.{path}: {json.dumps(old)} -> {json.dumps(new)}"
        for path in sorted(before.keys() | after.keys())
        if (old := _value_of(before, path)) != (new := _value_of(after, path))
    ]


def _value_of(fields: Mapping[str, object], path: str) -> object:
    introduced_as = INTRODUCTION_DEFAULTS.get(path)
    return fields.get(path, None if introduced_as is _ALWAYS else introduced_as)


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, with dotted paths for keys."""
    flat: dict[str, object] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        flat |= _flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def _architecture_values(spec: TrainingRunSpec) -> dict[str, object]:
    architecture = resolve_architecture(spec.model)
    values = {name: getattr(architecture, ARCHITECTURE_NAMES.get(name, name)) for name in ARCHITECTURE_FIELDS}
    return {
        f"model.{yaml_name(name)}": list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }
