"""The safetensors format, laid out before there is any data, and the digest of named tensors.

A state is written in place into one preallocated buffer, so its files' layout must be known from names,
dtypes and shapes alone; the safetensors package serializes from memory into memory, which would hold the
state twice. The bytes are exactly those that the package writes (tests compare them).

A tensor digest is the SHA-256 over the tensors in the order of their names: for each, its name, then its
dtype as NumPy spells it (`float32`), then its shape as a Python tuple (`(64, 1, 3, 3)`, `(64,)`, `()`), all
as UTF-8 with nothing between them, then its values as little-endian bytes in C order. So it depends on
names and values alone, not on files.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# In the order of the format's own enumeration: larger ones are laid out first, so that all stay aligned.
_CODES = {
    "bool": ("BOOL", 1),
    "uint8": ("U8", 1),
    "int8": ("I8", 1),
    "int16": ("I16", 2),
    "uint16": ("U16", 2),
    "float16": ("F16", 2),
    "int32": ("I32", 4),
    "uint32": ("U32", 4),
    "float32": ("F32", 4),
    "float64": ("F64", 8),
    "int64": ("I64", 8),
    "uint64": ("U64", 8),
}
_RANKS = {dtype: rank for rank, dtype in enumerate(_CODES)}
_DTYPES = {code: dtype for dtype, (code, _) in _CODES.items()}
_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 100_000_000
# Loaders of torch models ask for this key.
_METADATA = {"format": "pt"}


class MalformedLayout(Exception):
    """These bytes are no safetensors file of ours."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to come: `dtype` as NumPy spells it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * _CODES[self.dtype][1]


@dataclass(frozen=True)
class PlacedTensor:
    """A tensor and the half-open range of its bytes in the file."""

    spec: TensorSpec
    start: int
    end: int


@dataclass(frozen=True)
class FileLayout:
    """A safetensors file without its values: `header` is its beginning, the tensors follow without gaps."""

    header: bytes
    tensors: tuple[PlacedTensor, ...]
    size_bytes: int


def plan_file(specs: Iterable[TensorSpec]) -> FileLayout:
    """Lay out one safetensors file for `specs`, in the order that the format's own writer chooses."""
    ordered = sorted(specs, key=lambda spec: (-_RANKS[spec.dtype], spec.name))
    entries: dict[str, Any] = {"__metadata__": _METADATA}
    ranges: list[tuple[int, int]] = []
    end = 0
    for spec in ordered:
        start, end = end, end + spec.size_bytes
        ranges.append((start, end))
        entries[spec.name] = {
            "dtype": _CODES[spec.dtype][0],
            "shape": list(spec.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = _LENGTH.pack(len(text)) + text
    base = len(header)
    placed = (PlacedTensor(s, base + a, base + b) for s, (a, b) in zip(ordered, ranges, strict=True))
    return FileLayout(header, tuple(placed), base + end)


def read_file_layout(data: memoryview) -> FileLayout:
    """Read the layout of a whole safetensors file in memory; raises MalformedLayout.

    Tensors must lie in bounds, in order and without gaps, with ranges that fit their dtype and shape.
    """
    if len(data) < _LENGTH.size:
        raise MalformedLayout("shorter than a header")
    (length,) = _LENGTH.unpack(data[: _LENGTH.size])
    base = _LENGTH.size + length
    if length > _MAX_HEADER_BYTES or base > len(data):
        raise MalformedLayout("the header is longer than the file")
    try:
        entries = json.loads(bytes(data[_LENGTH.size : base]))
        entries.pop("__metadata__", None)
        placed = [_read_entry(name, entry, base) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedLayout("the header is not a table of tensors") from error
    tensors = tuple(sorted(placed, key=lambda tensor: (tensor.start, tensor.end)))
    edges = [base, *(edge for tensor in tensors for edge in (tensor.start, tensor.end)), len(data)]
    gaps = any(left != right for left, right in list(pairwise(edges))[::2])
    if gaps or any(tensor.end - tensor.start != tensor.spec.size_bytes for tensor in tensors):
        raise MalformedLayout("the tensors do not fill the file")
    return FileLayout(bytes(data[:base]), tensors, len(data))


def _read_entry(name: str, entry: Mapping[str, Any], base: int) -> PlacedTensor:
    shape = tuple(int(size) for size in entry["shape"])
    if any(size < 0 for size in shape):
        raise ValueError(name)
    start, end = (base + int(offset) for offset in entry["data_offsets"])
    return PlacedTensor(TensorSpec(name, _DTYPES[entry["dtype"]], shape), start, end)


def digest_tensors(tensors: Mapping[TensorSpec, memoryview]) -> str:
    """The tensor digest (see above) over each tensor's little-endian bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    for spec, data in sorted(tensors.items(), key=lambda item: item[0].name):
        digest.update(f"{spec.name}{spec.dtype}{spec.shape}".encode())
        digest.update(data)
    return digest.hexdigest()


def digest_file_tensors(data: memoryview) -> str:
    """The tensor digest of a safetensors file in memory."""
    placed: Sequence[PlacedTensor] = read_file_layout(data).tensors
    return digest_tensors({tensor.spec: data[tensor.start : tensor.end] for tensor in placed})
