"""A run of a few bytes in a real folder, and stores around that folder which fail."""

import os
from collections.abc import Callable

import pytest
from hypothesis import settings
from intercepted_stores import InterceptedStore, VanishingStore
from small_run import SmallRun

from synthray.storage import ObjectStore

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _no_power_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing to disk is most of what a commit of a few bytes costs, and nothing here pulls a plug."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def run(local_store: ObjectStore) -> SmallRun:
    return SmallRun(local_store)


@pytest.fixture
def other_run(local_store: ObjectStore) -> SmallRun:
    return SmallRun(local_store.child("elsewhere"), "other")


@pytest.fixture
def intercepted(local_store: ObjectStore) -> InterceptedStore:
    return InterceptedStore(local_store)


@pytest.fixture
def vanishing(local_store: ObjectStore) -> Callable[..., VanishingStore]:
    return lambda changes, *, heard=True: VanishingStore(local_store, changes, heard=heard)
