"""Previews: a run's fixed seeds drawn while it trains, by its moving average and by its raw weights.

They are ordinary images of the run's checkpoint, under the same profile and with the same receipts, so
`verify` can make them again. Which worker draws what is planned here; the training loop lets the network show
the weights in question and calls. This module must not import the training loop.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffusers import UNet2DModel

from synthray.diffusion.schedule import NoiseSchedule
from synthray.errors import SynthrayError
from synthray.generation.generator import Generator
from synthray.generation.identity import identify
from synthray.generation.images import ReceiptBook, device_of, profile_fingerprint
from synthray.generation.preview_names import WEIGHTS, PreviewName
from synthray.generation.profile import STRICT_1
from synthray.generation.receipts import PreviewOrigin
from synthray.storage import ObjectStore

PREVIEW_SAMPLER = "ddim"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviewShare:
    """One worker's seeds, by the weights that draw them."""

    ema: tuple[int, ...]
    raw: tuple[int, ...]


def plan_preview_shares(seeds: Sequence[int], num_workers: int, rank: int) -> PreviewShare:
    """The share of worker `rank`: whole batches dealt out in turn, the moving average's first.

    Whole batches, because a batch with one image takes as long as a full one.
    """
    size = STRICT_1.batch_images
    batches = [
        (weights, tuple(seeds[start : start + size]))
        for weights in WEIGHTS
        for start in range(0, len(seeds), size)
    ]
    mine = batches[rank::num_workers]
    return PreviewShare(
        ema=tuple(seed for weights, batch in mine if weights == "ema" for seed in batch),
        raw=tuple(seed for weights, batch in mine if weights == "raw" for seed in batch),
    )


def render_previews(
    unet: UNet2DModel,
    schedule: NoiseSchedule,
    prediction_type: str,
    *,
    store: ObjectStore,
    checkpoint_uri: str,
    origin: PreviewOrigin,
    seeds: Sequence[int],
    steps: int,
    on_step: Callable[[int], None] = lambda _num_images: None,
) -> list[str]:
    """Draw seeds with the weights that `unet` shows now, write PNG and receipt, and return the PNGs' keys.

    `checkpoint_uri` is the model (ema) or state (raw) that will hold these weights. A store that is away, or
    an answer that is not finite, costs pictures and never the run: it is logged, and the rest is left out.
    What `on_step` raises after a denoising step ends the drawing.
    """
    if not seeds:
        return []
    book = ReceiptBook(
        model=identify(unet, schedule, prediction_type, checkpoint_uri),
        sampler=PREVIEW_SAMPLER,
        steps=steps,
        profile=STRICT_1.name,
        fingerprint=profile_fingerprint(STRICT_1, device_of(unet)),
        preview=origin,
    )
    keys: list[str] = []
    generator = Generator(unet, schedule, prediction_type, STRICT_1)
    try:
        for image in generator.generate(seeds, PREVIEW_SAMPLER, steps, on_step):
            files = book.files(image)
            name = PreviewName(origin.images_seen, origin.weights, image.seed)
            store.write(name.receipt_key, files.receipt.encode())
            store.write(name.picture_key, files.png)
            keys.append(name.picture_key)
    except SynthrayError as error:
        _log.warning("previews of epoch %d are not complete: %s", origin.epoch, error)
    return keys
