import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from committed_run import CommittedRun
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

from synthray.checkpoints.documents import seal
from synthray.checkpoints.export import export_model
from synthray.checkpoints.store import CheckpointStore
from synthray.diffusion.schedule import build_schedule, scheduler_config
from synthray.errors import InvalidInput, NotFound, Reason, SynthrayError, VerificationFailed
from synthray.generation.models import LoadedModel, load_model
from synthray.storage import S3Settings, open_store


def same_weights(left: UNet2DModel, right: UNet2DModel) -> bool:
    theirs = right.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in left.state_dict().items())


def load(folder: Path | str) -> LoadedModel:
    return load_model(str(folder), S3Settings())


def refused(folder: Path | str, kind: type[SynthrayError] = InvalidInput) -> str:
    with pytest.raises(kind) as refusal:
        load(folder)
    return refusal.value.message


@pytest.fixture
def exported(run: CommittedRun, tmp_path: Path) -> Path:
    run.commit(100)
    checkpoints = CheckpointStore(run.store)
    export_model(checkpoints, checkpoints.list_models()[-1], open_store(str(tmp_path / "out"), S3Settings()))
    return tmp_path / "out"


def test_a_runs_prefix_means_its_newest_model(run: CommittedRun) -> None:
    first = run.commit(100)
    second = run.commit(200, resumes_from=first)
    model = load(run.store.uri)
    assert model.identity.uri == f"{run.store.uri}/models/{second}"
    assert same_weights(model.unet, run.unet(200, "ema"))
    assert not model.unet.training
    assert model.prediction_type == "v_prediction"
    assert np.allclose(model.schedule.alphas_cumprod, run.schedule.alphas_cumprod, atol=1e-12)


def test_models_that_are_not_on_the_accepted_chain_are_passed_over(run: CommittedRun) -> None:
    first = run.commit(100)
    run.commit(900, resumes_from=first)
    kept = run.commit(200, resumes_from=first)
    assert load(run.store.uri).identity.uri.endswith(kept)


def test_an_epochs_or_the_best_model_is_chosen_on_request(run: CommittedRun) -> None:
    name = None
    for images_seen, loss in ((100, 0.3), (200, 0.1), (300, 0.2)):
        name = run.commit(images_seen, resumes_from=name, validation_loss=loss)

    def chosen(which: str | int) -> str:
        return load_model(run.store.uri, run.settings, which=which).identity.uri.rpartition("/")[2]

    assert chosen("best").startswith("000000000200")
    assert chosen(1).startswith("000000000100")
    assert chosen("3") == chosen("latest") == name


@pytest.mark.parametrize(
    ("which", "kind", "complaint"),
    [
        (
            "newest",
            InvalidInput,
            "checkpoint=newest is not known; use latest, best or the number of an epoch",
        ),
        ("best", NotFound, "holds no model with a validation loss; use latest or an epoch"),
        (7, NotFound, "holds no checkpoint of epoch 7; there are epochs 1"),
    ],
)
def test_a_choice_that_a_run_does_not_offer_is_refused(
    run: CommittedRun, which: str | int, kind: type[SynthrayError], complaint: str
) -> None:
    run.commit(100)
    with pytest.raises(kind) as refusal:
        load_model(run.store.uri, run.settings, which=which)
    assert refusal.value.message.endswith(complaint)


def test_a_run_without_models_is_not_found(run: CommittedRun) -> None:
    run.commit(100, model=False)
    assert refused(run.store.uri, NotFound) == f"{run.store.uri} holds no checkpoint yet"


def test_a_checkpoint_is_loaded_by_its_own_name_even_off_the_chain(run: CommittedRun) -> None:
    first = run.commit(100)
    lost = run.commit(900, resumes_from=first)
    run.commit(200, resumes_from=first)
    model = load(f"{run.store.uri}/models/{lost}/")
    assert same_weights(model.unet, run.unet(900, "ema"))


def test_a_state_is_the_model_of_its_raw_weights(run: CommittedRun) -> None:
    name = run.commit(100)
    model = load(f"{run.store.uri}/states/{name}")
    assert same_weights(model.unet, run.unet(100, "raw"))
    assert model.identity.uri == f"{run.store.uri}/states/{name}"


def test_the_digest_is_the_one_that_the_manifest_names(run: CommittedRun) -> None:
    name = run.commit(100)
    checkpoints = CheckpointStore(run.store)
    state = checkpoints.list_states()[-1]
    assert load(run.store.uri).identity.digest == state.ema_sha256
    assert load(f"{run.store.uri}/states/{name}").identity.digest == state.weights_sha256


def test_a_checkpoint_that_was_never_committed_is_not_found(run: CommittedRun) -> None:
    name = run.commit(100)
    run.store.delete([f"models/{name}/manifest.json"])
    uri = f"{run.store.uri}/models/{name}"
    assert refused(uri, NotFound) == f"{uri} was not committed or is gone"


@pytest.mark.parametrize("file", ["manifest.json", "unet/diffusion_pytorch_model.safetensors"])
def test_a_changed_byte_in_a_runs_model_is_noticed(run: CommittedRun, file: str) -> None:
    name = run.commit(100)
    key = f"models/{name}/{file}"
    data = bytearray(run.store.read(key))
    data[-2] ^= 1
    run.store.write(key, bytes(data))
    assert key in refused(f"{run.store.uri}/models/{name}", VerificationFailed)


def test_weights_other_than_the_manifest_names_are_noticed(run: CommittedRun) -> None:
    name = run.commit(100)
    [manifest] = CheckpointStore(run.store).list_models()
    forged = manifest.model_copy(update={"ema_sha256": "0" * 64})
    run.store.write(f"models/{name}/manifest.json", seal(forged))
    assert refused(run.store.uri, VerificationFailed) == (
        f"{run.store.uri}/models/{name}: the weights' digest is {manifest.ema_sha256}, "
        f"and the manifest says {'0' * 64}"
    )


def test_a_model_is_the_same_wherever_it_lies(run: CommittedRun, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "unet", tmp_path / "alone" / "unet")
    in_run, out, unet = load(run.store.uri), load(exported), load(exported / "unet")
    assert same_weights(in_run.unet, out.unet)
    assert in_run.identity.digest == out.identity.digest == unet.identity.digest
    assert (
        in_run.identity.architecture_digest
        == out.identity.architecture_digest
        == unet.identity.architecture_digest
    )
    # Away from its pipeline, a network's schedule is diffusers' default, which is another model.
    alone = load(tmp_path / "alone" / "unet")
    assert alone.prediction_type == "epsilon"
    assert alone.identity.digest == out.identity.digest
    assert alone.identity.architecture_digest != out.identity.architecture_digest


def test_a_pipeline_that_diffusers_saved_is_loaded(run: CommittedRun, exported: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        DDPMPipeline.from_pretrained(exported).save_pretrained(tmp_path / "saved")
    model = load(tmp_path / "saved")
    assert same_weights(model.unet, run.unet(100, "ema"))
    assert model.identity.digest == load(exported).identity.digest


def test_attention_weights_by_their_former_names_are_loaded(exported: Path) -> None:
    path = exported / "unet/diffusion_pytorch_model.safetensors"
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for present, old in former.items():
        tensors = {name.replace(f".{present}.", f".{old}."): tensor for name, tensor in tensors.items()}
    before = load(exported)
    save_file(tensors, path)
    assert load(exported).identity == before.identity


def test_half_precision_weights_become_float32(exported: Path) -> None:
    path = exported / "unet/diffusion_pytorch_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    assert {parameter.dtype for parameter in load(exported).unet.parameters()} == {torch.float32}


def test_a_place_with_nothing_is_not_found(tmp_path: Path) -> None:
    assert refused(tmp_path / "no", NotFound) == (
        f"{tmp_path}/no does not exist or is empty; name a run's prefix or a model's folder"
    )


def test_a_folder_of_other_things_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert refused(tmp_path) == (
        f"{tmp_path} is not a model: it has neither run.json (a run's checkpoints) nor model_index.json "
        "(a diffusers pipeline) nor config.json (a diffusers UNet2DModel); it holds a.jpg, b.jpg"
    )


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "model.safetensors" in refused(tmp_path / "model.safetensors", SynthrayError)


def test_choosing_among_one_is_refused(exported: Path) -> None:
    with pytest.raises(InvalidInput, match=r"out is no run's prefix, where there would be best to choose"):
        load_model(str(exported), S3Settings(), which="best")


@pytest.mark.parametrize(
    "file",
    ["unet/config.json", "scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.safetensors"],
)
def test_each_missing_file_of_a_pipeline_is_named(exported: Path, file: str) -> None:
    (exported / file).unlink()
    assert refused(exported) == (
        f"{exported} is not a whole model: {file} is missing; save it anew with save_pretrained"
    )


def test_pickled_weights_are_never_loaded(exported: Path) -> None:
    weights = exported / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert refused(exported) == (
        f"{exported}: unet/diffusion_pytorch_model.safetensors is missing; weights that may be pickled are "
        "there, which are never loaded: save them anew with save_pretrained(..., safe_serialization=True)"
    )


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "only UNet2DModel is supported"),
        ({"num_class_embeds": 10}, "it is conditioned on classes; only unconditional models are supported"),
        ({"in_channels": 4}, "in_channels, out_channels=(4, 1); images need 1 or 3 of both"),
        ({"sample_size": None}, "unet/config.json has sample_size=None; images need 1 to 4096 px a side"),
        ({"down_block_types": ["Nothing"] * 2}, "unet/config.json describes no network"),
        ({"block_out_channels": [8, 32]}, "and unet/config.json asks for"),
        ({"layers_per_block": 2}, "the weights lack "),
    ],
)
def test_a_network_that_is_not_ours_is_refused_by_what_is_wrong(
    exported: Path, changes: dict[str, object], complaint: str
) -> None:
    edit(exported / "unet/config.json", **changes)
    assert complaint in refused(exported)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"trained_betas": None, "beta_schedule": "sigmoid"}, "beta_schedule=sigmoid is not supported"),
        ({"trained_betas": ["a"]}, "scheduler_config.json describes no noise schedule"),
        ({"prediction_type": "flow"}, "predictionType=flow is unknown"),
    ],
)
def test_a_schedule_that_is_not_known_is_refused(
    exported: Path, changes: dict[str, object], complaint: str
) -> None:
    edit(exported / "scheduler/scheduler_config.json", **changes)
    assert complaint in refused(exported)


def truncated(data: bytes) -> bytes:
    return data[:-8]


def pickled(data: bytes) -> bytes:
    return b"\x80\x04\x95" + data


def empty(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [truncated, pickled, empty])
def test_damaged_weights_are_refused(exported: Path, damage: Callable[[bytes], bytes]) -> None:
    path = exported / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert "the weights are not a safetensors file of float32 or float16" in refused(exported)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 9000, "\ud800"])
def test_damaged_configurations_are_refused(exported: Path, text: str) -> None:
    (exported / "unet/config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInput, match=r"unet/config\.json is not (JSON|a JSON object)") as refusal:
        load(exported)
    assert refusal.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize("name", ["linear", "cosine", "shifted_cosine"])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_every_schedule_is_read_from_a_folder_as_it_was_written(
    exported: Path, name: str, zero_terminal_snr: bool
) -> None:
    schedule = build_schedule(name, 16, zero_terminal_snr)
    file = exported / "scheduler/scheduler_config.json"
    file.write_text(json.dumps(scheduler_config(schedule, "v_prediction")))
    assert np.allclose(load(exported).schedule.alphas_cumprod, schedule.alphas_cumprod, rtol=1e-9, atol=1e-12)
