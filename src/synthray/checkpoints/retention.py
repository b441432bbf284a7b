"""What may be deleted after a commit: decided as data, then applied manifest first.

A crash between two deletes leaves parts without a manifest, which no reader sees and the next sweep removes.
The newest state that nothing is known to be wrong with is never deleted, nor the one that the newest attempt
resumed from, nor anything of a newer attempt, nor what is known to be damaged: that is for a person to see.

A newer attempt may begin between any two requests of this one. So its claim is looked for between a manifest
and its parts: a state whose manifest it saw after its claim keeps its parts.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from synthray.checkpoints.attempts import Attempt, newest_attempt
from synthray.checkpoints.directories import CheckpointDirectory, Observation, observe_directories
from synthray.checkpoints.examination import Checkpoint, examine_directories, verify_checkpoint
from synthray.checkpoints.manifest import Kind, Manifest
from synthray.checkpoints.names import MANIFEST_FILE, CheckpointName, attempt_of_key
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


@dataclass
class RetentionMemory:
    """What one process found out and need not read again: nothing of it ever changes."""

    attempts: dict[int, Attempt] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)


def plan_states(
    states: Collection[SavedState],
    accepted: Collection[CheckpointName],
    protected: Collection[CheckpointName],
    attempt: int,
    keep: int,
) -> set[CheckpointName]:
    """The states to delete; `attempt` is the writer's own, `accepted` lie on the chain of resume points.

    Nothing goes before `keep` sound states lie on the chain; damaged ones neither count nor go.
    """
    sound = sorted(state.name for state in states if state.is_sound and state.name in accepted)
    if len(sound) < max(keep, 1):
        return set()
    oldest_kept = sound[-max(keep, 1)]
    return {
        state.name
        for state in states
        if state.is_sound
        and state.name.attempt <= attempt
        and state.name not in protected
        and (state.name not in accepted or state.name < oldest_kept)
    }


def plan_models(
    models: Collection[SavedModel],
    accepted: Collection[CheckpointName],
    attempt: int,
    policy: RetentionPolicy,
) -> set[CheckpointName]:
    """The sound models to delete: none of every n-th epoch, none of the best, never the newest one."""
    sound = [model for model in models if model.is_sound]
    chain = sorted((model for model in sound if model.name in accepted), key=lambda model: model.name)
    if not chain:
        return set()
    rated = sorted((m.validation_loss, m.name) for m in chain if m.validation_loss is not None)
    kept = {name for _, name in rated[: policy.best]}
    kept.update(model.name for model in chain if model.epoch % policy.models_every_nth_epoch == 0)
    return {
        m.name for m in sound if m.name.attempt <= attempt and m.name not in kept and m.name < chain[-1].name
    }


def plan_sweep(observation: Observation, attempt: int) -> list[CheckpointDirectory]:
    """What holds nothing that could be used: uploads that will never be committed, manifests left alone.

    Of the writer's own attempt and of earlier ones: it runs this between two saves, so none of its own
    uploads is under way. A manifest alone is what a late writer commits after its parts were swept.
    """
    bare = [one for one in observation.ignored if set(one.sizes_bytes) == {MANIFEST_FILE}]
    return [one for one in (*observation.unfinished, *bare) if one.name.attempt <= attempt]


def apply_retention(
    store: ObjectStore, attempt: int, policy: RetentionPolicy, memory: RetentionMemory
) -> list[str]:
    """Delete what the policy leaves no place for and what was never committed; returns the prefixes.

    Stops once a newer attempt exists: the run is that one's. Raises Unavailable.
    """
    kinds: tuple[Kind, Kind] = ("state", "model")
    observed = [observe_directories(store, kind, memory.attempts) for kind in kinds]
    if any(max(one.attempts, default=0) > attempt for one in observed):
        return []
    doomed = [
        *_doomed_states(store, observed[0], attempt, policy, memory),
        *_doomed_models(store, observed[1], attempt, policy, memory),
        *(directory for one in observed for directory in plan_sweep(one, attempt)),
    ]
    deleted = []
    for directory in doomed:
        if not _delete(store, directory, attempt):
            break
        deleted.append(directory.prefix)
    return deleted


def _doomed_states(
    store: ObjectStore, states: Observation, attempt: int, policy: RetentionPolicy, memory: RetentionMemory
) -> list[CheckpointDirectory]:
    examined = _examine(store, states, memory)
    own = states.attempts.get(attempt)
    source = own.record.source if own and own.record else None
    gone = plan_states(
        [SavedState(one.name, one.is_sound) for one in examined],
        {one.name for one in states.accepted},
        {source} if source else (),
        attempt,
        policy.states,
    )
    return _spare_damaged(store, examined, gone, states, memory)


def _doomed_models(
    store: ObjectStore, models: Observation, attempt: int, policy: RetentionPolicy, memory: RetentionMemory
) -> list[CheckpointDirectory]:
    examined = _examine(store, models, memory)
    accepted = {one.name for one in models.accepted}
    gone = plan_models([_saved_model(one) for one in examined], accepted, attempt, policy)
    return _spare_damaged(store, examined, gone, models, memory)


def _examine(store: ObjectStore, observation: Observation, memory: RetentionMemory) -> list[Checkpoint]:
    committed = (*observation.accepted, *observation.ignored)
    return examine_directories(store, committed, observation, memory.manifests)


def _saved_model(model: Checkpoint) -> SavedModel:
    manifest = model.manifest
    return SavedModel(
        model.name,
        epoch=manifest.epoch if manifest else 0,
        validation_loss=manifest.validation_loss if manifest else None,
        is_sound=model.is_sound,
    )


def _spare_damaged(
    store: ObjectStore,
    examined: Iterable[Checkpoint],
    gone: Collection[CheckpointName],
    observation: Observation,
    memory: RetentionMemory,
) -> list[CheckpointDirectory]:
    """The directories of `gone`, without those off the chain of which not every byte is as it was written.

    An attempt that passes over a damaged state leaves it off the chain. So what lies there is rare, and is
    read once before it goes.
    """
    ignored = {one.name for one in observation.ignored}
    doomed = []
    for one in examined:
        prefix = one.directory.prefix
        if one.name not in gone or prefix in memory.damaged:
            continue
        if one.name in ignored and verify_checkpoint(store, one):
            memory.damaged.add(prefix)
            continue
        doomed.append(one.directory)
    return doomed


def _delete(store: ObjectStore, directory: CheckpointDirectory, attempt: int) -> bool:
    """The manifest alone first, then the parts, which nobody looks for any more; False once fenced off."""
    if newest_attempt(store) > attempt:
        return False
    if directory.has_manifest:
        store.delete(directory.keys[:1])
        if newest_attempt(store) > attempt:
            return False
    store.delete(directory.keys)
    return True


def discard_unfinished(store: ObjectStore, attempt: int) -> Sequence[str]:
    """Drop half-written objects of attempts before `attempt`, which are fenced off; returns their keys.

    Nothing here goes by age: a clock could be wrong. Raises Unavailable, and InvalidInput for a store that
    can't tell what is half written.
    """

    def is_of_earlier_attempt(key: str) -> bool:
        number = attempt_of_key(key)
        return number is not None and number < attempt

    return store.discard_unfinished(is_of_earlier_attempt)
