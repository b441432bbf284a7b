"""A model taken out of a run: the folder that `DDPMPipeline.from_pretrained` opens."""

from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import MODEL_INDEX_FILE
from synthray.checkpoints.reading import digest_object
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import InvalidInput
from synthray.storage import ObjectStore


def export_model(checkpoints: CheckpointStore, model: Manifest, destination: ObjectStore) -> list[str]:
    """Copy a model's files, checked, and return their keys; the index comes last, so half a copy is no model.

    A copy that was cut off is completed. Raises InvalidInput for a destination that holds anything else,
    VerificationFailed for a damaged model.
    """
    done = _find_copied(model, destination)
    paths = sorted((part.path for part in model.parts), key=lambda path: (path == MODEL_INDEX_FILE, path))
    for path in paths:
        if path not in done:
            destination.write(path, checkpoints.read_part(model, path).data)
    return paths


def _find_copied(model: Manifest, destination: ObjectStore) -> set[str]:
    """The files that an earlier copy of this very model left."""
    parts = {part.path: part for part in model.parts}
    found = set()
    for info in destination.list():
        part = parts.get(info.key)
        if (
            part is None
            or info.size_bytes != part.bytes
            or digest_object(destination, info.key, part.bytes) != part.sha256
        ):
            raise InvalidInput(f"{destination.uri} is not empty ({info.key}); name an empty folder or prefix")
        found.add(info.key)
    return found
