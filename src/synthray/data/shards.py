"""Tar shards as bytes: `%09d.jpg` and `%09d.json` side by side, readable by `webdataset` and by `tar`.

Names are plain numbers, because WebDataset readers cut a key at its first dot and RANZCR's have many. All
header fields are constants, so the same samples give the same bytes on any day and machine. It must not know
where samples come from or go to.
"""

import json
import tarfile
from collections.abc import Mapping

SHARD_BYTES = 64 * 2**20
"""A shard is closed by the sample that makes it reach this size."""

SHARD_SAMPLES = 4096
"""A shard of small images is closed earlier, so that a kill never costs more than these."""

_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


class ShardBuilder:
    """Collects the samples of one shard in memory."""

    def __init__(self) -> None:
        self._tar = bytearray()
        self.num_samples = 0

    @property
    def size_bytes(self) -> int:
        """What the finished shard takes, at this point."""
        return len(self._tar) + len(_END_OF_ARCHIVE)

    def add(self, key: str, jpeg: bytes, metadata: Mapping[str, object]) -> int:
        """Append a sample; returns the offset of the JPEG's first byte in the shard."""
        offset = self._append(f"{key}.jpg", jpeg)
        self._append(f"{key}.json", json.dumps(metadata, sort_keys=True).encode())
        self.num_samples += 1
        return offset

    def finish(self) -> bytes:
        """The shard."""
        return bytes(self._tar + _END_OF_ARCHIVE)

    def _append(self, name: str, content: bytes) -> int:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        member.mode = 0o644
        self._tar += member.tobuf(tarfile.USTAR_FORMAT)
        offset = len(self._tar)
        self._tar += content
        self._tar += bytes(-len(content) % tarfile.BLOCKSIZE)
        return offset


def sample_key(number: int) -> str:
    """The name of a sample, without its suffix."""
    return f"{number:09d}"


def shard_path(number: int) -> str:
    """The key of a shard below the dataset."""
    return f"shards/{number:06d}.tar"
