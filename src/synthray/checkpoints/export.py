"""A model taken out of a run: the folder that `DDPMPipeline.from_pretrained` opens."""

from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import MODEL_INDEX_FILE
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import InvalidInput
from synthray.storage import ObjectStore


def export_model(checkpoints: CheckpointStore, model: Manifest, destination: ObjectStore) -> list[str]:
    """Copy a model's files, checked, and return their keys; the index comes last, so half a copy is no model.

    Raises InvalidInput for a destination that holds something, VerificationFailed for a damaged model.
    """
    present = next(iter(destination.list()), None)
    if present is not None:
        raise InvalidInput(f"{destination.uri} is not empty ({present.key}); name an empty folder or prefix")
    paths = sorted((part.path for part in model.parts), key=lambda path: (path == MODEL_INDEX_FILE, path))
    for path in paths:
        destination.write(path, checkpoints.read_part(model, path).data)
    return paths
