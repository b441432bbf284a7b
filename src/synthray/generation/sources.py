"""Where a model's files lie: a run's prefix, one of its checkpoints, or a folder of diffusers.

What a run committed is read through its manifests, so a changed byte is noticed; a plain folder vouches for
nothing and is taken as it is. Only JSON and safetensors are ever read: a pickle could run code. This module
must not import torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from synthray.checkpoints.documents import DamagedDocument, read_document
from synthray.checkpoints.manifest import Kind, Manifest, parse_manifest
from synthray.checkpoints.names import (
    IDENTITY_KEY,
    MANIFEST_FILE,
    MODEL_INDEX_FILE,
    MODEL_WEIGHTS_FILE,
    CheckpointName,
    model_directory,
    part_file,
    state_directory,
)
from synthray.checkpoints.store import CheckpointStore, select_manifest
from synthray.errors import InvalidInput, NotFound, Reason, VerificationFailed
from synthray.storage import ObjectStore, S3Settings, open_store

UNET_CONFIG_FILE = "unet/config.json"
SCHEDULER_CONFIG_FILE = "scheduler/scheduler_config.json"
LATEST, BEST = "latest", "best"
_SHOWN_KEYS = 5
_FOLDER_KINDS: dict[str, Kind] = {"models": "model", "states": "state"}

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ModelSource:
    """The three files that make a model; `tensor_digest` is what a manifest says of the weights, if any."""

    uri: str
    unet_config: Callable[[], Bytes]
    scheduler_config: Callable[[], Bytes]
    weights: Callable[[], Bytes]
    tensor_digest: str | None = None


def find_model(uri: str, settings: S3Settings, which: str | int = LATEST) -> ModelSource:
    """Find the model that a URI names; `which` (latest, best or an epoch) chooses among a run's models.

    A run's state counts as the model of its raw weights. Raises NotFound where there is nothing, InvalidInput
    (ModelInvalid) for a folder that is no model.
    """
    store = open_store(uri, settings)
    if store.stat(IDENTITY_KEY) is not None:
        checkpoints = CheckpointStore(store)
        return _model_source(checkpoints, choose_model(checkpoints.list_models(), store.uri, which))
    if which != LATEST:
        raise InvalidInput(
            f"{store.uri} is no run's prefix, where there would be {which} to choose; name one"
        )
    parent, _, name = store.uri.rpartition("/")
    run, _, folder = parent.rpartition("/")
    checkpoint = CheckpointName.parse(name)
    if checkpoint is not None and folder in _FOLDER_KINDS:
        return _checkpoint_source(
            CheckpointStore(open_store(run, settings)), _FOLDER_KINDS[folder], checkpoint
        )
    if store.stat(MODEL_INDEX_FILE) is not None:
        return _pipeline_source(store)
    if store.stat("config.json") is not None:
        return _unet_source(store, open_store(parent, settings) if name == "unet" else None)
    raise _no_model(store)


def choose_model(models: list[Manifest], uri: str, which: str | int) -> Manifest:
    """The newest of a run's models, the one with the lowest validation loss, or the newest of an epoch.

    Raises InvalidInput for another wish, NotFound if there is none.
    """
    if which == LATEST:
        return select_manifest(models, uri, None)
    if which == BEST:
        rated = [(one.validation_loss, one.name, one) for one in models if one.validation_loss is not None]
        if not rated:
            raise NotFound(f"{uri} holds no model with a validation loss; use latest or an epoch")
        return min(rated)[2]
    if str(which).isdecimal():
        return select_manifest(models, uri, int(which))
    raise InvalidInput(f"checkpoint={which} is not known; use latest, best or the number of an epoch")


def _model_source(checkpoints: CheckpointStore, manifest: Manifest) -> ModelSource:
    return ModelSource(
        uri=f"{checkpoints.uri}/{model_directory(manifest.name)}".rstrip("/"),
        unet_config=lambda: checkpoints.read_part(manifest, UNET_CONFIG_FILE),
        scheduler_config=lambda: checkpoints.read_part(manifest, SCHEDULER_CONFIG_FILE),
        weights=lambda: checkpoints.read_part(manifest, MODEL_WEIGHTS_FILE),
        tensor_digest=manifest.ema_sha256,
    )


def _checkpoint_source(checkpoints: CheckpointStore, kind: Kind, name: CheckpointName) -> ModelSource:
    """A checkpoint by its own name; whether its run still stands on it is not asked."""
    directory = model_directory(name) if kind == "model" else state_directory(name)
    key = directory + MANIFEST_FILE
    try:
        manifest = read_document(checkpoints.store, key, lambda data: parse_manifest(data, kind, name))
    except NotFound as error:
        raise NotFound(f"{checkpoints.uri}/{directory.rstrip('/')} was not committed or is gone") from error
    except DamagedDocument as error:
        raise VerificationFailed(
            f"{checkpoints.uri}/{key} is damaged: {error}", reason=Reason.CHECKPOINT_CORRUPT
        ) from error
    if kind == "model":
        return _model_source(checkpoints, manifest)
    # A state has no configuration of its own: all models of a run share one.
    model = _model_source(checkpoints, select_manifest(checkpoints.list_models(), checkpoints.uri, None))
    return ModelSource(
        uri=f"{checkpoints.uri}/{directory}".rstrip("/"),
        unet_config=model.unet_config,
        scheduler_config=model.scheduler_config,
        weights=lambda: checkpoints.read_part(manifest, part_file("weights")),
        tensor_digest=manifest.weights_sha256,
    )


def _pipeline_source(store: ObjectStore) -> ModelSource:
    _require(store, UNET_CONFIG_FILE)
    _require(store, SCHEDULER_CONFIG_FILE)
    _require_weights(store, MODEL_WEIGHTS_FILE)
    return ModelSource(
        uri=store.uri,
        unet_config=lambda: _read(store, UNET_CONFIG_FILE),
        scheduler_config=lambda: _read(store, SCHEDULER_CONFIG_FILE),
        weights=lambda: _read(store, MODEL_WEIGHTS_FILE),
    )


def _unet_source(store: ObjectStore, parent: ObjectStore | None) -> ModelSource:
    """A network alone; its pipeline's scheduler if it lies in one, else the defaults of diffusers (DDPM)."""
    weights = PurePosixPath(MODEL_WEIGHTS_FILE).name
    _require_weights(store, weights)
    scheduler = parent if parent is not None and parent.stat(SCHEDULER_CONFIG_FILE) is not None else None
    return ModelSource(
        uri=store.uri,
        unet_config=lambda: _read(store, "config.json"),
        scheduler_config=lambda: (
            _read(scheduler, SCHEDULER_CONFIG_FILE) if scheduler else np.frombuffer(b"{}", dtype=np.uint8)
        ),
        weights=lambda: _read(store, weights),
    )


def _read(store: ObjectStore, key: str) -> Bytes:
    """A whole object (uint8), fetched by parallel ranges."""
    info = store.stat(key)
    if info is None:
        raise NotFound(f"{store.uri}/{key} does not exist")
    data = np.empty(info.size_bytes, dtype=np.uint8)
    store.read_into(key, data.data)
    return data


def _require(store: ObjectStore, key: str) -> None:
    if store.stat(key) is None:
        raise InvalidInput(
            f"{store.uri} is not a whole model: {key} is missing; save it anew with save_pretrained",
            reason=Reason.MODEL_INVALID,
        )


def _require_weights(store: ObjectStore, key: str) -> None:
    if store.stat(key) is not None:
        return
    folder = key.removesuffix(PurePosixPath(key).name)
    there = [info.key for info in store.list(folder)]
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in there):
        raise InvalidInput(
            f"{store.uri}: {key} is missing; weights that may be pickled are there, which are never loaded: "
            "save them anew with save_pretrained(..., safe_serialization=True)",
            reason=Reason.MODEL_INVALID,
        )
    _require(store, key)


def _no_model(store: ObjectStore) -> InvalidInput | NotFound:
    there = [info.key for info in islice(store.list(), _SHOWN_KEYS)]
    if not there:
        return NotFound(f"{store.uri} does not exist or is empty; name a run's prefix or a model's folder")
    return InvalidInput(
        f"{store.uri} is not a model: it has neither {IDENTITY_KEY} (a run's checkpoints) nor "
        f"{MODEL_INDEX_FILE} (a diffusers pipeline) nor config.json (a diffusers UNet2DModel); "
        f"it holds {', '.join(there)}",
        reason=Reason.MODEL_INVALID,
    )
