"""One process's connection to one S3 endpoint: requests with retries, a deadline and no way to hang.

s3fs keeps the session, signs and sends; here its event loop is entered from threads, every passing failure
is retried until the deadline, and a request on which no byte moves is dropped. botocore's and s3fs's own
retries are off, since they know no deadline and would hide that an earlier answer was lost.
"""

import asyncio
import atexit
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import s3fs
from fsspec.asyn import get_loop

from synthray.storage.retry import GiveUp, decide_retry
from synthray.storage.s3_failures import Failure, Meaning, classify_failure, explain_failure
from synthray.storage.settings import S3Settings
from synthray.telemetry.storage_counters import STORAGE_COUNTERS

T = TypeVar("T")

STALL_SECONDS = 20.0
"""A try on which no byte moves for so long is dropped; a slow one that moves may take its time."""
CONNECT_SECONDS = 10.0
_BODY_CHUNK_BYTES = 2**20


class Answer(Exception):
    """A failure that will not pass, given to the caller, who knows what it means for its object.

    `ambiguous`: an earlier try of the same request may have succeeded unheard.
    """

    def __init__(self, failure: Failure, *, ambiguous: bool) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.ambiguous = ambiguous


class Exchange:
    """One try of a request: `call` sends, `moved` reports that bytes moved."""

    def __init__(self, filesystem: Any, watch: asyncio.Timeout) -> None:
        self._filesystem = filesystem
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self.read_bytes = 0

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one S3 operation, by botocore's name for it."""
        answer: dict[str, Any] = await self._filesystem._call_s3(method, **arguments)  # noqa: SLF001
        self.moved()
        return answer

    async def chunks(self, answer: dict[str, Any]) -> AsyncIterator[bytes]:
        """The body of an answer in pieces as they arrive; the connection is dropped if they are not all taken."""
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
            self._watch.reschedule(self._loop.time() + STALL_SECONDS)

    def moved_in_thread(self) -> None:
        """The same from another thread, such as those in which aiohttp reads a body that it sends."""
        self._loop.call_soon_threadsafe(self.moved)


class S3Connection:
    """The session of one process with one endpoint; made by `connection_for` alone."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._loop = get_loop()
        self._filesystem: Any = None
        self._clients: list[Any] = []
        self._slots = asyncio.Semaphore(settings.max_connections)
        self.known_buckets: set[str] = set()

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
        started = self._loop.time()
        failures = 0
        renewed = False
        while True:
            filesystem = self._filesystem
            try:
                result, read_bytes = await self._try_once(
                    send, self.settings.deadline_seconds - (self._loop.time() - started)
                )
            except Exception as error:
                failure = classify_failure(error)
                STORAGE_COUNTERS.count_request(operation, "error")
                if failure.meaning is Meaning.UNKNOWN:
                    raise
                if failure.meaning is Meaning.CREDENTIALS and not renewed and self._may_rotate:
                    renewed = True
                    self._renew(filesystem)
                    continue
                if failure.depends_on_object:
                    raise Answer(failure, ambiguous=failures > 0) from error
                if not failure.is_passing:
                    raise explain_failure(failure, place, bucket, self.settings) from error
                failures += 1
                decision = decide_retry(
                    failures=failures,
                    elapsed_seconds=self._loop.time() - started,
                    deadline_seconds=self.settings.deadline_seconds,
                    jitter=random.random(),  # noqa: S311
                )
                if isinstance(decision, GiveUp):
                    raise explain_failure(failure, place, bucket, self.settings) from error
                STORAGE_COUNTERS.count_retry()
                await asyncio.sleep(decision.after_seconds)
            else:
                STORAGE_COUNTERS.count_request(operation, "ok", read_bytes=read_bytes)
                self.known_buckets.add(bucket)
                return result

    async def _try_once(self, send: Callable[[Exchange], Awaitable[T]], left_seconds: float) -> tuple[T, int]:
        async with self._slots, asyncio.timeout(min(STALL_SECONDS, max(1.0, left_seconds))) as watch:
            exchange = Exchange(await self._connected(), watch)
            return await send(exchange), exchange.read_bytes

    async def _connected(self) -> Any:
        if self._filesystem is None:
            self._filesystem = _build_filesystem(self.settings)
        client = await self._filesystem.set_session()
        if client not in self._clients:
            self._clients.append(client)
        return self._filesystem

    @property
    def _may_rotate(self) -> bool:
        """Whether credentials come from files or the platform; those of the environment never change."""
        return self.settings.access_key_id is None

    def _renew(self, rejected: Any) -> None:
        """Read the credentials anew; of many requests rejected together only the first causes it."""
        if self._filesystem is rejected:
            self._filesystem = None

    async def close(self) -> None:
        """End all sessions."""
        for client in self._clients:
            await client.close()


def _build_filesystem(settings: S3Settings) -> Any:
    stall_seconds = STALL_SECONDS + 5  # the watch of each try acts first
    filesystem = s3fs.S3FileSystem(
        asynchronous=True,
        skip_instance_cache=True,
        key=settings.access_key_id,
        secret=settings.secret_access_key,
        token=settings.session_token if settings.access_key_id else None,
        endpoint_url=settings.endpoint_url,
        client_kwargs={"region_name": settings.region or None, "verify": settings.ca_bundle},
        config_kwargs={
            "max_pool_connections": settings.max_connections,
            "connect_timeout": min(CONNECT_SECONDS, settings.deadline_seconds),
            "read_timeout": stall_seconds,
            "retries": {"total_max_attempts": 1},
            # Payloads are signed or travel in TLS, and synthray checks its own SHA-256; more would only
            # exclude stores that don't know the newer checksums.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
        **({"profile": settings.profile} if settings.profile and not settings.access_key_id else {}),
    )
    filesystem.retries = 1
    return filesystem


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
                asyncio.run_coroutine_threadsafe(connection.close(), connection._loop).result(timeout=2)  # noqa: SLF001
