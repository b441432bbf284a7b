"""A run's checkpoints as their readers see them: what was committed, lies on the chain and verifies.

It must not import torch: a head node without one looks for the resume point.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthray.checkpoints.directories import Observation, observe_directories
from synthray.checkpoints.examination import Checkpoint, examine_directories, verify_checkpoint
from synthray.checkpoints.host_buffer import view_tensors
from synthray.checkpoints.layout import read_file_layout
from synthray.checkpoints.manifest import Kind, Manifest
from synthray.checkpoints.names import MANIFEST_FILE, PROGRESS_FILE, model_directory, state_directory
from synthray.checkpoints.reading import read_hashed
from synthray.errors import NotFound, Reason, Unavailable, VerificationFailed
from synthray.storage import ObjectStore

Tensors = dict[str, NDArray[Any]]

_MAX_LISTINGS = 10


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
class Survey:
    """Committed checkpoints in the order of training, on the chain and off it, and all that was listed."""

    observation: Observation
    accepted: list[Checkpoint]
    ignored: list[Checkpoint]


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

    def survey(self, kind: Kind) -> Survey:
        """Everything of a kind at one time; raises Unavailable if it changes faster than it can be read.

        Retention may take all that was listed before it is read, and only after it committed something newer:
        then another listing tells more.
        """
        for _ in range(_MAX_LISTINGS):
            observation = observe_directories(self._store, kind)
            accepted, ignored = (
                examine_directories(self._store, some, observation)
                for some in (observation.accepted, observation.ignored)
            )
            if len(accepted) == len(observation.accepted):
                return Survey(observation, accepted, ignored)
        raise self._restless()

    def list_checkpoints(self, kind: Kind) -> tuple[list[Checkpoint], list[Checkpoint]]:
        """All committed ones in the order of training: those on the chain, and those off it."""
        survey = self.survey(kind)
        return survey.accepted, survey.ignored

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
        for _ in range(_MAX_LISTINGS):
            bad: list[BadCheckpoint] = []
            for checkpoint in reversed(self.survey("state").accepted):
                problems = self.verify(checkpoint)
                if not problems:
                    return ResumePoint(checkpoint.manifest, tuple(bad))
                if self.is_gone(checkpoint):
                    break
                uri = f"{self.uri}/{checkpoint.directory.prefix.rstrip('/')}"
                bad.append(BadCheckpoint(uri, tuple(problems)))
            else:
                return ResumePoint(None, tuple(bad))
        raise self._restless()

    def verify(self, checkpoint: Checkpoint) -> list[str]:
        """What is wrong with a checkpoint after reading all of it; empty if nothing is."""
        return verify_checkpoint(self._store, checkpoint)

    def is_gone(self, checkpoint: Checkpoint) -> bool:
        """Whether retention removed it since it was listed: then nothing is wrong with it."""
        directory = checkpoint.directory
        return directory.has_manifest and self._store.stat(directory.prefix + MANIFEST_FILE) is None

    def load_progress(self, manifest: Manifest) -> dict[str, Any]:
        """What a state's `progress.json` holds; raises VerificationFailed or NotFound."""
        document: dict[str, Any] = json.loads(self.read_part(manifest, PROGRESS_FILE).tobytes())
        return document

    def load_tensors(self, manifest: Manifest, path: str) -> Tensors:
        """The tensors of one safetensors part, views of one buffer; raises VerificationFailed or NotFound."""
        data = self.read_part(manifest, path)
        return view_tensors(data, read_file_layout(data.data))

    def read_part(self, manifest: Manifest, path: str) -> NDArray[np.uint8]:
        """One part's bytes (uint8), fetched by parallel ranges and checked while they come.

        Bytes that don't match are fetched once more. Raises VerificationFailed or NotFound.
        """
        part = manifest.part(path)
        directory = state_directory if manifest.kind == "state" else model_directory
        key = directory(manifest.name) + path
        data = np.empty(part.bytes, dtype=np.uint8)
        for _ in range(2):
            if read_hashed(self._store, key, data.data) == part.sha256:
                return data
        raise VerificationFailed(
            f"{self.uri}/{key} does not match its SHA-256; it was changed after it was committed",
            reason=Reason.CHECKPOINT_CORRUPT,
        )

    def _restless(self) -> Unavailable:
        return Unavailable(f"{self.uri}: checkpoints come and go faster than they can be read; try again")

    def _list_sound(self, kind: Kind) -> list[Manifest]:
        accepted, _ = self.list_checkpoints(kind)
        return [one.manifest for one in accepted if one.manifest is not None and one.is_sound]


def select_manifest(manifests: list[Manifest], uri: str, epoch: int | None) -> Manifest:
    """The newest of `manifests`, or the newest of one epoch; raises NotFound."""
    candidates = [one for one in manifests if epoch is None or one.epoch == epoch]
    if not candidates:
        wanted = "no checkpoint yet" if epoch is None else f"no checkpoint of epoch {epoch}"
        there = sorted({one.epoch for one in manifests})
        hint = f"; there are epochs {', '.join(map(str, there))}" if there else ""
        raise NotFound(f"{uri} holds {wanted}{hint}")
    return candidates[-1]
