"""What an attempt begins with: a committed state of its run, or another model's weights.

Read by the first worker alone; the others copy from it. It must not know of workers.
"""

from collections.abc import Mapping

from synthray.checkpoints.names import part_file
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import InvalidInput, Reason, VerificationFailed
from synthray.generation.models import load_model
from synthray.storage import ObjectStore
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.state import PARTS, TrainingState


def read_start(
    state: TrainingState, settings: RunSettings, attempt: AttemptSettings, store: ObjectStore
) -> Mapping[str, str] | None:
    """Fill `state`; returns the fingerprint of the machine that wrote a resumed one, None for a fresh start.

    Raises VerificationFailed for a state that is not whole, InvalidInput for a model of another shape, and
    Unavailable, after which it can be called again.
    """
    if attempt.resumes_from is not None:
        return _load(state, CheckpointStore(store), attempt.resumes_from)
    if settings.init_from:
        _copy_model(state, settings)
    return None


def _load(state: TrainingState, checkpoints: CheckpointStore, name: str) -> Mapping[str, str]:
    """Read a state part by part, each verified, so that the host holds one part at a time."""
    manifest = next((one for one in checkpoints.list_states() if str(one.name) == name), None)
    if manifest is None:
        raise VerificationFailed(
            f"{checkpoints.uri}: the state {name} is gone or no longer whole",
            reason=Reason.CHECKPOINT_CORRUPT,
        )
    for part in PARTS:
        state.copy_in(part, checkpoints.load_tensors(manifest, part_file(part)))
    state.take_progress(checkpoints.load_progress(manifest))
    return manifest.fingerprint


def _copy_model(state: TrainingState, settings: RunSettings) -> None:
    """Another model's weights, as weights and as their moving average."""
    model = load_model(settings.init_from, settings.storage.s3_of_workers)
    theirs = {name: tuple(weight.shape) for name, weight in model.unet.named_parameters()}
    if theirs != state.flat.shapes:
        raise InvalidInput(
            f"spec.model.initFrom={settings.init_from} is no network of spec.model's shape; name a model "
            "of the same shape, or give spec.model the fields of that one"
        )
    for name, weight in model.unet.named_parameters():
        state.flat.view(state.flat.values, name).copy_(weight.detach())
    state.ema.copy_(state.flat.values)
