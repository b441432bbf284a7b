"""A service that follows a run while it trains: scaled, robbed of a replica, rolled from model to model.

Nobody who asks is turned away, and each answer has the bytes that `synthray generate` gives for its model.
"""

import json
import time

import pytest
from installation import ProjectImages
from live_service import Client, LiveService, Told
from tiny_run import TinyRun

from synthray.generation.generator import Generator
from synthray.generation.models import load_model
from synthray.generation.profile import STRICT_1
from synthray.storage import s3_settings_from_environment

from .conftest import STORY_EPOCHS, WriteRun

SEEDS, STEPS, JOB_IMAGES = 4, 3, 2000
TOKEN = "a-token-of-the-test-alone"  # noqa: S105


def draw(run: TinyRun, model: str) -> list[str]:
    """As `synthray generate` does."""
    settings = s3_settings_from_environment(run.environment)
    loaded = load_model(f"{run.checkpoints_uri}/models/{model}", settings)
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    return [image.sha256 for image in generator.generate(range(SEEDS), "ddim", STEPS)]


@pytest.mark.long_story
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("installation")
def test_a_service_follows_its_run_and_answers_whatever_happens_to_its_replicas(
    write_run: WriteRun, images: ProjectImages
) -> None:
    story = write_run(epochs=STORY_EPOCHS)
    run = story.live
    service = LiveService(run.programs, run.namespace, "images")
    service.apply(
        model={"trainingRun": "tiny"},
        replicas=1,
        sampler={"name": "ddim", "steps": STEPS},
        jobs={"uri": f"{story.kept.checkpoints_uri}-images"},
        tokenSecretName="door",
    )
    service.wait_for("word of the missing run", lambda status: "TrainingRun tiny" in str(status))
    assert service.replica_pods() == [], "no replica is started without a model"

    run.apply(story.kept)
    service.wait_for("word of the missing token", lambda status: "create secret generic door" in str(status))
    service.kubectl("create", "secret", "generic", "door", f"--from-literal=token={TOKEN}")
    url = service.wait_for_replicas(1)["url"]
    client = Client(service, images.worker, SEEDS, STEPS, TOKEN)
    client.start(url)
    client.wait_for("answer", lambda told: told.answers > 10)
    assert client.ask(url, "GET", "/v1/models", token=TOKEN[::-1])[0] == 401
    asked = json.dumps({"seed": 0, "n": JOB_IMAGES, "steps": STEPS})
    code, job = client.ask(url, "POST", "/v1/jobs", asked, token=TOKEN)
    assert code == 200, job
    service.kubectl("scale", "gensvc/images", "--replicas=2")
    service.wait_for_replicas(2)

    before = client.told()
    (first, _) = sorted(service.replica_pods())
    service.kubectl("delete", "pod", first, "--wait=false")
    service.wait_for("loss", lambda _: first not in service.replica_pods())
    service.wait_for_replicas(2)
    client.wait_for("another model", lambda told: is_ahead(told, before))

    _, job = client.ask(url, "GET", f"/v1/jobs/{job['id']}", token=TOKEN)
    while job["status"] != "succeeded":
        assert job["status"] in ("queued", "running"), job
        time.sleep(1)
        _, job = client.ask(url, "GET", f"/v1/jobs/{job['id']}", token=TOKEN)
    assert [one["seed"] for one in job["results"]] == list(range(JOB_IMAGES)), "each once"
    drawn = [one["sha256"] for one in job["results"]]
    assert drawn[:SEEDS] in client.told().digests[job["model"]], "the same bytes as by ordinary requests"

    story.finish()
    last = story.kept.checkpoints().list_models()[-1].name
    service.wait_for("last model", lambda status: status["model"].endswith(f"/{last}"))
    seen = client.told()
    told = client.wait_for("answers of it", lambda told: told.answers > seen.answers + 10)
    assert told.failures == []
    assert len(told.digests) > 2, "it was rolled from model to model"
    kept = {str(manifest.name) for manifest in story.kept.checkpoints().list_models()}
    assert str(last) in told.digests
    for model in kept & told.digests.keys():
        assert told.digests[model] == [draw(story.kept, model)]

    service.kubectl("delete", "gensvc", "images")
    service.kubectl("wait", "--for=delete", "pod", "--selector=synthray.io/service=images", "--timeout=110s")


def is_ahead(told: Told, before: Told) -> bool:
    """It has seen more models and more answers since."""
    return len(told.digests) > len(before.digests) and told.answers > before.answers + 10
