"""A run's checkpoints as their readers see them: what was committed, lies on the chain and verifies.

Resuming walks from the newest state to the oldest until one is whole, byte for byte, and says which ones
were not. It must not import torch: a head node without one looks for the resume point.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthray.checkpoints.attempts import AttemptRecord, accepted_checkpoints, read_attempts
from synthray.checkpoints.directories import (
    Checkpoint,
    CheckpointDirectory,
    examine,
    list_directories,
    verify_parts,
)
from synthray.checkpoints.host_buffer import view_tensors
from synthray.checkpoints.layout import read_file_layout
from synthray.checkpoints.manifest import Kind, Manifest, Part
from synthray.checkpoints.names import PROGRESS_FILE, model_directory, part_file, state_directory
from synthray.errors import NotFound, Reason, VerificationFailed
from synthray.storage import ObjectStore

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class BadCheckpoint:
    """A committed checkpoint that must not be used, and what is wrong with it."""

    uri: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ResumePoint:
    """Where to go on: the newest good state (None: from the start), and the newer ones that are not good."""

    manifest: Manifest | None
    bad: tuple[BadCheckpoint, ...]


@dataclass(frozen=True)
class LoadedState:
    """Everything to resume; the arrays of a part share one buffer."""

    weights: Tensors
    ema: Tensors
    optimizer: Tensors
    progress: dict[str, Any]


class CheckpointStore:
    """The checkpoints under a run's prefix."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def store(self) -> ObjectStore:
        """Where they lie."""
        return self._store

    @property
    def uri(self) -> str:
        """The run's prefix."""
        return self._store.uri

    def list_checkpoints(self, kind: Kind) -> tuple[list[Checkpoint], list[Checkpoint]]:
        """All committed ones in the order of training: those on the chain, and those off it."""
        attempts, accepted, ignored = self._split(kind)
        return (
            [examine(self._store, directory, attempts) for directory in accepted],
            [examine(self._store, directory, attempts) for directory in ignored],
        )

    def list_states(self) -> list[Manifest]:
        """States that can be resumed from as far as listing tells, newest last."""
        return self._list_sound("state")

    def list_models(self) -> list[Manifest]:
        """Models that can be used as far as listing tells, newest last."""
        return self._list_sound("model")

    def newest_good_state(self) -> ResumePoint:
        """The newest state of which every byte is as it was written; reads the whole state.

        Raises Unavailable: a store that doesn't answer says nothing about its checkpoints.
        """
        attempts, accepted, _ = self._split("state")
        bad: list[BadCheckpoint] = []
        for directory in reversed(accepted):
            checkpoint = examine(self._store, directory, attempts)
            problems = self.verify(checkpoint)
            if not problems:
                return ResumePoint(checkpoint.manifest, tuple(bad))
            bad.append(BadCheckpoint(f"{self.uri}/{directory.prefix.rstrip('/')}", tuple(problems)))
        return ResumePoint(None, tuple(bad))

    def verify(self, checkpoint: Checkpoint) -> list[str]:
        """What is wrong with a checkpoint after reading all of it; empty if nothing is."""
        if checkpoint.manifest is None or checkpoint.problems:
            return list(checkpoint.problems)
        return verify_parts(self._store, checkpoint.directory.prefix, checkpoint.manifest)

    def load_state(self, manifest: Manifest) -> LoadedState:
        """A whole state, about its own size of memory; raises VerificationFailed or NotFound."""
        return LoadedState(
            weights=self.load_tensors(manifest, part_file("weights")),
            ema=self.load_tensors(manifest, part_file("ema")),
            optimizer=self.load_tensors(manifest, part_file("optimizer")),
            progress=self.load_progress(manifest),
        )

    def load_progress(self, manifest: Manifest) -> dict[str, Any]:
        """What a state's `progress.json` holds; raises VerificationFailed or NotFound."""
        document: dict[str, Any] = json.loads(self.read_part(manifest, PROGRESS_FILE).tobytes())
        return document

    def load_tensors(self, manifest: Manifest, path: str) -> Tensors:
        """The tensors of one safetensors part, views of one buffer; raises VerificationFailed or NotFound."""
        data = self.read_part(manifest, path)
        return view_tensors(data, read_file_layout(data.data))

    def read_part(self, manifest: Manifest, path: str) -> NDArray[np.uint8]:
        """One part's bytes (uint8), fetched by parallel ranges and checked.

        Bytes that don't match are fetched once more. Raises VerificationFailed or NotFound.
        """
        part = manifest.part(path)
        directory = state_directory if manifest.kind == "state" else model_directory
        key = directory(manifest.name) + path
        data = np.empty(part.bytes, dtype=np.uint8)
        for _ in range(2):
            self._store.read_into(key, data.data)
            if _matches(data, part):
                return data
        raise VerificationFailed(
            f"{self.uri}/{key} does not match its SHA-256; it was changed after it was committed",
            reason=Reason.CHECKPOINT_CORRUPT,
        )

    def _list_sound(self, kind: Kind) -> list[Manifest]:
        accepted, _ = self.list_checkpoints(kind)
        return [one.manifest for one in accepted if one.manifest is not None and one.is_sound]

    def _split(
        self, kind: Kind
    ) -> tuple[Mapping[int, AttemptRecord | None], list[CheckpointDirectory], list[CheckpointDirectory]]:
        """Attempts; committed directories on the chain; committed directories off it."""
        directories = [one for one in list_directories(self._store, kind) if one.has_manifest]
        attempts = read_attempts(self._store)
        names = accepted_checkpoints(attempts, [one.name for one in directories])
        return (
            attempts,
            [one for one in directories if one.name in names],
            [one for one in directories if one.name not in names],
        )


def _matches(data: NDArray[np.uint8], part: Part) -> bool:
    return hashlib.sha256(data.data).hexdigest() == part.sha256


def select_manifest(manifests: list[Manifest], uri: str, epoch: int | None) -> Manifest:
    """The newest of `manifests`, or the newest of one epoch; raises NotFound."""
    candidates = [one for one in manifests if epoch is None or one.epoch == epoch]
    if not candidates:
        wanted = "no checkpoint yet" if epoch is None else f"no checkpoint of epoch {epoch}"
        there = sorted({one.epoch for one in manifests})
        hint = f"; there are epochs {', '.join(map(str, there))}" if there else ""
        raise NotFound(f"{uri} holds {wanted}{hint}")
    return candidates[-1]
