"""Which previews of a saved epoch are due and not in the store.

It must not import torch: a driver asks too.
"""

from synthray.generation.preview_names import PREVIEWS_PREFIX, WEIGHTS, PreviewName
from synthray.storage import ObjectStore
from synthray.training.settings import PreviewSettings

Missing = dict[str, tuple[int, ...]]


def observe_missing_previews(
    store: ObjectStore, settings: PreviewSettings, *, epoch: int, images_seen: int
) -> Missing:
    """By kind of weights, the seeds that are not drawn yet; empty where none are due."""
    if not settings.seeds or epoch == 0 or epoch % settings.every_epochs:
        return {}
    there = {info.key for info in store.list(f"{PREVIEWS_PREFIX}{images_seen:012d}/")}
    missing = {
        weights: tuple(
            seed
            for seed in settings.seeds
            if PreviewName(images_seen, weights, seed).picture_key not in there
        )
        for weights in WEIGHTS
    }
    return {weights: seeds for weights, seeds in missing.items() if seeds}
