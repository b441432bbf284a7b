"""What each operation on a bucket sends, and what the answers mean for the object that it asked about.

Each object costs as few requests as it can: no HEAD before a GET, one PUT up to 16 MiB; a larger one is
uploaded piece by piece, without a copy of the data. Coroutines of the connection's loop; names are full keys.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from synthray.errors import SynthrayError, Unavailable
from synthray.storage.objects import CHUNK_BYTES, ObjectInfo, wrong_size
from synthray.storage.s3_body import Body
from synthray.storage.s3_connection import Answer, Exchange, S3Connection, together
from synthray.storage.s3_failures import Failure, Meaning, explain_failure, refusal

T = TypeVar("T")

_UPLOAD_TRIES = 3
_PIECES_AT_ONCE = 4
_ABORT_SECONDS = 5.0


class S3Bucket:
    """One bucket through one connection."""

    def __init__(self, name: str, connection: S3Connection) -> None:
        self._name = name
        self.connection = connection

    async def get(self, name: str) -> bytes:
        """A whole object."""

        async def send(exchange: Exchange) -> bytes:
            answer = await exchange.call("get_object", Bucket=self._name, Key=name)
            return b"".join([chunk async for chunk in exchange.chunks(answer)])

        return await self._ask("get", name, send)

    async def fill(
        self, name: str, start: int, target: memoryview, *, whole_bytes: int | None = None
    ) -> None:
        """Read len(target) > 0 bytes from `start` into place; `whole_bytes` is what the object must hold."""
        span = f"bytes={start}-{start + len(target) - 1}"

        async def send(exchange: Exchange) -> str:
            answer = await exchange.call("get_object", Bucket=self._name, Key=name, Range=span)
            total = str(answer.get("ContentRange", "")).rpartition("/")[2]
            if answer["ContentLength"] != len(target) or (
                whole_bytes is not None and total != str(whole_bytes)
            ):
                answer["Body"].close()
                return total or str(answer["ContentLength"])
            filled = 0
            async for chunk in exchange.chunks(answer):
                target[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
            return ""

        try:
            found = await self._ask("get", name, send, knows=Meaning.RANGE)
        except Answer:
            found = "fewer"
        if found:
            wanted = f"at least {start + len(target)}" if whole_bytes is None else str(whole_bytes)
            raise wrong_size(self._place(name), wanted=wanted, found=found)

    async def put(self, name: str, data: memoryview) -> None:
        """Store an object whole, or leave what was there."""
        if len(data) <= CHUNK_BYTES:
            await self._send_body(data, "put_object", name)
            return
        for _ in range(_UPLOAD_TRIES):
            if await self._upload(name, data):
                return
        raise Unavailable(f"{self._place(name)}: its upload was ended by others {_UPLOAD_TRIES} times")

    async def create(self, name: str, data: bytes) -> bool:
        """Store an object if there is none of its name; False if there is one, perhaps by an own try."""

        async def send(exchange: Exchange) -> None:
            await exchange.call("put_object", Bucket=self._name, Key=name, Body=data, IfNoneMatch="*")

        try:
            await self._ask("create", name, send, knows=Meaning.EXISTS)
        except Answer:
            return False
        return True

    async def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects whose name starts with the prefix, in the store's order."""
        found: list[ObjectInfo] = []
        more: dict[str, str] = {}

        async def send(exchange: Exchange) -> dict[str, Any]:
            return await exchange.call("list_objects_v2", Bucket=self._name, Prefix=prefix, **more)

        while True:
            page = await self._ask("list", prefix, send)
            found += [
                ObjectInfo(entry["Key"], int(entry["Size"]), entry.get("LastModified"))
                for entry in page.get("Contents", [])
            ]
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def head(self, name: str) -> ObjectInfo | None:
        """Size and date of an object, or None."""

        async def send(exchange: Exchange) -> dict[str, Any]:
            return await exchange.call("head_object", Bucket=self._name, Key=name)

        try:
            answer = await self._ask("head", name, send, knows=Meaning.MISSING_OBJECT)
        except Answer:
            await self._check_bucket()  # the 404 of a HEAD has no body that would tell which is missing
            return None
        return ObjectInfo(name, int(answer["ContentLength"]), answer.get("LastModified"))

    async def delete(self, names: Sequence[str]) -> None:
        """Remove at most 1,000 objects."""
        left = list(names)

        async def send(exchange: Exchange) -> None:
            doomed = {"Objects": [{"Key": name} for name in left], "Quiet": True}
            answer = await exchange.call("delete_objects", Bucket=self._name, Delete=doomed)
            errors = [error for error in answer.get("Errors", []) if error.get("Code") != "NoSuchKey"]
            if errors:
                left[:] = [error["Key"] for error in errors]
                raise refusal(errors[0])

        await self._ask("delete", names[0], send)

    async def list_uploads(self, prefix: str) -> Sequence[tuple[str, str]]:
        """Name and id of every upload in pieces that was begun under the prefix and not completed."""
        found: list[tuple[str, str]] = []
        more: dict[str, str] = {}

        async def send(exchange: Exchange) -> dict[str, Any]:
            return await exchange.call("list_multipart_uploads", Bucket=self._name, Prefix=prefix, **more)

        while True:
            page = await self._ask("list", prefix, send)
            # The name again: some stores take the prefix for a folder's, or don't look at it.
            found += [
                (upload["Key"], upload["UploadId"])
                for upload in page.get("Uploads", [])
                if upload["Key"].startswith(prefix)
            ]
            if not page.get("IsTruncated"):
                return found
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def end_upload(self, name: str, upload_id: str) -> None:
        """Drop an upload and its pieces; one that is gone is fine."""
        with suppress(Answer):
            await self._plain("abort_multipart_upload", name, UploadId=upload_id)

    async def _upload(self, name: str, data: memoryview) -> bool:
        """Upload in pieces; False if the upload vanished, as after a lost answer to its end."""
        begun = await self._plain("create_multipart_upload", name)
        upload = {"UploadId": begun["UploadId"]}
        turns = asyncio.Semaphore(_PIECES_AT_ONCE)
        parts: dict[int, str] = {}

        async def send_piece(number: int) -> None:
            async with turns:
                piece = data[(number - 1) * CHUNK_BYTES : number * CHUNK_BYTES]
                sent = await self._send_body(piece, "upload_part", name, PartNumber=number, **upload)
                parts[number] = sent["ETag"]

        try:
            await together([send_piece(number) for number in range(1, -(-len(data) // CHUNK_BYTES) + 1)])
            listed = {"Parts": [{"PartNumber": number, "ETag": parts[number]} for number in sorted(parts)]}
            await self._plain("complete_multipart_upload", name, MultipartUpload=listed, **upload)
        except Answer:
            return False
        except BaseException:
            # Best effort: what it leaves is discarded by a later attempt, or by the bucket's own rule.
            with suppress(SynthrayError, TimeoutError):
                async with asyncio.timeout(_ABORT_SECONDS):
                    await self.end_upload(name, upload["UploadId"])
            raise
        return True

    async def _plain(self, method: str, name: str, **arguments: Any) -> dict[str, Any]:
        async def send(exchange: Exchange) -> dict[str, Any]:
            return await exchange.call(method, Bucket=self._name, Key=name, **arguments)

        return await self._ask("put", name, send, knows=Meaning.MISSING_UPLOAD)

    async def _send_body(self, data: memoryview, method: str, name: str, **arguments: Any) -> dict[str, Any]:
        async def send(exchange: Exchange) -> dict[str, Any]:
            body = Body(data, exchange.moved_in_thread)
            return await exchange.call(method, Bucket=self._name, Key=name, Body=body, **arguments)

        return await self._ask("put", name, send, knows=Meaning.MISSING_UPLOAD)

    async def _check_bucket(self) -> None:
        """Raise NotFound(BUCKET_MISSING), unless some request to the bucket has succeeded before."""
        if self._name in self.connection.known_buckets:
            return

        async def send(exchange: Exchange) -> None:
            await exchange.call("head_bucket", Bucket=self._name)

        try:
            await self._ask("head", "", send, knows=Meaning.MISSING_OBJECT)
        except Answer:
            missing = Failure(Meaning.MISSING_BUCKET, "")
            raise explain_failure(missing, self._place(""), self._name, self.connection.settings) from None

    async def _ask(
        self,
        operation: str,
        name: str,
        send: Callable[[Exchange], Awaitable[T]],
        *,
        knows: Meaning | None = None,
    ) -> T:
        """The answer; of failures that are answers too, only what the caller `knows` reaches it as Answer."""
        try:
            return await self.connection.request(operation, self._place(name), self._name, send)
        except Answer as answer:
            if answer.failure.meaning is knows:
                raise
            raise explain_failure(
                answer.failure, self._place(name), self._name, self.connection.settings
            ) from answer

    def _place(self, name: str) -> str:
        return f"s3://{self._name}/{name}"
