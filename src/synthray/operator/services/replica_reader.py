"""Asks the replicas of a service how they get on: all at once, bounded in time and size."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import urllib3

from synthray.errors import VerificationFailed
from synthray.operator.pod_http import fetch_progress
from synthray.operator.services.replica_words import ReplicaWord, parse_replica_word
from synthray.operator.views import PodView

_CONCURRENT: Final = 16

_log = logging.getLogger(__name__)


class ReplicaReader:
    """Fetches the words of replicas; safe to use from many threads."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(num_pools=_CONCURRENT * 4, maxsize=1, retries=False)

    def read(self, pods: Iterable[PodView]) -> dict[str, ReplicaWord]:
        """The words of those that answer, by pod uid."""
        asked = [pod for pod in pods if pod.ip and not pod.is_finished]
        with ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="replicas") as executor:
            words = executor.map(self._ask, asked)
            return {pod.uid: word for pod, word in zip(asked, words, strict=True) if word is not None}

    def _ask(self, pod: PodView) -> ReplicaWord | None:
        try:
            return parse_replica_word(fetch_progress(self._pool, pod.ip))
        except (urllib3.exceptions.HTTPError, VerificationFailed) as error:
            _log.debug("%s: %s", pod.name, error)
            return None
