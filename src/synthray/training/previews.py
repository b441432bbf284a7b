"""Fixed seeds drawn at the end of an epoch by all workers, and those that an earlier attempt left out.

Drawing takes minutes at 512 px, so it hears a stop after every denoising step; what is missing then is drawn
when the next attempt begins. It changes nothing of the training state.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from synthray.checkpoints.names import MODELS_PREFIX, STATES_PREFIX, CheckpointName, part_file
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import SynthrayError
from synthray.generation.preview_names import Weights
from synthray.generation.previews import plan_preview_shares, render_previews
from synthray.generation.receipts import PreviewOrigin
from synthray.training.missing_previews import Missing, observe_missing_previews
from synthray.training.segment import Segment
from synthray.training.waiting import ROUND_SECONDS, SharedWait

_log = logging.getLogger(__name__)

_PARTS: Mapping[Weights, str] = {"ema": "ema", "raw": "weights"}


@dataclass(frozen=True)
class _Drawing:
    """Seeds to draw by kind of weights, of the epoch whose checkpoint has that name."""

    name: CheckpointName
    epoch: int
    seeds: Missing


class _Stopped(Exception):
    """All agreed to stop drawing."""


def draw_previews(segment: Segment, shared_wait: SharedWait, epoch: int) -> bool:
    """Draw the previews of the epoch that has just ended, if it is one that has them; False if stopped."""
    previews, state = segment.settings.previews, segment.state
    if not previews.seeds or epoch % previews.every_epochs:
        return True
    drawing = _Drawing(
        CheckpointName(state.images_seen, segment.attempt.number),
        epoch,
        dict.fromkeys(_PARTS, previews.seeds),
    )
    return _draw(segment, shared_wait, drawing, {"ema": state.ema, "raw": state.flat.values})


def draw_missing_previews(segment: Segment, shared_wait: SharedWait) -> bool:
    """Draw what is missing of the epochs whose states are kept; False if stopped.

    A kill or a store that was away may have left them out. Reading fails: they stay missing.
    """
    if not segment.settings.previews.seeds:
        return True
    world = segment.world
    found = _find_missing(segment) if world.rank == 0 else []
    for drawing in world.gather_objects(found)[0]:
        vectors = {weights: torch.zeros_like(segment.state.ema) for weights in _PARTS}
        loaded = world.rank > 0 or _load_vectors(segment, drawing.name, vectors)
        if not all(world.gather_objects(loaded)):
            return True
        for vector in vectors.values():
            world.copy_from_first(vector)
        if not _draw(segment, shared_wait, drawing, vectors):
            return False
    return True


def _find_missing(segment: Segment) -> list[_Drawing]:
    """What is missing of each kept epoch, the oldest first; nothing if the store is away."""
    drawings = []
    try:
        for state in CheckpointStore(segment.store).list_states():
            if state.model_sha256 is not None:
                missing = observe_missing_previews(
                    segment.store,
                    segment.settings.previews,
                    epoch=state.epoch,
                    images_seen=state.images_seen,
                )
                drawings += [_Drawing(state.name, state.epoch, missing)] if missing else []
    except SynthrayError as error:
        _log.warning("missing previews are not looked for: %s", error.message)
    return drawings


def _load_vectors(segment: Segment, name: CheckpointName, vectors: Mapping[Weights, Tensor]) -> bool:
    """Fill the vectors from a committed state; False, with a warning, if that can't be read."""
    checkpoints, flat = CheckpointStore(segment.store), segment.state.flat
    try:
        manifest = next(state for state in checkpoints.list_states() if state.name == name)
        for weights, part in _PARTS.items():
            arrays = checkpoints.load_tensors(manifest, part_file(part))
            for tensor in flat.shapes:
                flat.view(vectors[weights], tensor).copy_(torch.from_numpy(arrays[tensor]))
    except (SynthrayError, StopIteration) as error:
        _log.warning("the previews of state %s stay missing: %s", name, error)
        return False
    return True


def _draw(
    segment: Segment, shared_wait: SharedWait, drawing: _Drawing, vectors: Mapping[Weights, Tensor]
) -> bool:
    """Draw this worker's share, then wait for the others; False if all agreed to stop."""
    world = segment.world
    seeds = sorted({seed for missing in drawing.seeds.values() for seed in missing})
    share = plan_preview_shares(seeds, world.size, world.rank)
    listener = _Listener(shared_wait)
    try:
        shares: tuple[tuple[Weights, tuple[int, ...]], ...] = (("ema", share.ema), ("raw", share.raw))
        for weights, mine in shares:
            wanted = tuple(seed for seed in mine if seed in drawing.seeds.get(weights, ()))
            with segment.showing(vectors[weights]):
                _render(segment, drawing, weights, wanted, listener)
    except _Stopped:
        return False
    return shared_wait.until(lambda _: True).ready


class _Listener:
    """Hears a stop between denoising steps, a few times per second at most."""

    def __init__(self, shared_wait: SharedWait) -> None:
        self._wait = shared_wait
        self._heard_at = time.monotonic()

    def __call__(self, _num_images: int) -> None:
        if time.monotonic() - self._heard_at < ROUND_SECONDS:
            return
        if self._wait.is_stopped_amid_work():
            raise _Stopped
        self._heard_at = time.monotonic()


def _render(
    segment: Segment,
    drawing: _Drawing,
    weights: Weights,
    seeds: tuple[int, ...],
    listener: _Listener,
) -> None:
    name, prefix = drawing.name, MODELS_PREFIX if weights == "ema" else STATES_PREFIX
    render_previews(
        segment.module,
        segment.schedule,
        segment.settings.diffusion.prediction_type,
        store=segment.store,
        checkpoint_uri=f"{segment.store.uri}/{prefix}{name}",
        origin=PreviewOrigin(
            run=segment.settings.run, images_seen=name.images_seen, epoch=drawing.epoch, weights=weights
        ),
        seeds=seeds,
        steps=segment.settings.previews.steps,
        on_step=listener,
    )
