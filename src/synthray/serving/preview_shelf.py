"""The previews that a run drew of itself while it trained, for a time-lapse of one seed.

They are read where training put them; nothing is drawn. This module must not know HTTP.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from synthray.checkpoints.names import CheckpointName
from synthray.errors import InvalidInput, NotFound
from synthray.generation.preview_names import PREVIEWS_PREFIX, PreviewName
from synthray.generation.receipts import read_png
from synthray.storage import ObjectStore

_READ_AT_ONCE: Final = 8
_FOLDERS: Final = ("models", "states")


@dataclass(frozen=True)
class ShelvedPreview:
    """One preview, and the epoch in which it was drawn."""

    name: PreviewName
    epoch: int


class PreviewShelf:
    """The previews of one run; any thread may call its methods. They raise what ObjectStore does."""

    def __init__(self, run: ObjectStore) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._epochs: dict[int, int] = {}

    def list(self) -> list[ShelvedPreview]:
        """All, in the order in which they were drawn."""
        found = (PreviewName.parse(info.key) for info in self._run.list(PREVIEWS_PREFIX))
        names = sorted(name for name in found if name is not None)
        epochs = self._learn_epochs(names)
        return [
            ShelvedPreview(name, epochs[name.images_seen]) for name in names if name.images_seen in epochs
        ]

    def read(self, name: PreviewName) -> bytes:
        """A preview's PNG."""
        return self._run.read(name.picture_key)

    def _learn_epochs(self, names: Iterable[PreviewName]) -> dict[int, int]:
        """Epochs by images seen, each from the receipt of one preview, read once."""
        firsts = {name.images_seen: name for name in names}
        with self._lock:
            new = [name for images_seen, name in firsts.items() if images_seen not in self._epochs]
            with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
                for name, epoch in zip(new, pool.map(self._read_epoch, new), strict=True):
                    if epoch is not None:
                        self._epochs[name.images_seen] = epoch
            return dict(self._epochs)

    def _read_epoch(self, name: PreviewName) -> int | None:
        try:
            _, receipt = read_png(self.read(name), name.picture_key)
        except (InvalidInput, NotFound):
            return None
        return receipt.preview.epoch if receipt.preview else None


def run_of(model_uri: str) -> str | None:
    """The prefix of the run that a model is of, by the model's own address; None for any other model."""
    rest, _, name = model_uri.rpartition("/")
    run, _, folder = rest.rpartition("/")
    return run if run and folder in _FOLDERS and CheckpointName.parse(name) is not None else None
