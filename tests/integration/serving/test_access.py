"""Who may ask, and what is written down of it, over a real HTTP server."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from served import SETTINGS, build_app, listening, tiny_service

TOKEN, NEXT = "a-token-of-20-letters", "another-of-20-letters"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture(scope="module")
def url(token_file: Path) -> Iterator[str]:
    settings = dataclasses.replace(SETTINGS, token_file=str(token_file))
    with (
        tiny_service(settings) as service,
        listening(build_app(service)) as url,
    ):
        yield url


def bring(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers", [{}, bring(""), bring(NEXT), {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
)
@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/images/latest/ddim/1/1.png", "/v1/jobs/x", "/openapi.json"]
)
def test_without_the_token_nothing_is_told(url: str, path: str, headers: dict[str, str]) -> None:
    answer = requests.get(url + path, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert "Authorization: Bearer" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_prometheus_need_none(url: str, path: str) -> None:
    assert requests.get(url + path, timeout=60).status_code == 200


def test_openais_client_brings_it_as_its_key(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as client:
        assert client.models.list().data[0].owned_by == "synthray"
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=NEXT, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_a_rotated_token_counts_at_once(url: str, token_file: Path) -> None:
    following = token_file.with_name("next")
    following.write_text(NEXT)
    former = token_file.read_text()
    following.rename(token_file)
    assert requests.get(f"{url}/v1/models", headers=bring(NEXT), timeout=60).status_code == 200
    assert requests.get(f"{url}/v1/models", headers=bring(TOKEN), timeout=60).status_code == 401
    following.write_text(former)
    following.rename(token_file)


def test_an_answer_names_its_request_and_the_log_knows_it(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="synthray"):
        headers = {**bring(TOKEN), "X-Request-ID": "mine-1"}
        answer = requests.get(f"{url}/v1/images/latest/ddim/1/1.png", headers=headers, timeout=60)
        other = requests.get(f"{url}/v1/models", headers=bring(NEXT), timeout=60)
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert len(other.headers["X-Request-ID"]) == 16
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("mine-1 GET '/v1/images/latest/ddim/1/1.png' 200 ") for line in lines)
    assert any(line.startswith(f"{other.headers['X-Request-ID']} GET '/v1/models' 401 ") for line in lines)
    assert not any(token in line for line in lines for token in (TOKEN, NEXT))


@pytest.mark.parametrize("given", ["x" * 129, "a b", "a;b", 'a"b'])
def test_an_id_that_could_harm_a_log_is_replaced(url: str, given: str) -> None:
    answer = requests.get(f"{url}/healthz", headers={"X-Request-ID": given}, timeout=60)
    assert answer.headers["X-Request-ID"] != given


def test_images_are_never_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="synthray"):
        body: dict[str, Any] = {"seed": 1, "steps": 1, "prompt": "a secret of mine"}
        answer = requests.post(f"{url}/v1/images/generations", json=body, headers=bring(TOKEN), timeout=60)
        png = answer.json()["data"][0]["b64_json"]
        requests.post(f"{url}/v1/verify", data=b"not a png of mine", headers=bring(TOKEN), timeout=60)
    assert png[:40] not in caplog.text
    assert "of mine" not in caplog.text
