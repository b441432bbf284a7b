"""A prefix belongs to one run."""

import pytest
from run_contexts import build_identity
from small_run import SmallRun

from synthray.checkpoints.documents import seal
from synthray.checkpoints.identity import RunIdentity, claim_prefix, read_identity
from synthray.errors import InvalidInput, Reason
from synthray.storage import ObjectStore

MINE = RunIdentity(
    run="ranzcr",
    config_digest="a" * 64,
    config={"seed": 0, "model": {"channels": (32, 64)}},
    dataset_digest="b" * 64,
)


def refuse(store: ObjectStore, identity: RunIdentity) -> str:
    with pytest.raises(InvalidInput) as caught:
        claim_prefix(store, identity)
    assert caught.value.reason is Reason.PREFIX_IN_USE
    return caught.value.message


def test_the_first_claim_writes_the_identity_and_later_ones_agree_with_it(local_store: ObjectStore) -> None:
    assert read_identity(local_store) is None
    claim_prefix(local_store, MINE)
    claim_prefix(local_store, MINE.model_copy(update={"created": "later"}))
    identity = read_identity(local_store)
    assert identity is not None
    assert identity.created == MINE.created


def test_another_run_or_dataset_is_refused_with_what_differs_and_the_remedy(local_store: ObjectStore) -> None:
    claim_prefix(local_store, MINE)
    other = MINE.model_copy(update={"run": "nih", "dataset_digest": "c" * 64})
    assert refuse(local_store, other) == (
        f"{local_store.uri} holds checkpoints of another run: run is 'ranzcr' there and 'nih' here; "
        f"dataset_digest is '{'b' * 64}' there and '{'c' * 64}' here. "
        "Use another checkpoints.uri, or --adopt to go on from them all the same"
    )


def test_of_another_configuration_the_fields_that_differ_are_named(local_store: ObjectStore) -> None:
    claim_prefix(local_store, MINE)
    other = MINE.model_copy(update={"config_digest": "e" * 64, "config": {**MINE.config, "seed": 1}})
    assert ": seed is 0 there and 1 here. " in refuse(local_store, other)


def test_adopting_makes_the_prefix_ones_own(local_store: ObjectStore) -> None:
    claim_prefix(local_store, MINE)
    other = MINE.model_copy(update={"run": "nih"})
    claim_prefix(local_store, other, adopt=True)
    claim_prefix(local_store, other)
    assert "run is 'nih' there" in refuse(local_store, MINE)


def test_a_damaged_identity_is_refused_with_the_remedy_and_mended_by_adopting(
    local_store: ObjectStore,
) -> None:
    local_store.write("run.json", b'{"run": "ranzcr"}')
    with pytest.raises(InvalidInput, match=r"run\.json is damaged .* let --adopt write it anew") as caught:
        claim_prefix(local_store, MINE)
    assert caught.value.reason is Reason.CHECKPOINT_CORRUPT
    claim_prefix(local_store, MINE, adopt=True)
    claim_prefix(local_store, MINE)


def test_where_the_identity_was_lost_the_checkpoints_say_whose_they_are(run: SmallRun) -> None:
    run.commit(run.begin(), 100)
    run.store.delete(["run.json"])
    assert "run is 'small' there and 'ranzcr' here" in refuse(run.store, MINE)
    assert run.store.stat("run.json") is None
    claim_prefix(run.store, build_identity("small"))
    assert read_identity(run.store) == build_identity("small")


def test_of_two_runs_that_claim_a_prefix_at_once_one_is_refused(
    local_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = type(local_store).create

    def create_second(self: ObjectStore, key: str, data: bytes) -> None:
        create(self, key, seal(build_identity("small")))
        create(self, key, data)

    monkeypatch.setattr(type(local_store), "create", create_second)
    assert "run is 'small' there and 'ranzcr' here" in refuse(local_store, MINE)
