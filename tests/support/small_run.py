"""A run of a few bytes: real commits to any store, without the uploader process around them."""

from collections.abc import Mapping

import numpy as np
from run_contexts import build_context, build_identity

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.commit import Committer
from synthray.checkpoints.host_buffer import view_tensors
from synthray.checkpoints.identity import claim_prefix
from synthray.checkpoints.layout import TensorSpec, plan_file
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import TENSOR_PARTS, part_file
from synthray.checkpoints.requests import CommitReport, RunContext, SaveRequest
from synthray.checkpoints.store import CheckpointStore
from synthray.storage import ObjectStore

SPECS = (TensorSpec("conv.weight", "float32", (4, 3)), TensorSpec("scale", "float32", ()))


def fill_files(values: Mapping[str, float]) -> dict[str, memoryview]:
    """The safetensors file of each part, all of whose tensors hold the part's value."""
    layout = plan_file(SPECS)
    files = {}
    for part, value in values.items():
        data = np.zeros(layout.size_bytes, np.uint8)
        data[: len(layout.header)] = np.frombuffer(layout.header, np.uint8)
        for tensor in view_tensors(data, layout).values():
            tensor[...] = value
        files[part] = data.data
    return files


def build_request(images_seen: int, *, model: bool = True) -> SaveRequest:
    return SaveRequest(
        images_seen=images_seen,
        step=images_seen // 10,
        epoch=images_seen // 100,
        write_model=model,
        progress={"images_seen": images_seen},
        ledger={},
        validation_loss=1.0 / (1 + images_seen),
        created="2026-01-01T00:00:00+00:00",
    )


def check_tensors(checkpoints: CheckpointStore, manifest: Manifest, shift: float = 0.0) -> None:
    """Load a state as a resume does: its content must follow from its images_seen alone."""
    assert checkpoints.load_progress(manifest) == {"images_seen": manifest.images_seen}
    for place, part in enumerate(TENSOR_PARTS):
        tensors = checkpoints.load_tensors(manifest, part_file(part))
        assert set(tensors) == {spec.name for spec in SPECS}
        assert all((tensor == manifest.images_seen + shift + place / 4).all() for tensor in tensors.values())


class SmallRun:
    """One attempt after the other; by the promise, the tensors of a state follow from images_seen alone.

    Runs of another `shift` hold other tensors.
    """

    def __init__(self, store: ObjectStore, name: str = "small", *, shift: float = 0.0) -> None:
        self.store = store
        self.name = name
        self.shift = shift
        self.checkpoints = CheckpointStore(store)

    def begin(self, resumes_from: str | None = None) -> RunContext:
        claim_prefix(self.store, build_identity(self.name))
        return build_context(begin_attempt(self.store, "driver", resumes_from), self.name)

    def commit(
        self,
        context: RunContext,
        images_seen: int,
        *,
        model: bool = True,
        store: ObjectStore | None = None,
        committer: Committer | None = None,
    ) -> CommitReport:
        chosen = committer or Committer(store or self.store, context)
        request = build_request(images_seen, model=model)
        return chosen.save(self.files(images_seen), request, context.resumes_from)

    def files(self, images_seen: int) -> dict[str, memoryview]:
        places = enumerate(TENSOR_PARTS)
        return fill_files({part: images_seen + self.shift + place / 4 for place, part in places})

    def check_loads(self, images_seen: int) -> None:
        """The resume point is the state at `images_seen`, with the right content."""
        manifest = self.checkpoints.newest_good_state().manifest
        assert manifest is not None
        assert manifest.images_seen == images_seen
        check_tensors(self.checkpoints, manifest, self.shift)
