"""What `synthray checkpoints list|show|verify` answer, as documents ready for JSON.

Listing reads manifests alone; verifying reads every byte.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from synthray.checkpoints.directories import CheckpointDirectory, Observation
from synthray.checkpoints.documents import seal
from synthray.checkpoints.examination import Checkpoint
from synthray.checkpoints.identity import read_identity
from synthray.checkpoints.manifest import Kind, Manifest
from synthray.checkpoints.names import (
    IDENTITY_KEY,
    MANIFEST_FILE,
    attempt_key,
    model_directory,
    state_directory,
)
from synthray.checkpoints.store import CheckpointStore, Survey, select_manifest
from synthray.errors import InvalidInput, NotFound

Document = dict[str, Any]

_KINDS: tuple[Kind, Kind] = ("state", "model")


def build_listing(store: CheckpointStore) -> Document:
    """Everything committed, in the order of training; `ignored` lies off the chain of attempts.

    `unfinished` was never committed, as far as can be told; `problems` are of the run's own records.
    """
    states, models = (store.survey(kind) for kind in _KINDS)
    everything = [*states.accepted, *states.ignored, *models.accepted, *models.ignored]
    if not everything:
        raise NotFound(f"{store.uri} holds no checkpoint yet")
    return {
        "run": next((one.manifest.run for one in everything if one.manifest), None),
        "uri": store.uri,
        "states": [_describe(store.uri, one) for one in states.accepted],
        "models": [_describe(store.uri, one) for one in models.accepted],
        "ignored": [_describe(store.uri, one) for one in (*states.ignored, *models.ignored)],
        "unfinished": _list_unfinished(store.uri, [states, models]),
        "problems": _list_problems(store, [states, models]),
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
    """Read every byte of every checkpoint (of an epoch); `ok` if all on the chain are as they were written.

    A checkpoint whose manifest is damaged has no epoch and is always among them. `ignored` ones, `unfinished`
    ones and the `problems` of the run's own records are told too; the last make it not ok. Raises NotFound.
    """
    surveys = [store.survey(kind) for kind in _KINDS]
    accepted, ignored = (
        [one for one in some if epoch is None or one.manifest is None or one.manifest.epoch == epoch]
        for some in (
            [one for survey in surveys for one in survey.accepted],
            [one for survey in surveys for one in survey.ignored],
        )
    )
    if not accepted:
        raise NotFound(f"{store.uri} holds no checkpoint" + ("" if epoch is None else f" of epoch {epoch}"))
    contradictions = _find_contradictions(accepted)
    results = [_verify(store, one, contradictions) for one in accepted]
    problems = _list_problems(store, surveys)
    return {
        "uri": store.uri,
        "ok": not problems and all(result["ok"] for result in results),
        "checkpoints": results,
        "ignored": [_verify(store, one, {}) for one in ignored],
        "unfinished": _list_unfinished(store.uri, surveys),
        "problems": problems,
    }


def _verify(store: CheckpointStore, checkpoint: Checkpoint, contradictions: Mapping[str, str]) -> Document:
    prefix = checkpoint.directory.prefix
    problems = store.verify(checkpoint) + ([contradictions[prefix]] if prefix in contradictions else [])
    if problems and store.is_gone(checkpoint):
        problems = []
    return {**_describe(store.uri, checkpoint), "problems": problems, "ok": not problems}


def _find_contradictions(checkpoints: Iterable[Checkpoint]) -> Mapping[str, str]:
    """Models that are not the ones that were committed with their states, by directory."""
    manifests = [one.manifest for one in checkpoints if one.manifest is not None]
    named = {one.name: one.model_sha256 for one in manifests if one.kind == "state" and one.model_sha256}
    return {
        model_directory(one.name): f"{MANIFEST_FILE} is not the one that its state names"
        for one in manifests
        if one.kind == "model" and named.get(one.name) not in {None, hashlib.sha256(seal(one)).hexdigest()}
    }


def _list_unfinished(uri: str, surveys: Iterable[Survey]) -> list[Document]:
    return [
        {
            **_place(uri, directory),
            "problems": [
                f"{MANIFEST_FILE} is missing: an upload under way or cut off, or a manifest that is lost"
            ],
        }
        for survey in surveys
        for directory in survey.observation.unfinished
    ]


def _list_problems(store: CheckpointStore, surveys: Iterable[Survey]) -> list[str]:
    """What is wrong with the objects that stand above all checkpoints."""
    surveys = list(surveys)
    sound = [one for survey in surveys for one in survey.accepted if one.is_sound]
    manifests = [one.manifest for one in sound if one.manifest is not None]
    problems = _list_identity_problems(store, manifests)
    for survey in surveys:
        observation = survey.observation
        problems += _list_attempt_problems(observation)
        problems += [
            f"{state_directory(name)}{MANIFEST_FILE} is missing; the newest attempt's copy stands in for it"
            for name in observation.pinned
            if any(one.name == name and not one.has_manifest for one in observation.accepted)
        ]
    return list(dict.fromkeys(problems))


def _list_identity_problems(store: CheckpointStore, manifests: Iterable[Manifest]) -> list[str]:
    try:
        identity = read_identity(store.store)
    except InvalidInput as error:
        return [error.message]
    if identity is None:
        return [f"{IDENTITY_KEY} is missing"]
    strangers = [
        one.name
        for one in manifests
        if (one.run, one.config_digest, one.dataset_digest)
        != (identity.run, identity.config_digest, identity.dataset_digest)
    ]
    if strangers and not identity.adopted:
        return [f"{IDENTITY_KEY} is of another run, data or configuration than checkpoint {strangers[-1]}"]
    return []


def _list_attempt_problems(observation: Observation) -> list[str]:
    attempts = observation.attempts
    committed = {one.name.attempt for one in (*observation.accepted, *observation.ignored)}
    problems: list[str] = []
    for number in range(1, max([*attempts, *committed], default=0) + 1):
        attempt = attempts.get(number)
        if attempt is not None:
            problems += attempt.problems
        if attempt is None or (attempt.is_pending and number in committed):
            problems.append(f"{attempt_key(number)} is missing")
    return problems


def _place(uri: str, directory: CheckpointDirectory) -> Document:
    return {
        "kind": directory.kind,
        "uri": f"{uri}/{directory.prefix.rstrip('/')}",
        "images_seen": directory.name.images_seen,
        "attempt": directory.name.attempt,
        "bytes": sum(directory.sizes_bytes.values()),
    }


def _describe(uri: str, checkpoint: Checkpoint) -> Document:
    manifest = checkpoint.manifest
    return {
        **_place(uri, checkpoint.directory),
        "epoch": manifest.epoch if manifest else None,
        "step": manifest.step if manifest else None,
        "created": manifest.created if manifest else None,
        "validation_loss": manifest.validation_loss if manifest else None,
        "problems": list(checkpoint.problems),
    }


def _uri(uri: str, manifest: Manifest) -> str:
    directory = state_directory if manifest.kind == "state" else model_directory
    return f"{uri}/{directory(manifest.name).rstrip('/')}"
