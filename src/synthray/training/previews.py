"""Fixed seeds drawn at the end of an epoch, shared by all workers."""

from typing import Literal

from synthray.checkpoints.names import MODELS_PREFIX, STATES_PREFIX, CheckpointName
from synthray.generation.previews import plan_preview_shares, render_previews
from synthray.generation.receipts import PreviewOrigin
from synthray.training.segment import Segment


def draw_previews(segment: Segment, epoch: int) -> None:
    """Draw this worker's share of the previews with the weights of now, if `epoch` is one that has them."""
    settings, world = segment.settings, segment.world
    if epoch % settings.previews.every_epochs:
        return
    share = plan_preview_shares(settings.previews.seeds, world.size, world.rank)
    with segment.showing_average():
        _render(segment, epoch, "ema", share.ema)
    _render(segment, epoch, "raw", share.raw)


def _render(segment: Segment, epoch: int, weights: Literal["ema", "raw"], seeds: tuple[int, ...]) -> None:
    images_seen = segment.state.images_seen
    prefix = MODELS_PREFIX if weights == "ema" else STATES_PREFIX
    name = CheckpointName(images_seen, segment.attempt.number)
    render_previews(
        segment.module,
        segment.schedule,
        segment.settings.diffusion.prediction_type,
        store=segment.store,
        checkpoint_uri=f"{segment.store.uri}/{prefix}{name}",
        origin=PreviewOrigin(run=segment.settings.run, images_seen=images_seen, epoch=epoch, weights=weights),
        seeds=seeds,
        steps=segment.settings.previews.steps,
    )
