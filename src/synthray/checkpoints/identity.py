"""Whose prefix this is: the run, configuration and data that a prefix's checkpoints belong to.

The first attempt writes `run.json`; all later ones compare. So a mistyped URI can neither mix two runs nor
make one resume from another's weights.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from synthray.checkpoints.documents import DamagedDocument, Document, read_document, seal, unseal
from synthray.checkpoints.manifest import Digest
from synthray.checkpoints.names import IDENTITY_KEY
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import InvalidInput, NotFound, Reason
from synthray.storage import ObjectExists, ObjectStore

_FORMAT_VERSION = 1
_MAX_NAMED_DIFFERENCES = 5


class RunIdentity(Document):
    """`config` holds the named fields behind `config_digest`, so that a difference can be named.

    `adopted` says that the prefix was another run's, so that earlier checkpoints speak of that one.
    """

    format_version: Annotated[int, Field(ge=1, le=_FORMAT_VERSION)] = _FORMAT_VERSION
    run: str
    config_digest: Digest
    config: dict[str, Any]
    dataset_digest: Digest
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    # Left out where it says nothing, so that earlier identities are still what their digests say.
    adopted: Annotated[bool, Field(exclude_if=lambda adopted: not adopted)] = False


def read_identity(store: ObjectStore) -> RunIdentity | None:
    """The identity of the run at `store`; None if there is none; InvalidInput if it is damaged."""
    try:
        return read_document(store, IDENTITY_KEY, lambda data: unseal(RunIdentity, data))
    except NotFound:
        return None
    except DamagedDocument as error:
        raise InvalidInput(
            f"{store.uri}/{IDENTITY_KEY} is damaged ({error}); make sure that these are this run's "
            "checkpoints and let --adopt write it anew, or use another checkpoints.uri",
            reason=Reason.CHECKPOINT_CORRUPT,
        ) from error


def claim_prefix(store: ObjectStore, identity: RunIdentity, *, adopt: bool = False) -> None:
    """Make `store` this run's prefix, or check that it is.

    With `adopt`, another run's checkpoints become this run's. Raises InvalidInput(PREFIX_IN_USE).
    """
    if adopt:
        store.write(IDENTITY_KEY, seal(identity.model_copy(update={"adopted": True})))
        return
    present = read_identity(store)
    if present is None:
        # Where run.json was lost, checkpoints still say whose they are.
        present = _identity_of_checkpoints(store) or identity
        if not list_differences(present, identity):
            try:
                store.create(IDENTITY_KEY, seal(identity))
            except ObjectExists:
                present = read_identity(store) or identity
    differences = list_differences(present, identity)
    if differences:
        raise InvalidInput(
            f"{store.uri} holds checkpoints of another run: {'; '.join(differences)}. Use another "
            "checkpoints.uri, or --adopt to go on from them all the same",
            reason=Reason.PREFIX_IN_USE,
        )


def _identity_of_checkpoints(store: ObjectStore) -> RunIdentity | None:
    """Whose the newest state or model says that it is; None if there is none."""
    checkpoints = CheckpointStore(store)
    newest = [*checkpoints.list_models()[-1:], *checkpoints.list_states()[-1:]]
    if not newest:
        return None
    manifest = newest[-1]
    return RunIdentity(
        run=manifest.run,
        config_digest=manifest.config_digest,
        config=manifest.config,
        dataset_digest=manifest.dataset_digest,
    )


def list_differences(there: RunIdentity, here: RunIdentity) -> list[str]:
    """What tells two identities apart, one readable phrase for each field."""
    pairs = [("run", there.run, here.run), ("dataset_digest", there.dataset_digest, here.dataset_digest)]
    if there.config_digest != here.config_digest:
        old_config, new_config = (one.model_dump(mode="json")["config"] for one in (there, here))
        fields = sorted(old_config.keys() | new_config.keys())
        named = [(field, old_config.get(field), new_config.get(field)) for field in fields]
        changed = [pair for pair in named if pair[1] != pair[2]]
        pairs += changed[:_MAX_NAMED_DIFFERENCES] or [
            ("config_digest", there.config_digest, here.config_digest)
        ]
    return [f"{field} is {old!r} there and {new!r} here" for field, old, new in pairs if old != new]
