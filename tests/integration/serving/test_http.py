"""The routes over a real HTTP server and a real engine with a tiny model."""

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import openai
import pytest
import requests
from PIL import Image, PngImagePlugin
from prometheus_client.parser import text_string_to_metric_families
from served import MODEL_NAME, build_app, listening, load_tiny_model, tiny_service

from synthray.generation.generator import Generator
from synthray.generation.models import LoadedModel
from synthray.generation.profile import STRICT_1
from synthray.serving.service import Service


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_tiny_model()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tiny_service() as service:
        yield service


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with listening(build_app(service)) as url:
        yield url


def ask(url: str, **body: Any) -> requests.Response:
    return requests.post(f"{url}/v1/images/generations", json=body, timeout=60)


def problem(answer: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


def reference(loaded: LoadedModel, seed: int, steps: int, sampler: str = "ddim") -> np.ndarray[Any, Any]:
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    (image,) = generator.generate([seed], sampler, steps)
    return image.pixels


def test_seed_42_is_what_generate_draws_with_a_receipt_inside(url: str, loaded: LoadedModel) -> None:
    answer = ask(url, seed=42).json()
    (image,) = answer["data"]
    png = Image.open(BytesIO(base64.b64decode(image["b64_json"])))
    assert np.array_equal(np.asarray(png).squeeze(), reference(loaded, 42, 3).squeeze())
    assert json.loads(png.info["synthray"])["seed"] == image["seed"] == 42
    assert (answer["sampler"], answer["steps"], answer["profile"]) == ("ddim", 3, "strict-1")
    assert answer["model_digest"] == loaded.identity.digest


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_asked(url: str) -> None:
    alone = ask(url, seed=7, steps=20).json()["data"][0]["b64_json"]
    with ThreadPoolExecutor(4) as pool:
        others = [
            pool.submit(ask, url, seed=seed, n=1, steps=steps, sampler=sampler)
            for seed, steps, sampler in [(1, 30, "ddpm"), (2, 11, "dpmsolver++"), (3, 25, "ddim")]
        ]
        again = ask(url, seed=7, steps=20).json()["data"][0]["b64_json"]
        assert all(other.result().status_code == 200 for other in others)
    assert again == alone


def test_openais_client_works_unchanged(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = client.images.generate(prompt="a chest X-ray", n=2, extra_body={"seed": 42})
        assert answer.data is not None
        own = [image["b64_json"] for image in ask(url, seed=42, n=2).json()["data"]]
        assert [image.b64_json for image in answer.data] == own
        with pytest.raises(openai.UnprocessableEntityError, match="give a seed from 0 on"):
            client.images.generate(prompt="a chest X-ray")


def test_n_images_have_the_seeds_that_follow(url: str) -> None:
    data = ask(url, seed=5, n=3).json()["data"]
    assert [image["seed"] for image in data] == [5, 6, 7]
    assert data[1]["sha256"] == ask(url, seed=6).json()["data"][0]["sha256"]


def test_an_address_instead_of_bytes_leads_to_the_same_image(url: str) -> None:
    (image,) = ask(url, seed=9, response_format="url").json()["data"]
    assert "b64_json" not in image
    answer = requests.get(url + image["url"], timeout=60)
    assert answer.headers["ETag"] == f'"{image["sha256"]}"'
    assert "immutable" in answer.headers["Cache-Control"]
    again = requests.get(url + image["url"], headers={"If-None-Match": answer.headers["ETag"]}, timeout=60)
    assert (again.status_code, again.content) == (304, b"")


def test_latest_is_revalidated(url: str) -> None:
    answer = requests.get(f"{url}/v1/images/latest/ddim/3/1.png", timeout=60)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")


def test_a_picture_verifies_and_a_changed_one_does_not(url: str) -> None:
    png = requests.get(f"{url}/v1/images/latest/ddim/3/1.png", timeout=60).content
    verdict = requests.post(f"{url}/v1/verify", data=png, timeout=60).json()
    assert verdict == {"verified": True, "seed": 1, "differences": [], "notes": []}
    image = Image.open(BytesIO(png))
    info = image.info["synthray"]
    inverted = Image.eval(image, lambda level: 255 - level)
    chunks, changed = PngImagePlugin.PngInfo(), BytesIO()
    chunks.add_text("synthray", info)
    inverted.save(changed, "PNG", pnginfo=chunks)
    verdict = requests.post(f"{url}/v1/verify", data=changed.getvalue(), timeout=60).json()
    assert not verdict["verified"]
    assert "pixels differ" in verdict["differences"][0]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "seed", "Field required; give a seed"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"seed": 1.5}, "seed", "valid integer"),
        ({"seed": "1"}, "seed", "valid integer"),
        ({"seed": 2**53}, "seed", "less than or equal to"),
        ({"seed": 2**53 - 1, "n": 2}, "seed", "goes beyond"),
        ({"seed": 1, "n": 9}, "n", "n=9 is above 8"),
        ({"seed": 1, "steps": 501}, "steps", "steps=501 is above 500"),
        ({"seed": 1, "sampler": "euler"}, "sampler", "'ddim', 'ddpm' or 'dpmsolver++'"),
        ({"seed": 1, "size": "1024x1024"}, "size", "is not the model's; use"),
        ({"seed": 1, "model": "dall-e-3"}, "model", "is not served here; use 00000001 or latest"),
        ({"seed": 1, "sede": 2}, "sede", "not permitted"),
    ],
)
def test_what_can_not_be_drawn_is_refused_with_field_value_and_remedy(
    url: str, body: dict[str, Any], field: str, words: str
) -> None:
    answer = ask(url, **body)
    assert answer.status_code == 422
    assert problem(answer)["param"] == field
    assert words in problem(answer)["message"]
    assert problem(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"seed": NaN}'])
def test_a_body_that_is_no_request_is_refused(url: str, data: bytes) -> None:
    answer = requests.post(
        f"{url}/v1/images/generations", data=data, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code in (400, 422)
    assert problem(answer)["message"]


def test_a_body_that_is_too_large_is_refused(url: str) -> None:
    answer = ask(url, seed=1, prompt="x" * (65 << 10))
    assert answer.status_code == 413
    assert "65,536 bytes" in problem(answer)["message"]


def test_what_is_no_png_of_ours_does_not_verify(url: str) -> None:
    answer = requests.post(f"{url}/v1/verify", data=b"GIF89a", timeout=60)
    assert answer.status_code == 422
    assert "the body" in problem(answer)["message"]


def test_an_unknown_address_is_a_problem_in_the_same_form(url: str) -> None:
    answer = requests.get(f"{url}/v2", timeout=60)
    assert (answer.status_code, problem(answer)["type"]) == (404, "invalid_request_error")


def test_more_than_may_wait_gets_429_and_when_to_come_again(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(ask, url, seed=seed * 10, n=8, steps=100) for seed in range(6)]
        codes = sorted(answer.result().status_code for answer in answers)
    assert set(codes) == {200, 429}
    refused = next(answer.result() for answer in answers if answer.result().status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert problem(refused)["type"] == "rate_limit_error"


def test_a_client_that_goes_away_leaves_nothing_to_draw(url: str, service: Service) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{url}/v1/images/generations", json={"seed": 1, "n": 8, "steps": 500}, timeout=(5, 0.5)
        )
    deadline = time.monotonic() + 5
    while service.figures().busy_slots:
        assert time.monotonic() < deadline, "its images are still drawn"
        time.sleep(0.01)


def test_without_a_place_for_jobs_they_are_refused_with_the_remedy(url: str) -> None:
    answer = requests.post(f"{url}/v1/jobs", json={"seed": 1}, timeout=60)
    assert answer.status_code == 404
    assert "start it with --jobs" in problem(answer)["message"]


def test_metrics_count_what_was_drawn_and_answered(url: str) -> None:
    ask(url, seed=1, n=2)
    text = requests.get(f"{url}/metrics", timeout=60).text
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["synthray_generate_images_total",] >= 2
    assert samples["synthray_generate_requests_total", "200"] >= 1
    assert samples["synthray_generate_selftest_ok",] == 1
    assert samples["synthray_generate_step_seconds_count",] >= 3


def test_models_names_what_is_served(url: str, loaded: LoadedModel) -> None:
    (model,) = requests.get(f"{url}/v1/models", timeout=60).json()["data"]
    assert (model["id"], model["digest"]) == (MODEL_NAME, loaded.identity.digest)


def test_a_replica_is_alive_and_ready(url: str) -> None:
    assert requests.get(f"{url}/healthz", timeout=60).status_code == 200
    assert requests.get(f"{url}/readyz", timeout=60).status_code == 200
