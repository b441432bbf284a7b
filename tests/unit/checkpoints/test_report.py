"""The documents behind `synthray checkpoints ... --json`, and models taken out of a run."""

import json

import pytest
from run_contexts import build_identity
from small_run import SmallRun

from synthray.checkpoints.documents import seal, unseal
from synthray.checkpoints.export import export_model
from synthray.checkpoints.identity import claim_prefix
from synthray.checkpoints.layout import digest_file_tensors
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.report import build_details, build_listing, build_verification
from synthray.errors import InvalidInput, NotFound, VerificationFailed
from synthray.storage import ObjectStore


@pytest.fixture
def trained(run: SmallRun) -> SmallRun:
    context = run.begin()
    run.commit(context, 100)
    run.commit(context, 150, model=False)
    run.commit(context, 200)
    return run


def test_the_details_of_the_newest_state_name_everything_that_outside_checks_need(
    trained: SmallRun,
) -> None:
    details = build_details(trained.checkpoints)
    state = f"{trained.store.uri}/states/000000000200-a000001"
    assert details["uri"] == state
    assert details["model_uri"] == f"{trained.store.uri}/models/000000000200-a000001"
    assert {name: details[name] for name in ("run", "attempt", "epoch", "step", "images_seen")} == {
        "run": "small",
        "attempt": 1,
        "epoch": 2,
        "step": 20,
        "images_seen": 200,
    }
    files = trained.files(200)
    for part in ("weights", "ema", "optimizer"):
        assert details[f"{part}_sha256"] == digest_file_tensors(files[part])
    assert (details["config_digest"], details["dataset_digest"]) == ("c" * 64, "d" * 64)
    assert details["fingerprint"] == {"device": "cpu"}
    assert details["created"]
    assert details["parts"][0]["uri"] == f"{state}/weights.safetensors"
    assert {frozenset(part) for part in details["parts"]} == {frozenset({"uri", "bytes", "sha256"})}
    assert len(details["parts"]) == 8
    json.dumps(details)


def test_the_details_of_an_epoch_are_those_of_its_newest_state(trained: SmallRun) -> None:
    details = build_details(trained.checkpoints, epoch=1)
    assert (details["images_seen"], details["model_uri"]) == (150, None)


def test_an_epoch_whose_state_is_gone_is_described_by_its_model(trained: SmallRun) -> None:
    weights_sha256 = build_details(trained.checkpoints, epoch=2)["weights_sha256"]
    trained.store.delete(["states/000000000200-a000001/manifest.json"])
    details = build_details(trained.checkpoints, epoch=2)
    assert (details["kind"], details["weights_sha256"]) == ("model", weights_sha256)


def test_a_listing_tells_the_chain_from_what_is_ignored(trained: SmallRun) -> None:
    trained.begin("000000000150-a000001")
    listing = build_listing(trained.checkpoints)
    assert [state["images_seen"] for state in listing["states"]] == [100, 150]
    assert [model["epoch"] for model in listing["models"]] == [1]
    assert [(one["kind"], one["images_seen"]) for one in listing["ignored"]] == [
        ("state", 200),
        ("model", 200),
    ]
    json.dumps(listing)


def test_verification_reads_everything_and_names_what_is_wrong(trained: SmallRun) -> None:
    assert build_verification(trained.checkpoints)["ok"] is True
    key = "models/000000000100-a000001/unet/diffusion_pytorch_model.safetensors"
    data = trained.store.read(key)
    trained.store.write(key, data[:-1] + bytes([data[-1] ^ 1]))
    answer = build_verification(trained.checkpoints)
    assert answer["ok"] is False
    bad = [checkpoint for checkpoint in answer["checkpoints"] if not checkpoint["ok"]]
    assert [(one["uri"], one["problems"]) for one in bad] == [
        (
            f"{trained.store.uri}/models/000000000100-a000001",
            ["unet/diffusion_pytorch_model.safetensors does not match its SHA-256"],
        )
    ]
    assert build_verification(trained.checkpoints, epoch=2)["ok"] is True


def test_where_there_is_nothing_it_is_said(run: SmallRun) -> None:
    for build in (build_listing, build_details, build_verification):
        with pytest.raises(NotFound, match="holds no checkpoint"):
            build(run.checkpoints)


def test_an_exported_model_is_the_runs_own_files(trained: SmallRun) -> None:
    model = trained.checkpoints.list_models()[-1]
    destination = trained.store.child("exported")
    paths = export_model(trained.checkpoints, model, destination)
    assert paths[-1] == "model_index.json"
    assert sorted(info.key for info in destination.list()) == sorted(part.path for part in model.parts)
    for path in paths:
        assert destination.read(path) == trained.store.read(f"models/{model.name}/{path}")


def test_an_export_overwrites_nothing(trained: SmallRun) -> None:
    destination = trained.store.child("exported")
    destination.write("thesis.tex", b"years of work")
    with pytest.raises(InvalidInput) as caught:
        export_model(trained.checkpoints, trained.checkpoints.list_models()[-1], destination)
    assert (
        caught.value.message == f"{destination.uri} is not empty (thesis.tex); name an empty folder or prefix"
    )


def test_a_damaged_model_is_not_exported(trained: SmallRun) -> None:
    model = trained.checkpoints.list_models()[-1]
    trained.store.write(f"models/{model.name}/unet/config.json", b'{"sample_size": 65}')
    destination = trained.store.child("exported")
    with pytest.raises(VerificationFailed):
        export_model(trained.checkpoints, model, destination)
    assert destination.stat("model_index.json") is None


def test_an_upload_without_a_manifest_is_told_and_is_no_damage(trained: SmallRun) -> None:
    """It may be under way, cut off, or have lost its manifest: that can't be told apart."""
    trained.store.delete(["states/000000000200-a000001/manifest.json"])
    for answer in (build_listing(trained.checkpoints), build_verification(trained.checkpoints)):
        assert [(one["kind"], one["images_seen"], one["problems"]) for one in answer["unfinished"]] == [
            (
                "state",
                200,
                ["manifest.json is missing: an upload under way or cut off, or a manifest that is lost"],
            )
        ]
    assert build_verification(trained.checkpoints)["ok"] is True


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("run.json", "run.json is missing"),
        ("attempts/000001.json", "attempts/000001.json is missing"),
        ("attempts/000001.claim.json", "attempts/000001.claim.json is missing"),
    ],
)
def test_records_of_the_run_that_are_missing_or_damaged_are_problems_of_the_run(
    trained: SmallRun, key: str, problem: str
) -> None:
    assert build_verification(trained.checkpoints)["problems"] == []
    data = trained.store.read(key)
    trained.store.delete([key])
    answer = build_verification(trained.checkpoints)
    assert (answer["ok"], answer["problems"]) == (False, [problem])
    trained.store.write(key, data[:-1])
    assert f"{key} is damaged" in build_listing(trained.checkpoints)["problems"][0]
    trained.check_loads(200)


def test_attempts_of_which_nothing_is_left_are_missed(trained: SmallRun) -> None:
    trained.begin("000000000200-a000001")
    trained.store.delete([info.key for info in trained.store.list("attempts/000001")])
    assert build_listing(trained.checkpoints)["problems"] == ["attempts/000001.json is missing"]


def test_a_manifest_that_was_sealed_anew_is_told_from_the_one_that_others_saw(trained: SmallRun) -> None:
    """Its digest is right, but its state names another model, and the next attempt resumed from another."""
    trained.begin("000000000200-a000001")
    for kind, problem in (
        ("models", "manifest.json is not the one that its state names"),
        ("states", "manifest.json is not the one that the newest attempt resumed from"),
    ):
        key = f"{kind}/000000000200-a000001/manifest.json"
        data = trained.store.read(key)
        manifest = unseal(Manifest, data)
        trained.store.write(key, seal(manifest.model_copy(update={"epoch": 7})))
        answer = build_verification(trained.checkpoints)
        bad = [problem for one in answer["checkpoints"] for problem in one["problems"]]
        assert (answer["ok"], bad) == (False, [problem])
        trained.store.write(key, data)
    assert build_verification(trained.checkpoints)["ok"] is True


def test_a_manifest_for_which_a_copy_stands_in_is_missed(trained: SmallRun) -> None:
    trained.begin("000000000200-a000001")
    key = "states/000000000200-a000001/manifest.json"
    trained.store.delete([key])
    assert build_listing(trained.checkpoints)["problems"] == [
        f"{key} is missing; the newest attempt's copy stands in for it"
    ]
    assert [state["images_seen"] for state in build_listing(trained.checkpoints)["states"]] == [100, 150, 200]


def test_what_lies_off_the_chain_is_verified_and_does_not_count(trained: SmallRun) -> None:
    trained.store.write("states/000000000200-a000001/progress.json", b'{\n "images_seen": 201\n}')
    trained.begin("000000000150-a000001")
    answer = build_verification(trained.checkpoints)
    assert answer["ok"] is True
    assert [(one["kind"], one["problems"]) for one in answer["ignored"]] == [
        ("state", ["progress.json does not match its SHA-256"]),
        ("model", []),
    ]


def test_what_retention_removes_while_it_is_verified_is_no_damage(
    trained: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_into = type(trained.store).read_into
    prefix = "states/000000000100-a000001/"

    def remove_first(self: ObjectStore, key: str, buffer: memoryview, **arguments: int) -> None:
        if key.startswith(prefix):
            self.delete([f"{prefix}manifest.json", key])
        read_into(self, key, buffer, **arguments)

    monkeypatch.setattr(type(trained.store), "read_into", remove_first)
    assert build_verification(trained.checkpoints)["ok"] is True


def test_an_identity_of_another_run_is_told_unless_the_prefix_was_adopted(trained: SmallRun) -> None:
    other = build_identity("other")
    trained.store.write("run.json", seal(other))
    assert build_listing(trained.checkpoints)["problems"] == [
        "run.json is of another run, data or configuration than checkpoint 000000000200-a000001"
    ]
    claim_prefix(trained.store, other, adopt=True)
    assert build_listing(trained.checkpoints)["problems"] == []
