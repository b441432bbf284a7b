"""What may be deleted after a commit: decided as data, then applied manifest first.

A crash between two deletes leaves parts without a manifest, which no reader sees and the next sweep removes.
The newest state that nothing is known to be wrong with is never deleted, nor the one that the newest attempt
resumed from, nor anything of a newer attempt.
"""

from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import dataclass

from synthray.checkpoints.attempts import accepted_checkpoints, read_attempts
from synthray.checkpoints.directories import (
    Checkpoint,
    CheckpointDirectory,
    examine,
    list_directories,
)
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import CheckpointName
from synthray.checkpoints.requests import RetentionPolicy
from synthray.storage import ObjectStore


@dataclass(frozen=True)
class SavedModel:
    """What decides over a model."""

    name: CheckpointName
    epoch: int
    validation_loss: float | None
    is_sound: bool


@dataclass(frozen=True)
class SavedState:
    """What decides over a state."""

    name: CheckpointName
    is_sound: bool


def plan_states(
    states: Collection[SavedState],
    accepted: Collection[CheckpointName],
    protected: Collection[CheckpointName],
    attempt: int,
    keep: int,
) -> set[CheckpointName]:
    """The states to delete; `attempt` is the writer's own, `accepted` lie on the chain of resume points.

    Nothing goes before `keep` sound states lie on the chain; damaged ones don't count among them.
    """
    sound = sorted(state.name for state in states if state.is_sound and state.name in accepted)
    if len(sound) < max(keep, 1):
        return set()
    oldest_kept = sound[-max(keep, 1)]
    return {
        state.name
        for state in states
        if state.name.attempt <= attempt
        and state.name not in protected
        and (state.name not in accepted or state.name < oldest_kept)
    }


def plan_models(
    models: Collection[SavedModel],
    accepted: Collection[CheckpointName],
    attempt: int,
    policy: RetentionPolicy,
) -> set[CheckpointName]:
    """The models to delete: none of every n-th epoch, none of the best, never the newest sound one."""
    sound = sorted((m for m in models if m.is_sound and m.name in accepted), key=lambda model: model.name)
    if not sound:
        return set()
    rated = sorted((m.validation_loss, m.name) for m in sound if m.validation_loss is not None)
    kept = {name for _, name in rated[: policy.best]}
    kept.update(model.name for model in sound if model.epoch % policy.models_every_nth_epoch == 0)
    return {
        m.name for m in models if m.name.attempt <= attempt and m.name not in kept and m.name < sound[-1].name
    }


def plan_sweep(directories: Iterable[CheckpointDirectory], attempt: int) -> list[CheckpointDirectory]:
    """Uploads that will never be committed: those of the writer's own and of earlier attempts.

    The writer runs this between two saves, so none of its own uploads is under way.
    """
    return [one for one in directories if not one.has_manifest and one.name.attempt <= attempt]


def apply_retention(
    store: ObjectStore, attempt: int, policy: RetentionPolicy, known: MutableMapping[str, Manifest]
) -> list[str]:
    """Delete what the policy leaves no place for and what was never committed; returns the prefixes.

    Does nothing if a newer attempt exists: the run is that one's. Raises Unavailable.
    """
    states, models = list_directories(store, "state"), list_directories(store, "model")
    attempts = read_attempts(store)
    if max(attempts, default=0) > attempt:
        return []
    committed_states = [examine(store, one, attempts, known) for one in states if one.has_manifest]
    committed_models = [examine(store, one, attempts, known) for one in models if one.has_manifest]
    record = attempts.get(attempt)
    source = CheckpointName.parse(record.resumes_from) if record and record.resumes_from else None
    gone_states = plan_states(
        [SavedState(one.name, one.is_sound) for one in committed_states],
        accepted_checkpoints(attempts, [one.name for one in committed_states]),
        {source} if source else (),
        attempt,
        policy.states,
    )
    gone_models = plan_models(
        [_saved_model(one) for one in committed_models],
        accepted_checkpoints(attempts, [one.name for one in committed_models]),
        attempt,
        policy,
    )
    doomed = [
        *(one for one in states if one.name in gone_states),
        *(one for one in models if one.name in gone_models),
        *plan_sweep([*states, *models], attempt),
    ]
    for directory in doomed:
        _delete(store, directory)
    return [directory.prefix for directory in doomed]


def _saved_model(model: Checkpoint) -> SavedModel:
    manifest = model.manifest
    return SavedModel(
        model.name,
        epoch=manifest.epoch if manifest else 0,
        validation_loss=manifest.validation_loss if manifest else None,
        is_sound=model.is_sound,
    )


def _delete(store: ObjectStore, directory: CheckpointDirectory) -> None:
    """The manifest alone first, then the parts, which nobody looks for any more."""
    keys = directory.keys
    if directory.has_manifest:
        store.delete(keys[:1])
    store.delete(keys)
