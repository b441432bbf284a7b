"""What must hold before any worker starts, checked on the driver's CPU.

Credentials, conditional writes, the dataset, the prefix's owner and the run's newest good state: all of it is
looked at before a GPU is taken, so that a run that can't start says so at once. No torch, no Ray.
"""

import logging
import os
import socket
from dataclasses import dataclass, field
from datetime import datetime

from synthray.checkpoints.attempts import AttemptRecord, begin_attempt, newest_attempt
from synthray.checkpoints.identity import RunIdentity, claim_prefix, read_identity
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.store import CheckpointStore
from synthray.data.dataset import DatasetDescription, read_description
from synthray.errors import InvalidInput, Reason, VerificationFailed
from synthray.storage import ObjectStore, check_conditional_writes, open_store
from synthray.training.attempt_history import Losses, has_ended, list_faults, read_records
from synthray.training.decisions import Decision
from synthray.training.ledger import Planned
from synthray.training.missing_previews import observe_missing_previews
from synthray.training.plan import BatchPlan
from synthray.training.settings import AttemptSettings, RunSettings

_log = logging.getLogger(__name__)

_MOST_ATTEMPTS_READ = 100
_PATH_FIELDS = ("optimization.globalBatchSize", "optimization.microBatchSize")


@dataclass(frozen=True)
class Preflight:
    """What was found: the run's path, and where its checkpoints are."""

    plan: BatchPlan
    store: ObjectStore
    began: float
    """When the run began, in seconds since 1970."""
    losses: Losses = field(default_factory=Losses)


def check_run(settings: RunSettings, *, adopt: bool) -> Preflight:
    """Check everything that a run needs, and claim the prefix for it.

    Raises InvalidInput, NotFound or Unavailable with what to change.
    """
    places = settings.storage
    description = read_description(open_store(places.dataset_uri, places.s3))
    _check_fits(settings, description)
    plan = BatchPlan(
        num_samples=description.num_train,
        epochs=settings.epochs,
        global_batch_size=settings.global_batch_size,
        micro_batch_size=settings.micro_batch_size,
    )
    store = open_store(places.checkpoints_uri, places.s3)
    check_conditional_writes(store)
    identity = RunIdentity(
        run=settings.run,
        config_digest=settings.config_digest,
        config=dict(settings.config),
        dataset_digest=description.digest,
    )
    if adopt:
        _check_adoptable(store, identity)
    claim_prefix(store, identity, adopt=adopt)
    there = read_identity(store) or identity
    return Preflight(plan, store, datetime.fromisoformat(there.created).timestamp())


def _check_adoptable(store: ObjectStore, identity: RunIdentity) -> None:
    """Another run's states can be taken over only by the same network on the same path of batches."""
    there = read_identity(store)
    if there is None or there.config_digest == identity.config_digest:
        return
    fields = sorted(
        field
        for field in there.config.keys() | identity.config.keys()
        if (field.startswith("model.") or field in _PATH_FIELDS)
        and there.config.get(field) != identity.config.get(field)
    )
    if fields:
        differences = "; ".join(
            f"spec.{field} is {there.config.get(field)!r} there and {identity.config.get(field)!r} here"
            for field in fields
        )
        raise InvalidInput(
            f"--adopt can't go on from the states in {store.uri}: {differences}. Give these fields those "
            "values, or begin another run with spec.model.initFrom",
            reason=Reason.PREFIX_IN_USE,
        )


def _check_fits(settings: RunSettings, description: DatasetDescription) -> None:
    architecture, uri = settings.architecture, settings.storage.dataset_uri
    if description.image_size_px != architecture.resolution_px:
        raise InvalidInput(
            f"spec.model has resolution={architecture.resolution_px} and the images of {uri} have "
            f"{description.image_size_px} px; prepare them with --size {architecture.resolution_px} or "
            "choose another model",
            reason=Reason.DATASET_MISMATCH,
        )
    if description.channels != architecture.channels:
        raise InvalidInput(
            f"spec.model has channels={architecture.channels} and the images of {uri} have "
            f"{description.channels}; prepare them with --channels {architecture.channels} or set "
            f"spec.model.channels={description.channels}",
            reason=Reason.DATASET_MISMATCH,
        )


def observe_resume_point(preflight: Preflight, excluded: frozenset[str]) -> Manifest | None:
    """The newest committed state that this run can go on from; `excluded` ones proved to be corrupt.

    Raises InvalidInput where going on would throw away what the run has: epochs were lowered, or raised and
    no state at a whole batch is left; VerificationFailed where there are states and none can be used.
    """
    plan, unfit, unusable = preflight.plan, None, []
    states, _ = CheckpointStore(preflight.store).list_checkpoints("state")
    for state in reversed(states):
        if state.manifest is None or not state.is_sound:
            _log.warning("state %s can't be used: %s", state.name, "; ".join(state.problems))
            unusable.append(str(state.name))
        elif str(state.name) in excluded:
            unusable.append(str(state.name))
        else:
            if state.manifest.images_seen > plan.images_total:
                raise InvalidInput(_describe_lowered_epochs(plan, state.manifest.images_seen))
            if plan.resumable(state.manifest.images_seen):
                return state.manifest
            unfit = unfit or state.manifest
    if unfit is not None and unfit.images_seen >= plan.global_batch_size:
        raise InvalidInput(
            f"spec.optimization.epochs={plan.epochs} can't go on from state {unfit.name}: its last batch was "
            "short, and no earlier state was kept; use another spec.checkpoints.uri"
        )
    if unusable and unfit is None:
        raise VerificationFailed(
            f"{preflight.store.uri} has states and none can be read intact: {', '.join(unusable)}. Nothing "
            "was changed or begun anew; `synthray checkpoints verify` says what is wrong with them. "
            "Where the objects are whole, a machine on the way spoils what is read: go on from another one. "
            "To begin anew, use another spec.checkpoints.uri",
            reason=Reason.CHECKPOINT_CORRUPT,
        )
    return None


def _describe_lowered_epochs(plan: BatchPlan, images_seen: int) -> str:
    epochs = -(-images_seen // plan.num_samples)
    return (
        f"spec.optimization.epochs={plan.epochs} ends at {plan.images_total} images and the run has seen "
        f"{images_seen}; use {epochs} or more, or another spec.checkpoints.uri"
    )


def is_complete(settings: RunSettings, preflight: Preflight, resume_point: Manifest | None) -> bool:
    """Whether nothing is left to do: all images seen, the model saved, the last previews drawn.

    Raises Unavailable.
    """
    if resume_point is None or resume_point.images_seen < preflight.plan.images_total:
        return False
    if resume_point.model_sha256 is None:
        return False
    return not observe_missing_previews(
        preflight.store,
        settings.previews,
        epoch=resume_point.epoch,
        images_seen=resume_point.images_seen,
    )


def start_attempt(
    preflight: Preflight, resume_point: Manifest | None, *, images_reached: int | None, cause: Decision | None
) -> AttemptSettings:
    """Create the next attempt in the bucket: from here on every earlier one is fenced off.

    `images_reached` is how far the driver's last segment got, if it came to a step; `cause` is why it ended,
    None for a driver's first attempt. May be called again after it raised Unavailable.
    """
    store = preflight.store
    resumes_from = str(resume_point.name) if resume_point else None
    resumed_images = resume_point.images_seen if resume_point else 0
    preflight.losses.note_end(images_reached=images_reached or 0, resumed_images=resumed_images)
    reason, message = _explain_start(store, cause)
    driver = f"{socket.gethostname()}/{os.getpid()}"
    record: AttemptRecord = begin_attempt(store, driver, resumes_from, reason=reason)
    preflight.losses.note_start(record.number)
    _log.info("attempt %d goes on from %s", record.number, resumes_from or "nothing")
    source = resume_point.attempt if resume_point else 0
    between = range(max(source + 1, record.number - _MOST_ATTEMPTS_READ), record.number)
    return AttemptSettings(
        number=record.number,
        nonce=record.nonce,
        resumes_from=resumes_from,
        began=preflight.began,
        redone_images=preflight.losses.since(source),
        faults=list_faults([*read_records(store, between), record], {record.number: message}),
    )


def _explain_start(store: ObjectStore, cause: Decision | None) -> tuple[str, str]:
    """Why an attempt begins: what its driver saw of the last one, or what a new driver can tell of it."""
    if cause is not None:
        return (str(cause.reason), cause.message) if cause.reason else (str(Planned.STARTED), "")
    last = newest_attempt(store)
    if last == 0 or has_ended(store, last):
        return str(Planned.STARTED), ""
    return str(Reason.DRIVER_LOST), f"attempt {last} and its driver ended without a word"
