"""The protocol's tests run each step hundreds of times; nothing here pulls a plug."""

import os
from functools import cache

import pytest

from synthray.checkpoints.documents import unseal


@pytest.fixture(autouse=True)
def _no_power_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def _sealed_documents_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is pure, and most of what running the protocol again and again costs."""
    remembered = cache(unseal)
    for module in ("attempts", "manifest", "identity"):
        monkeypatch.setattr(f"synthray.checkpoints.{module}.unseal", remembered)
