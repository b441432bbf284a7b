"""Sealed documents: exactly what was written, or damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.checkpoints.attempts import AttemptRecord
from synthray.checkpoints.documents import DamagedDocument, encode_json, seal, unseal

RECORD = AttemptRecord(
    number=12, nonce="0" * 32, driver="pod-é", resumes_from=None, created="2026-01-02", reason="node drained"
)
SEALED = seal(RECORD)


def test_a_sealed_document_is_read_back() -> None:
    assert unseal(AttemptRecord, SEALED) == RECORD


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    data = bytearray(SEALED)
    data[place] ^= change
    with pytest.raises(DamagedDocument):
        unseal(AttemptRecord, bytes(data))


@given(st.integers(0, len(SEALED) - 1))
def test_any_truncation_is_noticed(length: int) -> None:
    with pytest.raises(DamagedDocument):
        unseal(AttemptRecord, SEALED[:length])


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"[" * 100_000, b"{}", SEALED + b" "])
def test_what_is_no_document_of_ours_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedDocument):
        unseal(AttemptRecord, data)


def test_the_damaged_field_is_named() -> None:
    with pytest.raises(DamagedDocument, match=r"^number: Input should be a valid integer$"):
        unseal(AttemptRecord, SEALED.replace(b'"number": 12', b'"number": "12"'))


def test_nan_is_refused_when_it_is_written_and_not_when_it_is_needed() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"loss": float("nan")})
