"""What a checkpoint consists of: the one object whose creation commits it.

A reader trusts nothing that a manifest doesn't vouch for, and no manifest that isn't exactly what was
written: every field is checked, and a damaged one makes a bad checkpoint, never a crash.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from synthray.checkpoints.documents import DamagedDocument, Document, unseal
from synthray.checkpoints.names import MODEL_FILES, STATE_FILES, CheckpointName

FORMAT_VERSION = 1

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Kind = Literal["model", "state"]


class Part(Document):
    """One object of a checkpoint; `path` is relative to its directory."""

    path: str
    bytes: Count
    sha256: Digest


class Manifest(Document):
    """A model (EMA weights in diffusers' layout) or a state (everything to resume).

    `weights_sha256`, `ema_sha256` and `optimizer_sha256` are tensor digests of the run at this point, in both
    kinds; `model_sha256` is the SHA-256 of the manifest of the model that was committed with a state, and
    `parent` the state that the run stood on before. `created` is UTC in ISO 8601.
    """

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION
    kind: Kind
    run: str
    attempt: Annotated[int, Field(ge=1)]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    images_seen: Count
    step: Count
    epoch: Count
    created: str
    parts: tuple[Part, ...]
    rng_key: str
    config_digest: Digest
    config: dict[str, Any]
    dataset_digest: Digest
    fingerprint: dict[str, str]
    ledger: dict[str, Any]
    validation_loss: Annotated[float, Field(allow_inf_nan=False)] | None
    parent: str | None
    weights_sha256: Digest
    ema_sha256: Digest
    optimizer_sha256: Digest
    model_sha256: Digest | None

    @model_validator(mode="after")
    def _holds_the_files_of_its_kind(self) -> "Manifest":
        expected = STATE_FILES if self.kind == "state" else MODEL_FILES
        paths = [part.path for part in self.parts]
        if set(paths) != expected or len(paths) != len(expected):
            raise ValueError(f"a {self.kind} consists of {', '.join(sorted(expected))}")
        return self

    @property
    def name(self) -> CheckpointName:
        """Its directory's name."""
        return CheckpointName(self.images_seen, self.attempt)

    @property
    def size_bytes(self) -> int:
        """Bytes of all its parts."""
        return sum(part.bytes for part in self.parts)

    def part(self, path: str) -> Part:
        """The part at `path`."""
        return next(part for part in self.parts if part.path == path)


def parse_manifest(data: bytes, kind: Kind, name: CheckpointName) -> Manifest:
    """Read the manifest that lies in the directory `name`; raises DamagedDocument.

    A sound manifest of another checkpoint, copied or moved here, is damage too.
    """
    manifest = unseal(Manifest, data)
    if manifest.kind != kind or manifest.name != name:
        raise DamagedDocument(f"it belongs to the {manifest.kind} {manifest.name}")
    return manifest
