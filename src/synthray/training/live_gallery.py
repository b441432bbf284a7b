"""Keeps the gallery beside a run up to date: a thread of the driver, in which training has no part.

After each commit the page is written anew, once a minute at most, and a last time at the driver's end.
Whatever goes wrong here changes nothing elsewhere. It must not import torch.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from synthray.errors import SynthrayError
from synthray.generation.gallery import write_page_beside
from synthray.storage import open_store
from synthray.training.settings import RunSettings
from synthray.training.watch import RunWatch

_EVERY_SECONDS = 60.0
_FAREWELL_SECONDS = 5.0
_TRY_SECONDS = 5.0

_log = logging.getLogger(__name__)


@contextmanager
def keep_gallery(settings: RunSettings, watch: RunWatch) -> Iterator[None]:
    """Keep the page of the run up to date while entered; a run without previews has none."""
    if not settings.previews.seeds:
        yield
        return
    keeper = _GalleryKeeper(settings, watch)
    try:
        yield
    finally:
        keeper.close()


class _GalleryKeeper:
    def __init__(self, settings: RunSettings, watch: RunWatch) -> None:
        self._settings = settings
        self._watch = watch
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gallery", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write it a last time; waits a little for that."""
        self._closing.set()
        self._thread.join(_FAREWELL_SECONDS)

    def _run(self) -> None:
        shown = None
        while not self._closing.wait(_EVERY_SECONDS):
            newest = self._watch.snapshot().last_checkpoint
            if newest != shown and self._write():
                shown = newest
        if self._watch.snapshot().last_checkpoint is not None:
            self._write()

    def _write(self) -> bool:
        try:
            storage = replace(self._settings.storage.s3, deadline_seconds=_TRY_SECONDS)
            store = open_store(self._settings.storage.checkpoints_uri, storage)
            write_page_beside(store, self._settings.run)
        except SynthrayError as error:
            _log.warning("the gallery is not up to date, training goes on: %s", error.message)
            return False
        return True
