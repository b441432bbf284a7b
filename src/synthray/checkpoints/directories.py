"""What lies under a run's prefix, and what is wrong with it as far as listing and manifests can tell."""

import hashlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from synthray.checkpoints.attempts import AttemptRecord
from synthray.checkpoints.documents import DamagedDocument, read_document
from synthray.checkpoints.manifest import Kind, Manifest, Part, parse_manifest
from synthray.checkpoints.names import (
    MANIFEST_FILE,
    MODELS_PREFIX,
    STATES_PREFIX,
    CheckpointName,
    model_directory,
    state_directory,
)
from synthray.errors import NotFound
from synthray.storage import ByteRange, ObjectStore

_CHUNK_BYTES = 16 * 2**20
_CHUNKS_AT_ONCE = 4


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
        """Whether something was committed here; else it is an upload under way or left behind."""
        return MANIFEST_FILE in self.sizes_bytes

    @property
    def keys(self) -> list[str]:
        """All its keys, the manifest's first: without it, the rest counts for nothing."""
        return [
            self.prefix + path for path in sorted(self.sizes_bytes, key=lambda p: (p != MANIFEST_FILE, p))
        ]


@dataclass(frozen=True)
class Checkpoint:
    """A committed directory, examined: sound if there is a manifest and no problem."""

    directory: CheckpointDirectory
    manifest: Manifest | None
    problems: tuple[str, ...]

    @property
    def name(self) -> CheckpointName:
        """Its directory's name."""
        return self.directory.name

    @property
    def is_sound(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self.manifest is not None and not self.problems


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


def examine(
    store: ObjectStore,
    directory: CheckpointDirectory,
    attempts: Mapping[int, AttemptRecord | None],
    known: MutableMapping[str, Manifest] | None = None,
) -> Checkpoint:
    """Read a committed directory's manifest and compare it with the listing and its attempt's record.

    Manifests never change, so those in `known` (by key) are not read again, and new ones are added.
    """
    key = directory.prefix + MANIFEST_FILE
    cache = {} if known is None else known
    try:
        manifest = cache.get(key) or read_document(
            store, key, lambda data: parse_manifest(data, directory.kind, directory.name)
        )
    except (DamagedDocument, NotFound) as error:
        return Checkpoint(directory, None, (f"{MANIFEST_FILE} is damaged: {error}",))
    cache[key] = manifest
    record = attempts.get(manifest.attempt)
    problems = list(_compare_sizes(manifest, directory.sizes_bytes))
    if record is not None and record.nonce != manifest.nonce:
        problems.append(f"{MANIFEST_FILE} was not written by attempt {manifest.attempt} of this run")
    return Checkpoint(directory, manifest, tuple(problems))


def _compare_sizes(manifest: Manifest, sizes_bytes: Mapping[str, int]) -> Iterator[str]:
    for part in manifest.parts:
        size = sizes_bytes.get(part.path)
        if size is None:
            yield f"{part.path} is missing"
        elif size != part.bytes:
            yield f"{part.path} holds {size} bytes instead of {part.bytes}"


def verify_parts(store: ObjectStore, prefix: str, manifest: Manifest) -> list[str]:
    """Read every part whole and name those that don't match their SHA-256; memory stays bounded.

    A mismatch is read a second time, as bytes also flip on the way. Raises Unavailable.
    """
    return [
        problem
        for part in manifest.parts
        if (
            problem := _verify_part(store, prefix + part.path, part)
            and _verify_part(store, prefix + part.path, part)
        )
    ]


def _verify_part(store: ObjectStore, key: str, part: Part) -> str:
    info = store.stat(key)
    if info is None:
        return f"{part.path} is missing"
    if info.size_bytes != part.bytes:
        return f"{part.path} holds {info.size_bytes} bytes instead of {part.bytes}"
    digest = hashlib.sha256()
    starts = range(0, part.bytes, _CHUNK_BYTES)
    ranges = [ByteRange(key, start, min(start + _CHUNK_BYTES, part.bytes)) for start in starts]
    try:
        for first in range(0, len(ranges), _CHUNKS_AT_ONCE):
            for chunk in store.read_ranges(ranges[first : first + _CHUNKS_AT_ONCE]):
                digest.update(chunk)
    except NotFound:
        return f"{part.path} is missing"
    return "" if digest.hexdigest() == part.sha256 else f"{part.path} does not match its SHA-256"
