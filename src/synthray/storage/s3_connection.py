"""One process's connection to one S3 endpoint: requests with retries, a deadline and no way to hang.

s3fs keeps the session, signs and sends; here its event loop is entered from threads, every passing failure
is retried until the deadline, and a request on which no byte moves is dropped. botocore's and s3fs's own
retries are off, since they know no deadline.
"""

import asyncio
import atexit
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fsspec.asyn import get_loop

from synthray.storage.credential_files import Credentials, MissingCredentials, read_credentials
from synthray.storage.retry import Again, decide_retry
from synthray.storage.s3_failures import Failure, Meaning, classify_failure, explain_failure
from synthray.storage.s3_filesystem import build_filesystem
from synthray.storage.settings import S3Settings
from synthray.telemetry.storage_counters import STORAGE_COUNTERS

T = TypeVar("T")

STALL_SECONDS = 20.0
"""A try on which no byte moves for so long is dropped; a slow one that moves may take its time."""
_LAST_TRY_SECONDS = 1.0
_BODY_CHUNK_BYTES = 2**20
# Its own source: what others draw from the global one may be part of a result.
_jitter = random.Random()  # noqa: S311


class Answer(Exception):
    """A failure that will not pass, given to the caller, who knows what it means for its object."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class _Clock:
    """What one request knows about its own tries."""

    def __init__(self, deadline_seconds: float, now: Callable[[], float]) -> None:
        self._deadline_seconds = deadline_seconds
        self._now = now
        self._started = now()
        self.failures = 0
        self.renewed = False

    def stall_seconds(self) -> float:
        """How long the next try may go without a byte that moves, so that no hang outlasts the deadline."""
        left_seconds = self._deadline_seconds - (self._now() - self._started)
        return min(STALL_SECONDS, max(_LAST_TRY_SECONDS, left_seconds))

    def count_failure(self) -> float | None:
        """Seconds to pause before the next try, or None past the deadline."""
        self.failures += 1
        decision = decide_retry(
            failures=self.failures,
            elapsed_seconds=self._now() - self._started,
            deadline_seconds=self._deadline_seconds,
            jitter=_jitter.random(),
        )
        return decision.after_seconds if isinstance(decision, Again) else None


class Exchange:
    """One try of a request: `call` sends, `moved` reports that bytes moved."""

    def __init__(self, filesystem: Any, watch: asyncio.Timeout, stall_seconds: float) -> None:
        self._filesystem = filesystem
        self._watch = watch
        self._stall_seconds = stall_seconds
        self._loop = asyncio.get_running_loop()
        self.read_bytes = 0

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one S3 operation, by botocore's name for it."""
        answer: dict[str, Any] = await self._filesystem._call_s3(method, **arguments)
        self.moved()
        return answer

    async def chunks(self, answer: dict[str, Any]) -> AsyncIterator[bytes]:
        """The body of an answer as it arrives; the socket is dropped if not all of it is taken."""
        body = answer["Body"]
        try:
            while chunk := await body.read(_BODY_CHUNK_BYTES):
                self.moved()
                self.read_bytes += len(chunk)
                yield chunk
        finally:
            body.close()

    def moved(self) -> None:
        """Postpone the moment at which this try counts as stalled."""
        with suppress(RuntimeError):  # a late report, after the try's end
            self._watch.reschedule(self._loop.time() + self._stall_seconds)

    def moved_in_thread(self) -> None:
        """The same from another thread, such as those in which aiohttp reads a body that it sends."""
        self._loop.call_soon_threadsafe(self.moved)


@dataclass(frozen=True)
class _Done(Generic[T]):
    result: T
    read_bytes: int


@dataclass(frozen=True)
class _Failed:
    failure: Failure
    error: Exception


class S3Connection:
    """The session of one process with one endpoint; made by `connection_for` alone."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.known_buckets: set[str] = set()
        self._loop = get_loop()
        self._slots = asyncio.Semaphore(settings.max_connections)
        self._filesystem: Any = None
        self._session = 0  # counts renewals
        self._credentials: Credentials | None = None
        self._clients: list[Any] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in this thread for what runs on the connection's loop; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def request(
        self, operation: str, place: str, bucket: str, send: Callable[[Exchange], Awaitable[T]]
    ) -> T:
        """What `send` returns, trying again through passing failures until the deadline.

        Raises Answer for failures that depend on the object, and synthray's own errors for all others;
        `place` is what their messages call the object.
        """
        clock: _Clock | None = None
        while True:
            async with self._slots:  # waiting for its turn is not yet trouble
                clock = clock or _Clock(self.settings.deadline_seconds, self._loop.time)
                session = self._session
                outcome = await self._try_once(send, clock)
            if isinstance(outcome, _Done):
                STORAGE_COUNTERS.count_request(operation, "ok", read_bytes=outcome.read_bytes)
                self.known_buckets.add(bucket)
                return outcome.result
            STORAGE_COUNTERS.count_request(operation, "error")
            failure, error = outcome.failure, outcome.error
            if failure.depends_on_object:
                raise Answer(failure) from error
            if self._may_renew(failure, clock, session):
                self._renew(session)
            elif failure.is_passing and (pause_seconds := clock.count_failure()) is not None:
                STORAGE_COUNTERS.count_retry()
                await asyncio.sleep(pause_seconds)
            else:
                raise explain_failure(failure, place, bucket, self.settings) from error

    async def _try_once(
        self, send: Callable[[Exchange], Awaitable[T]], clock: "_Clock"
    ) -> _Done[T] | _Failed:
        try:
            stall_seconds = clock.stall_seconds()
            async with asyncio.timeout(stall_seconds) as watch:
                exchange = Exchange(await self._connected(), watch, stall_seconds)
                return _Done(await send(exchange), exchange.read_bytes)
        except Exception as error:
            failure = classify_failure(error)
            if failure.meaning is Meaning.UNKNOWN:
                raise
            return _Failed(failure, error)

    def _may_renew(self, failure: Failure, clock: "_Clock", session: int) -> bool:
        """Whether other credentials may be there by now; those of the environment never change."""
        if failure.meaning is not Meaning.CREDENTIALS or self.settings.access_key_id is not None:
            return False
        if self.settings.credentials_directory is not None:
            return session != self._session or self._read_files() not in {None, self._credentials}
        first_time, clock.renewed = not clock.renewed, True
        return first_time

    def _read_files(self) -> Credentials | None:
        try:
            return read_credentials(self.settings.credentials_directory or "")
        except MissingCredentials:
            return None

    def _renew(self, rejected_session: int) -> None:
        """Read mounted credentials anew; of many requests rejected together only the first causes it."""
        if self._session == rejected_session:
            self._session += 1
            self._filesystem = None

    async def _connected(self) -> Any:
        if self._filesystem is None:
            self._credentials = self._find_credentials()
            self._filesystem = build_filesystem(self.settings, self._credentials, stall_seconds=STALL_SECONDS)
        filesystem = self._filesystem  # a renewal may come in between
        client = await filesystem.set_session()
        if client not in self._clients:
            self._clients.append(client)
        return filesystem

    def _find_credentials(self) -> Credentials | None:
        """Those of the settings; None leaves it to AWS's own chain. Raises MissingCredentials."""
        settings = self.settings
        if settings.credentials_directory is not None:
            return read_credentials(settings.credentials_directory)
        if settings.access_key_id is None or settings.secret_access_key is None:
            return None
        return Credentials(settings.access_key_id, settings.secret_access_key, settings.session_token)

    def close(self) -> None:
        """End all sessions, waiting a moment at most."""

        async def close() -> None:
            for client in self._clients:
                await client.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(timeout=2)


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; the first failure ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


_connections: dict[tuple[int, S3Settings], S3Connection] = {}


def connection_for(settings: S3Settings) -> S3Connection:
    """This process's connection with these settings; all stores of the same settings share it.

    Keyed by process, because neither an event loop nor its sockets survive a fork: a child makes its own and
    leaves its parent's alone.
    """
    key = (os.getpid(), settings)
    connection = _connections.get(key)
    if connection is None:
        connection = _connections.setdefault(key, S3Connection(settings))
    return connection


@atexit.register
def _close_connections() -> None:
    for (process, _), connection in _connections.items():
        if process == os.getpid():
            with suppress(Exception):
                connection.close()
