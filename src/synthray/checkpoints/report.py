"""What `synthray checkpoints list|show|verify` answer, as documents ready for JSON.

Listing reads manifests alone; verifying reads every byte.
"""

from typing import Any

from synthray.checkpoints.directories import Checkpoint
from synthray.checkpoints.manifest import Kind, Manifest
from synthray.checkpoints.names import model_directory, state_directory
from synthray.checkpoints.store import CheckpointStore, select_manifest
from synthray.errors import NotFound

Document = dict[str, Any]

_KINDS: tuple[Kind, Kind] = ("state", "model")


def build_listing(store: CheckpointStore) -> Document:
    """Everything committed, in the order of training; `ignored` lies off the chain of attempts."""
    states, stale_states = store.list_checkpoints("state")
    models, stale_models = store.list_checkpoints("model")
    everything = [*states, *stale_states, *models, *stale_models]
    if not everything:
        raise NotFound(f"{store.uri} holds no checkpoint yet")
    return {
        "run": next((one.manifest.run for one in everything if one.manifest), None),
        "uri": store.uri,
        "states": [_describe(store.uri, one) for one in states],
        "models": [_describe(store.uri, one) for one in models],
        "ignored": [_describe(store.uri, one) for one in (*stale_states, *stale_models)],
    }


def build_details(store: CheckpointStore, epoch: int | None = None) -> Document:
    """The newest state (of an epoch) with its model; of an epoch whose state is gone, the model alone.

    Raises NotFound.
    """
    states, models = store.list_states(), store.list_models()
    matching = [one for one in states if epoch is None or one.epoch == epoch]
    chosen = matching[-1] if matching else select_manifest(models, store.uri, epoch)
    model = next((one for one in models if one.name == chosen.name), None)
    shown = [chosen] if model is None or chosen.kind == "model" else [chosen, model]
    named = ("run", "attempt", "epoch", "step", "images_seen", "created", "config_digest", "dataset_digest")
    digests = ("fingerprint", "weights_sha256", "ema_sha256", "optimizer_sha256", "validation_loss", "parent")
    return {
        "kind": chosen.kind,
        "uri": _uri(store.uri, chosen),
        "model_uri": _uri(store.uri, model) if model else None,
        **{name: getattr(chosen, name) for name in (*named, *digests)},
        "parts": [
            {"uri": f"{_uri(store.uri, one)}/{part.path}", "bytes": part.bytes, "sha256": part.sha256}
            for one in shown
            for part in one.parts
        ],
    }


def build_verification(store: CheckpointStore, epoch: int | None = None) -> Document:
    """Read every byte of every checkpoint on the chain (of an epoch); `ok` if all are as they were written.

    A checkpoint whose manifest is damaged has no epoch and is always among them. Raises NotFound.
    """
    chosen = [
        one
        for kind in _KINDS
        for one in store.list_checkpoints(kind)[0]
        if epoch is None or one.manifest is None or one.manifest.epoch == epoch
    ]
    if not chosen:
        raise NotFound(f"{store.uri} holds no checkpoint" + ("" if epoch is None else f" of epoch {epoch}"))
    results = [{**_describe(store.uri, one), "problems": store.verify(one)} for one in chosen]
    return {
        "uri": store.uri,
        "ok": not any(result["problems"] for result in results),
        "checkpoints": [{**result, "ok": not result["problems"]} for result in results],
    }


def _describe(uri: str, checkpoint: Checkpoint) -> Document:
    manifest, directory = checkpoint.manifest, checkpoint.directory
    return {
        "kind": directory.kind,
        "uri": f"{uri}/{directory.prefix.rstrip('/')}",
        "images_seen": checkpoint.name.images_seen,
        "attempt": checkpoint.name.attempt,
        "epoch": manifest.epoch if manifest else None,
        "step": manifest.step if manifest else None,
        "created": manifest.created if manifest else None,
        "validation_loss": manifest.validation_loss if manifest else None,
        "bytes": sum(directory.sizes_bytes.values()),
        "problems": list(checkpoint.problems),
    }


def _uri(uri: str, manifest: Manifest) -> str:
    directory = state_directory if manifest.kind == "state" else model_directory
    return f"{uri}/{directory(manifest.name).rstrip('/')}"
