"""Asks the drivers of all runs how they get on, in a loop of its own: bounded in time, size and rate."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import urllib3

from synthray.errors import VerificationFailed
from synthray.operator.attention import Attention
from synthray.operator.pod_http import fetch_progress
from synthray.operator.progress import ProgressView, parse_progress
from synthray.operator.views import PodView, RunKey

_PERIOD_SECONDS: Final = 2.0
_CONCURRENT: Final = 16

_log = logging.getLogger(__name__)


class ProgressReader:
    """The newest word of each driver. `heads` tells whom to ask, `told` is called with what changed."""

    def __init__(
        self, heads: Callable[[], Mapping[RunKey, tuple[PodView, ...]]], told: Callable[[RunKey], None]
    ) -> None:
        self._heads = heads
        self._told = told
        self._pool = urllib3.PoolManager(num_pools=_CONCURRENT * 4, maxsize=1, retries=False)
        self._words: dict[RunKey, ProgressView] = {}
        self._attention = Attention()

    def listening_since(self, now: datetime) -> datetime:
        """From when on, without a pause, a driver that speaks would have been heard."""
        return self._attention.since(now)

    def word(self, key: RunKey) -> ProgressView | None:
        """The newest word of a run's driver."""
        return self._words.get(key)

    def run(self, stopping: threading.Event) -> None:
        """Ask every two seconds until stopped."""
        with ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="progress") as executor:
            while not stopping.is_set():
                began = time.monotonic()
                self._attention.go_on(datetime.now(UTC))
                heads = self._heads()
                newest = {key: max(pods, key=lambda pod: pod.attempt) for key, pods in heads.items()}
                for key in self._words.keys() - newest.keys():
                    self._words.pop(key, None)
                for _ in executor.map(self._ask, newest.keys(), newest.values()):
                    if stopping.is_set():
                        return
                stopping.wait(max(0.0, _PERIOD_SECONDS - (time.monotonic() - began)))

    def many_fell_silent(self, now: datetime) -> bool:
        """Whether so many drivers fell silent together that it is the operator that does not hear.

        More than a fifth of those that spoke once, and at least three.
        """
        words = list(self._words.values())
        silent = sum((now - word.received).total_seconds() > 10 for word in words)
        return silent >= 3 and silent > 0.2 * len(words)

    def _ask(self, key: RunKey, head: PodView) -> None:
        self._attention.go_on(datetime.now(UTC))
        try:
            progress = parse_progress(fetch_progress(self._pool, head.ip))
        except (urllib3.exceptions.HTTPError, VerificationFailed) as error:
            _log.debug("%s/%s: %s", key.namespace, key.name, error)
            return
        before = self._words.get(key)
        self._words[key] = ProgressView(head.uid, datetime.now(UTC).replace(microsecond=0), progress)
        if before is None or before.progress != progress:
            self._told(key)
