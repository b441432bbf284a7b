"""Files laid out before there is any data are those that the safetensors package writes."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from synthray.checkpoints.host_buffer import view_tensors
from synthray.checkpoints.layout import (
    MalformedLayout,
    TensorSpec,
    digest_file_tensors,
    plan_file,
    read_file_layout,
)

FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
names = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["C"]), min_size=1, max_size=8
)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
specs = st.dictionaries(names, st.tuples(st.sampled_from(["bool", *FLOATS, *INTEGERS]), shapes), max_size=6)


def make_arrays(specs: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, NDArray[Any]]:
    return {
        name: (np.arange(math.prod(shape)) % 2).astype(dtype).reshape(shape)
        for name, (dtype, shape) in specs.items()
    }


def write_in_place(arrays: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    layout = plan_file(TensorSpec(name, array.dtype.name, array.shape) for name, array in arrays.items())
    data = np.zeros(layout.size_bytes, np.uint8)
    data[: len(layout.header)] = np.frombuffer(layout.header, np.uint8)
    for name, view in view_tensors(data, layout).items():
        view[...] = arrays[name]
    return data


@given(specs)
def test_files_written_in_place_are_byte_for_byte_the_packages_own(
    specs: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    arrays = make_arrays(specs)
    assert write_in_place(arrays).tobytes() == safetensors.numpy.save(arrays, {"format": "pt"})


@given(specs)
def test_tensors_are_read_back_from_what_the_package_writes(
    specs: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    arrays = make_arrays(specs)
    data = np.frombuffer(safetensors.numpy.save(arrays), np.uint8)
    loaded = view_tensors(data, read_file_layout(data.data))
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, strict=True)


def test_the_tensor_digest_is_over_name_dtype_shape_and_values_in_the_order_of_names() -> None:
    arrays: dict[str, NDArray[Any]] = {
        "b": np.array(7, np.int64),
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    }
    expected = hashlib.sha256(
        b"afloat32(2, 3)" + arrays["a"].tobytes() + b"bint64()" + arrays["b"].tobytes()
    ).hexdigest()
    assert digest_file_tensors(write_in_place(arrays).data) == expected


def test_the_tensor_digest_does_not_depend_on_the_file() -> None:
    arrays = {"b": np.zeros(3, np.float32), "a": np.ones(2, np.float32)}
    other_header = memoryview(safetensors.numpy.save(arrays, {"more": "text"}))
    assert digest_file_tensors(other_header) == digest_file_tensors(write_in_place(arrays).data)


GOOD = write_in_place({"a": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.int64)}).tobytes()


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_header_is_malformed_or_another_sound_layout_but_no_crash(place: int, change: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= change
    try:
        layout = read_file_layout(memoryview(data))
    except MalformedLayout:
        return
    assert layout.size_bytes == len(GOOD)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
        b'{"a":{"dtype":"F32","shape":[-2,-1],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"PICKLE","shape":[2],"data_offsets":[0,8]}}',
        b"[]",
        b"\xff",
        b"{}",
    ],
    ids=["small-range", "gap", "negative", "overlap", "dtype", "list", "not-utf8", "unused-bytes"],
)
def test_headers_that_do_not_describe_the_file_are_refused(header: bytes) -> None:
    with pytest.raises(MalformedLayout):
        read_file_layout(memoryview(len(header).to_bytes(8, "little") + header + bytes(8)))


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\xff" * 8 + b"{}"], ids=["empty", "short", "endless"])
def test_files_shorter_than_their_header_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedLayout):
        read_file_layout(memoryview(data))
