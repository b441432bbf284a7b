"""A run in a real bucket: its models are loaded, drawn from in other processes, shown and verified."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from committed_run import CommittedRun

from synthray.errors import NotFound, VerificationFailed
from synthray.generation.gallery import write_gallery
from synthray.generation.generator import Generator
from synthray.generation.models import load_model
from synthray.generation.previews import render_previews
from synthray.generation.profile import STRICT_1
from synthray.generation.receipts import PreviewOrigin
from synthray.generation.verify import read_evidence, verify_images
from synthray.storage import ObjectStore, S3Settings

SEEDS = [40, 41, 42]
DRAW = """
import json, os, sys
from synthray.generation.generator import Generator
from synthray.generation.models import load_model
from synthray.generation.profile import STRICT_1
from synthray.storage import s3_settings_from_environment

model = load_model(sys.argv[1], s3_settings_from_environment(os.environ))
generator = Generator(model.unet, model.schedule, model.prediction_type, STRICT_1)
images = generator.generate(json.loads(sys.argv[2]), "ddim", 5)
print(json.dumps({image.seed: image.sha256 for image in images}))
"""


@pytest.fixture
def run(s3: ObjectStore, s3_settings: S3Settings) -> CommittedRun:
    return CommittedRun(s3, s3_settings)


def draw_elsewhere(
    uri: str, seeds: list[int], environment: Mapping[str, str], threads: int
) -> dict[str, str]:
    """Digests by seed, drawn by a process of its own whose surroundings ask for so many threads."""
    finished = subprocess.run(
        [sys.executable, "-c", DRAW, uri, json.dumps(seeds)],
        env={**os.environ, **environment, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    digests: dict[str, str] = json.loads(finished.stdout)
    return digests


def test_a_seed_gives_the_same_bytes_in_another_process_with_other_threads_and_neighbours(
    run: CommittedRun, s3_environment: Mapping[str, str]
) -> None:
    run.commit(100)
    model = load_model(run.store.uri, run.settings)
    generator = Generator(model.unet, model.schedule, model.prediction_type, STRICT_1)
    here = {str(image.seed): image.sha256 for image in generator.generate(SEEDS, "ddim", 5)}
    assert draw_elsewhere(run.store.uri, [42], s3_environment, threads=3) == {"42": here["42"]}


def test_a_runs_previews_are_verified_against_its_models_and_shown(
    run: CommittedRun, s3: ObjectStore
) -> None:
    name = run.commit(100)
    keys = [
        key
        for weights, folder in (("ema", "models"), ("raw", "states"))
        for key in render_previews(
            run.unet(100, weights),
            run.schedule,
            run.prediction_type,
            store=run.store,
            checkpoint_uri=f"{run.store.uri}/{folder}/{name}",
            origin=PreviewOrigin.model_validate(
                {"run": "tiny", "images_seen": 100, "epoch": 1, "weights": weights}
            ),
            seeds=SEEDS,
            steps=2,
        )
    ]
    images = [read_evidence(run.store.read(key), key) for key in keys]
    verdicts = list(verify_images(images, lambda uri: load_model(uri, run.settings)))
    assert [verdict.differences for verdict in verdicts] == [()] * 6
    page = s3.child("page")
    assert write_gallery(run.store, page).num_pictures == 6
    assert next(info.key for info in page.list()) == "index.html"


def test_damage_and_absence_in_a_bucket_are_told_apart(run: CommittedRun) -> None:
    name = run.commit(100)
    key = f"models/{name}/unet/config.json"
    run.store.write(key, run.store.read(key).replace(b"16", b"32", 1))
    with pytest.raises(VerificationFailed, match="does not match its SHA-256"):
        load_model(run.store.uri, run.settings)
    with pytest.raises(NotFound, match="does not exist or is empty"):
        load_model(f"{run.store.uri}/elsewhere", run.settings)
