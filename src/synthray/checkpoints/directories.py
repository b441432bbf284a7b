"""What lies under a run's prefix, as far as listing and the attempts can tell."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from synthray.checkpoints.attempts import Attempt, newest_record, read_attempts
from synthray.checkpoints.chain import accepted_checkpoints
from synthray.checkpoints.manifest import Kind
from synthray.checkpoints.names import (
    MANIFEST_FILE,
    MODELS_PREFIX,
    STATES_PREFIX,
    CheckpointName,
    model_directory,
    state_directory,
)
from synthray.storage import ObjectStore


@dataclass(frozen=True)
class CheckpointDirectory:
    """One directory: sizes of its objects by path relative to it."""

    kind: Kind
    name: CheckpointName
    sizes_bytes: Mapping[str, int]

    @property
    def prefix(self) -> str:
        """The key prefix of its objects."""
        return state_directory(self.name) if self.kind == "state" else model_directory(self.name)

    @property
    def has_manifest(self) -> bool:
        """Whether the object is there that commits it."""
        return MANIFEST_FILE in self.sizes_bytes

    @property
    def keys(self) -> list[str]:
        """All its keys, the manifest's first: without it, the rest counts for nothing."""
        return [
            self.prefix + path for path in sorted(self.sizes_bytes, key=lambda p: (p != MANIFEST_FILE, p))
        ]


@dataclass(frozen=True)
class Observation:
    """All directories of a kind, each list in the order of training, and the attempts behind them.

    `accepted` lie on the chain of resume points and `ignored` off it; `unfinished` were never committed:
    uploads under way or left behind. `pinned` is the manifest of the state that the newest attempt resumed
    from, by that state's name.
    """

    attempts: Mapping[int, Attempt]
    accepted: tuple[CheckpointDirectory, ...]
    ignored: tuple[CheckpointDirectory, ...]
    unfinished: tuple[CheckpointDirectory, ...]
    pinned: Mapping[CheckpointName, str]


def list_directories(store: ObjectStore, kind: Kind) -> list[CheckpointDirectory]:
    """All directories of a kind in the order of training, committed or not."""
    root = STATES_PREFIX if kind == "state" else MODELS_PREFIX
    found: dict[CheckpointName, dict[str, int]] = {}
    for info in store.list(root):
        directory, _, path = info.key.removeprefix(root).partition("/")
        name = CheckpointName.parse(directory)
        if name is not None and path:
            found.setdefault(name, {})[path] = info.size_bytes
    return [CheckpointDirectory(kind, name, found[name]) for name in sorted(found)]


def observe_directories(
    store: ObjectStore, kind: Kind, known: MutableMapping[int, Attempt] | None = None
) -> Observation:
    """List a kind's directories, then read the attempts (those in `known` are not read again).

    In this order: the attempt of each directory that is listed has begun by then.
    """
    directories = list_directories(store, kind)
    attempts = read_attempts(store, known)
    pinned = _find_pinned(attempts) if kind == "state" else {}
    committed = [one for one in directories if one.has_manifest or one.name in pinned]
    accepted = accepted_checkpoints(attempts, [one.name for one in committed], kind)
    return Observation(
        attempts,
        accepted=tuple(one for one in committed if one.name in accepted),
        ignored=tuple(one for one in committed if one.name not in accepted),
        unfinished=tuple(one for one in directories if one not in committed),
        pinned=pinned,
    )


def _find_pinned(attempts: Mapping[int, Attempt]) -> Mapping[CheckpointName, str]:
    record = newest_record(attempts)
    if record is None or record.source is None or record.source_manifest is None:
        return {}
    return {record.source: record.source_manifest}
