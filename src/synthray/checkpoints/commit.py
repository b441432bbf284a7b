"""The commit protocol: parts first, then who we are, then one conditional create that makes it count.

Runs in the uploader process, beside training; it must not import torch or NumPy. Whatever happens between
two writes, a reader finds either the whole checkpoint or the one before it: parts go to a directory that no
other attempt writes to, a manifest is created last and never replaced, the model's before the state's.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from synthray.checkpoints.attempts import check_not_fenced
from synthray.checkpoints.documents import DamagedDocument, encode_json, read_document, seal
from synthray.checkpoints.layout import digest_file_tensors
from synthray.checkpoints.manifest import Kind, Manifest, Part, parse_manifest
from synthray.checkpoints.names import (
    MANIFEST_FILE,
    MODEL_WEIGHTS_FILE,
    PROGRESS_FILE,
    TENSOR_PARTS,
    CheckpointName,
    model_directory,
    part_file,
    state_directory,
)
from synthray.checkpoints.requests import CommitReport, RunContext, SaveRequest
from synthray.errors import Reason, RunFailed, SynthrayError, Unavailable, VerificationFailed
from synthray.storage import ObjectExists, ObjectStore

Content = Mapping[str, bytes | memoryview]


@dataclass(frozen=True)
class _Prepared:
    """A checkpoint ready to be uploaded: its objects and its manifest."""

    directory: str
    content: Content
    manifest: Manifest


class Committer:
    """Commits saves of one attempt, one at a time.

    A save that failed may be tried again: for the same images_seen the first request stands, so that the
    bytes written by a try whose answer was lost and those written by the next are the same.
    """

    def __init__(self, store: ObjectStore, context: RunContext) -> None:
        self._store = store
        self._context = context
        self._first_request: SaveRequest | None = None

    def save(
        self, tensors: Mapping[str, memoryview], request: SaveRequest, parent: str | None
    ) -> CommitReport:
        """Hash, upload and commit a state (and a model) whose files `tensors` holds by part.

        Raises RunFailed(FENCED) if a newer attempt exists, and Unavailable.
        """
        first = self._first_request
        if first is not None and first.images_seen == request.images_seen:
            request = replace(first, write_model=request.write_model)
        self._first_request = request
        started = time.monotonic()
        model, state = self._prepare(tensors, request, parent)
        hashed = time.monotonic()
        todo = [one for one in (model, state) if one is not None and not self._is_committed(one)]
        self._upload(todo)
        uploaded = time.monotonic()
        check_not_fenced(self._store, self._context.attempt)
        for prepared in todo:
            self._create_manifest(prepared)
        return CommitReport(
            state=str(state.manifest.name),
            model=str(model.manifest.name) if model else None,
            hash_seconds=hashed - started,
            upload_seconds=uploaded - hashed,
            commit_seconds=time.monotonic() - uploaded,
            uploaded_bytes=sum(prepared.manifest.size_bytes for prepared in todo),
        )

    def _upload(self, todo: Iterable[_Prepared]) -> None:
        try:
            for prepared in todo:
                for path, data in prepared.content.items():
                    self._store.write(prepared.directory + path, data)
        except Unavailable:
            raise
        except SynthrayError:
            # A newer attempt sweeps what this one has under way: then that is what is wrong.
            check_not_fenced(self._store, self._context.attempt)
            raise

    def _prepare(
        self, tensors: Mapping[str, memoryview], request: SaveRequest, parent: str | None
    ) -> tuple[_Prepared | None, _Prepared]:
        """The model (if asked for) and the state, with all digests."""
        name = CheckpointName(request.images_seen, self._context.attempt)
        tensor_digests = {part: digest_file_tensors(tensors[part]) for part in TENSOR_PARTS}
        state_content: Content = {
            **{part_file(part): tensors[part] for part in TENSOR_PARTS},
            PROGRESS_FILE: encode_json(request.progress),
        }
        parts = _describe(state_content)
        build = partial(self._build_manifest, request=request, digests=tensor_digests, parent=parent)
        if not request.write_model:
            return None, _Prepared(state_directory(name), state_content, build("state", parts, None))
        texts = {path: text.encode() for path, text in self._context.model_files.items()}
        ema = next(part for part in parts if part.path == part_file("ema"))
        weights = Part(path=MODEL_WEIGHTS_FILE, bytes=ema.bytes, sha256=ema.sha256)
        model = build("model", (*_describe(texts), weights), None)
        state = build("state", parts, hashlib.sha256(seal(model)).hexdigest())
        return (
            _Prepared(model_directory(name), {**texts, MODEL_WEIGHTS_FILE: tensors["ema"]}, model),
            _Prepared(state_directory(name), state_content, state),
        )

    def _build_manifest(
        self,
        kind: Kind,
        parts: tuple[Part, ...],
        model_digest: str | None,
        *,
        request: SaveRequest,
        digests: Mapping[str, str],
        parent: str | None,
    ) -> Manifest:
        context = self._context
        return Manifest(
            kind=kind,
            run=context.run,
            attempt=context.attempt,
            nonce=context.nonce,
            images_seen=request.images_seen,
            step=request.step,
            epoch=request.epoch,
            created=request.created,
            parts=parts,
            rng_key=context.rng_key,
            config_digest=context.config_digest,
            config=dict(context.config),
            dataset_digest=context.dataset_digest,
            fingerprint=dict(context.fingerprint),
            ledger=dict(request.ledger),
            validation_loss=request.validation_loss,
            parent=parent,
            weights_sha256=digests["weights"],
            ema_sha256=digests["ema"],
            optimizer_sha256=digests["optimizer"],
            model_sha256=model_digest,
        )

    def _is_committed(self, prepared: _Prepared) -> bool:
        """Whether this attempt already committed these weights here (an earlier answer was lost).

        Its parts must not be written again: those of the committed manifest would be replaced.
        """
        own = prepared.manifest
        key = prepared.directory + MANIFEST_FILE
        if self._store.stat(key) is None:
            return False
        try:
            there = read_document(self._store, key, lambda data: parse_manifest(data, own.kind, own.name))
        except DamagedDocument as error:
            raise VerificationFailed(
                f"{self._store.uri}/{key} is damaged ({error}); the next save goes elsewhere",
                reason=Reason.CHECKPOINT_CORRUPT,
            ) from error
        self._check_own(there.nonce, prepared)
        if (there.weights_sha256, there.optimizer_sha256) != (own.weights_sha256, own.optimizer_sha256):
            raise VerificationFailed(
                f"{self._store.uri}/{prepared.directory} already holds other weights at images_seen="
                f"{own.images_seen}; one attempt computed the same step twice with different results",
                reason=Reason.CHECKPOINT_CORRUPT,
            )
        return True

    def _create_manifest(self, prepared: _Prepared) -> None:
        key = prepared.directory + MANIFEST_FILE
        data = seal(prepared.manifest)
        try:
            self._store.create(key, data)
        except ObjectExists:
            if self._store.read(key) != data and not self._is_committed(prepared):
                raise

    def _check_own(self, nonce: str, prepared: _Prepared) -> None:
        if nonce != self._context.nonce:
            raise RunFailed(
                f"{self._store.uri}/{prepared.directory} was committed by another process that calls itself "
                f"attempt {self._context.attempt}; this one stops",
                reason=Reason.FENCED,
            )


def _describe(content: Content) -> tuple[Part, ...]:
    return tuple(
        Part(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in content.items()
    )
