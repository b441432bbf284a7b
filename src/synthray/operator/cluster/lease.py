"""Leader election by a Lease: of two operators one acts, the other waits.

A leader that can't renew its Lease ends its process, since another one may lead by then; a candidate tries
for ever. The Lease itself comes with the chart.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import urllib3
from kubernetes.client import ApiException, CoordinationV1Api
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from synthray.operator.cluster.api_server import ApiServer

LEASE_SECONDS: Final = 30
_RENEW_SECONDS: Final = 20
_RETRY_SECONDS: Final = 5

_log = logging.getLogger(__name__)


class _PatientLock(LeaseLock):  # type: ignore[misc]  # the client publishes no types
    """A Lease whose server may be away: that is a failed try, not the end of the election."""

    def __init__(self, server: ApiServer, *, name: str, namespace: str, identity: str) -> None:
        super().__init__(name, namespace, identity)
        self.api_instance = CoordinationV1Api(server.api_client)

    def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            answer: tuple[bool, Any] = super().get(name, namespace)
        except urllib3.exceptions.HTTPError as error:
            return False, ApiException(status=0, reason=str(error))
        return answer

    def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        try:
            return bool(super().update(name, namespace, updated_record))
        except urllib3.exceptions.HTTPError:
            return False


def hold_lease(
    server: ApiServer, *, name: str, namespace: str, identity: str, lead: Callable[[], None]
) -> threading.Thread:
    """Wait for the Lease in a thread, then `lead` in another; the first one ends when the Lease is lost."""
    lock = _PatientLock(server, name=name, namespace=namespace, identity=identity)
    settings = electionconfig.Config(
        lock,
        lease_duration=LEASE_SECONDS,
        renew_deadline=_RENEW_SECONDS,
        retry_period=_RETRY_SECONDS,
        onstarted_leading=lead,
        onstopped_leading=lambda: _log.error("the lease %s/%s is lost", namespace, name),
    )
    election = leaderelection.LeaderElection(settings)
    thread = threading.Thread(target=election.run, name="lease", daemon=True)
    thread.start()
    return thread
