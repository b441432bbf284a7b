"""What is wrong with a committed checkpoint: as far as its manifest tells, and after reading every byte."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from synthray.checkpoints.directories import CheckpointDirectory, Observation
from synthray.checkpoints.documents import DamagedDocument, read_documents, seal
from synthray.checkpoints.manifest import Manifest, Part, parse_manifest
from synthray.checkpoints.names import MANIFEST_FILE, CheckpointName
from synthray.checkpoints.reading import digest_object
from synthray.errors import NotFound, VerificationFailed
from synthray.storage import ObjectStore


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


def examine_directories(
    store: ObjectStore,
    directories: Sequence[CheckpointDirectory],
    observation: Observation,
    known: MutableMapping[str, Manifest] | None = None,
) -> list[Checkpoint]:
    """Read committed directories' manifests and compare them with the listing and their attempts.

    Manifests never change, so those in `known` (by key) are not read again, and new ones are added. What was
    deleted since it was listed is left out.
    """
    cache = {} if known is None else known
    by_key = {one.prefix + MANIFEST_FILE: one for one in directories}

    def parse(key: str, data: bytes) -> Manifest:
        return parse_manifest(data, by_key[key].kind, by_key[key].name)

    unread = {
        key: one.sizes_bytes[MANIFEST_FILE]
        for key, one in by_key.items()
        if one.has_manifest and key not in cache
    }
    read = read_documents(store, unread, parse)
    cache.update({key: manifest for key, manifest in read.items() if isinstance(manifest, Manifest)})
    examined = []
    for key, directory in by_key.items():
        manifest = cache.get(key) if directory.has_manifest else _parse_pinned(directory, observation)
        damage = read.get(key)
        if manifest is not None:
            examined.append(_compare(directory, manifest, observation))
        elif isinstance(damage, DamagedDocument):
            examined.append(Checkpoint(directory, None, (f"{MANIFEST_FILE} is damaged: {damage}",)))
    return examined


def _parse_pinned(directory: CheckpointDirectory, observation: Observation) -> Manifest | None:
    """The manifest that the newest attempt keeps of the state that it resumed from."""
    try:
        return parse_manifest(observation.pinned[directory.name].encode(), directory.kind, directory.name)
    except (KeyError, DamagedDocument):
        return None


def _compare(directory: CheckpointDirectory, manifest: Manifest, observation: Observation) -> Checkpoint:
    problems = list(_compare_sizes(manifest, directory.sizes_bytes))
    attempt = observation.attempts.get(manifest.attempt)
    if attempt is not None and attempt.nonces and manifest.nonce not in attempt.nonces:
        problems.append(f"{MANIFEST_FILE} was not written by attempt {manifest.attempt} of this run")
    pinned = observation.pinned.get(directory.name)
    if pinned is not None and pinned.encode() != seal(manifest):
        problems.append(f"{MANIFEST_FILE} is not the one that the newest attempt resumed from")
    return Checkpoint(directory, manifest, tuple(problems))


def _compare_sizes(manifest: Manifest, sizes_bytes: Mapping[str, int]) -> Iterator[str]:
    for part in manifest.parts:
        size = sizes_bytes.get(part.path)
        if size is None:
            yield f"{part.path} is missing"
        elif size != part.bytes:
            yield f"{part.path} holds {size} bytes instead of {part.bytes}"


def verify_checkpoint(store: ObjectStore, checkpoint: Checkpoint) -> list[str]:
    """What is wrong with a checkpoint after reading all of it; empty if nothing is. Memory stays bounded.

    A mismatch is read a second time, as bytes also flip on the way. Raises Unavailable.
    """
    if checkpoint.manifest is None or checkpoint.problems:
        return list(checkpoint.problems)
    prefix = checkpoint.directory.prefix
    return [
        problem
        for part in checkpoint.manifest.parts
        if (
            problem := _verify_part(store, prefix + part.path, part)
            and _verify_part(store, prefix + part.path, part)
        )
    ]


def _verify_part(store: ObjectStore, key: str, part: Part) -> str:
    try:
        digest = digest_object(store, key, part.bytes)
    except NotFound:
        return f"{part.path} is missing"
    except VerificationFailed:
        info = store.stat(key)
        found = f"holds {info.size_bytes} bytes" if info else "was removed"
        return f"{part.path} {found} instead of {part.bytes}"
    return "" if digest == part.sha256 else f"{part.path} does not match its SHA-256"
