"""From a file to an object, and what is said of a file that is none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from synthray.api.loading import build_training_run, load_training_run
from synthray.api.v1alpha1 import TrainingRun
from synthray.api.yaml_documents import MAX_FILE_BYTES, parse_yaml
from synthray.errors import InvalidInput, NotFound

Load = Callable[..., TrainingRun]
Refusal = Callable[..., str]

HEAD = "apiVersion: synthray.io/v1alpha1\nkind: TrainingRun\n"


def refusal_of_text(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput) as caught:
        load_training_run(path)
    return caught.value.message.replace(str(path), "run.yaml")


EVERY_FIELD = """\
apiVersion: synthray.io/v1alpha1
kind: TrainingRun
metadata: {name: ranzcr-512}
spec:
  seed: 0
  image: ""
  dataset: {uri: s3://xray/ranzcr-512}
  objectStorage: {endpointURL: "http://s3.storage:8333", region: us-east-1,
    credentialsSecretName: s3-credentials, caBundleConfigMapName: ""}
  model: {preset: unconditional-512, initFrom: ""}
  diffusion: {predictionType: v_prediction, schedule: cosine, zeroTerminalSNR: true}
  augmentation: {horizontalFlip: false}
  optimization: {epochs: 220, globalBatchSize: 64, microBatchSize: 4, learningRate: 1.0e-4, precision: auto}
  reduction: exact
  workers:
    replicas: 4
    minReplicas: 1
    maxReplicas: 8
    gpu: {product: Quadro-RTX-6000, perWorker: 1}
    cpu: "4"
    threads: 1
    memory: 16Gi
  checkpoints:
    uri: s3://xray/runs/ranzcr-512
    maxWorkAtRiskSeconds: 600
    keep: {states: 3, modelsEveryNthEpoch: 1, best: 1}
  previews: {seeds: [1, 2, 3, 4], everyEpochs: 1, steps: 50}
  suspend: false
  backoffLimit: 6
  ttlSecondsAfterFinished: null
"""


def test_the_run_that_the_design_shows_loads_and_says_the_same_when_written_back(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(EVERY_FIELD)
    run = load_training_run(path)
    document = run.model_dump(mode="json")
    assert build_training_run(document) == run
    (written,) = parse_yaml(EVERY_FIELD, "run.yaml")
    for room, value in written["spec"].items():
        there = document["spec"][room]
        assert {**there, **value} == there if isinstance(value, dict) else there == value


def test_what_is_left_out_has_its_default(load: Load) -> None:
    spec = load().spec
    assert spec.optimization.learning_rate == 1e-4
    assert (spec.workers.replicas, spec.workers.gpu) == (1, None)
    assert spec.previews.seeds == (1, 2, 3, 4)
    assert spec.model.preset == "unconditional-512"


def test_a_field_without_a_value_counts_as_left_out_as_on_a_cluster(load: Load) -> None:
    assert load("spec.workers=null", "spec.ttlSecondsAfterFinished=null") == load()


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", "1E-4", ".0001"])
def test_a_number_is_a_number_however_it_is_written(load: Load, written: str) -> None:
    assert load(f"spec.optimization.learningRate={written}").spec.optimization.learning_rate == 1e-4


def test_a_quantity_may_be_written_as_a_number(load: Load) -> None:
    assert load("spec.workers.cpu=4").spec.workers.cpu == "4"


def test_an_address_loses_its_trailing_slash(load: Load) -> None:
    assert load("spec.dataset.uri=s3://xray/small/").spec.dataset.uri == "s3://xray/small"


def test_relative_paths_count_from_the_working_directory(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/anna")
    run = load("spec.dataset.uri=data/small", "spec.checkpoints.uri=~/runs/../run", "spec.model.initFrom=./m")
    assert run.spec.dataset.uri == str(tmp_path / "data/small")
    assert run.spec.checkpoints.uri == "/home/anna/run"
    assert run.spec.model.init_from == str(tmp_path / "m")


def test_an_object_from_the_api_server_may_carry_what_kubernetes_adds() -> None:
    run = build_training_run(
        {
            "apiVersion": "synthray.io/v1alpha1",
            "kind": "TrainingRun",
            "metadata": {
                "name": "small",
                "namespace": "x",
                "uid": "123",
                "generation": 4,
                "creationTimestamp": "2026-11-22T10:00:00Z",
                "managedFields": [{"manager": "kubectl"}],
                "fieldOfTomorrow": 1,
            },
            "spec": {
                "dataset": {"uri": "s3://xray/d"},
                "checkpoints": {"uri": "s3://xray/r"},
                "optimization": {"epochs": 3},
            },
            "status": {"state": "Running", "fieldOfTomorrow": 1},
        }
    )
    assert (run.metadata.generation, run.status and run.status.state) == (4, "Running")


def test_an_override_leaves_its_neighbours_alone(load: Load) -> None:
    run = load("spec.optimization.epochs=9", "spec.previews.seeds=[5, 6]", "metadata.name=other")
    assert (run.spec.optimization.epochs, run.spec.optimization.micro_batch_size) == (9, 4)
    assert run.spec.previews.seeds == (5, 6)
    assert run.metadata.name == "other"


def test_of_two_overrides_of_a_field_the_later_wins(load: Load) -> None:
    assert load("spec.seed=1", "spec.seed=2").spec.seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "spec.seed",
            (
                "--set spec.seed is not of the form PATH=VALUE; write for example --set "
                "spec.optimization.epochs=3"
            ),
        ),
        (
            "=3",
            "--set =3 is not of the form PATH=VALUE; write for example --set spec.optimization.epochs=3",
        ),
        (
            "optimization.epochs=3",
            (
                "--set optimization.epochs=3 begins with no field of the file; "
                "write --set spec.optimization.epochs=3"
            ),
        ),
        ("sepc.seed=3", "--set sepc.seed=3 begins with no field of the file; write --set spec.seed=3"),
        (
            "spec.previews.seeds=[1",
            "--set spec.previews.seeds=[1, line 1: expected ',' or ']', but got '<stream end>'",
        ),
        ("kind.x=1", "--set kind.x=1: kind has no fields of its own; give its whole value"),
    ],
)
def test_an_override_of_another_form_is_refused(refusal: Refusal, override: str, message: str) -> None:
    assert refusal(override) == message


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load_training_run(tmp_path / "none.yaml")
    assert caught.value.message == f"{tmp_path}/none.yaml does not exist"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "run.yaml is empty; write a TrainingRun into it (see manifests/examples)"),
        ("---\n---\n", "run.yaml is empty; write a TrainingRun into it (see manifests/examples)"),
        ("- a\n", "run.yaml is not a mapping; write a TrainingRun into it (see manifests/examples)"),
        (
            f"{HEAD}---\n{HEAD}",
            "run.yaml holds 2 documents; keep one TrainingRun in a file",
        ),
        (
            "kind: TrainingRun\n",
            (
                "run.yaml: apiVersion is missing; begin with apiVersion: synthray.io/v1alpha1 and kind: "
                "TrainingRun"
            ),
        ),
        (
            "apiVersion: synthray.io/v1\nkind: TrainingRun\n",
            (
                "run.yaml: apiVersion=synthray.io/v1 is not synthray.io/v1alpha1; this command takes a "
                "TrainingRun"
            ),
        ),
        (
            "apiVersion: synthray.io/v1alpha1\nkind: GenerationService\n",
            "run.yaml: kind=GenerationService is not TrainingRun; this command takes a TrainingRun",
        ),
        (HEAD, "metadata is missing; give it\nspec is missing; give it"),
        (f"{HEAD}spec:\n  seed: 1\n   image: a\n", "run.yaml, line 5: mapping values are not allowed here"),
        (
            f"{HEAD}spec:\n\tseed: 1\n",
            "run.yaml, line 4: found character '\\t' that cannot start any token",
        ),
        (
            f"{HEAD}spec:\n  seed: 1\n  seed: 2\n",
            "run.yaml, line 5: the key seed stands here and on line 4",
        ),
        (
            f"{HEAD}spec: !!python/object:os.system {{}}\n",
            (
                "run.yaml, line 3: could not determine a constructor for the tag "
                "'tag:yaml.org,2002:python/object:os.system'"
            ),
        ),
        (
            "kind: \x00\n",
            "run.yaml holds a character that YAML does not allow",
        ),
        (b"kind: \xff\xfe\n", "run.yaml is not UTF-8 text (byte 6); give a YAML file"),
        (b"#" * (MAX_FILE_BYTES + 1), "run.yaml is larger than 1048576 bytes; it is no description of a run"),
        ("[" * 2000, "run.yaml is no YAML that synthray can read: maximum recursion depth exceeded"),
    ],
)
def test_a_file_that_is_no_training_run_is_refused_with_its_line_or_reason(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    assert refusal_of_text(tmp_path / "run.yaml", text).startswith(message)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_training_run(tmp_path)
    assert caught.value.message == f"{tmp_path} can't be read: Is a directory"


def test_dates_are_text_as_for_kubernetes() -> None:
    assert parse_yaml("a: 2026-01-02", "x") == [{"a": "2026-01-02"}]


def test_merged_mappings_may_repeat_keys() -> None:
    text = "base: &b {x: 1}\nuse:\n  <<: *b\n  x: 2\n"
    assert parse_yaml(text, "x") == [{"base": {"x": 1}, "use": {"x": 2}}]
