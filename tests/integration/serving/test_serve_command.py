"""`synthray serve` as a user runs it: a Ray and a Ray Serve of its own."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests
from committed_run import build_tiny_unet
from diffusers import DDPMPipeline, DDPMScheduler
from marked_processes import mark_environment, wait_until_gone
from ray_run import SYNTHRAY

from synthray.generation.generator import Generator
from synthray.generation.models import load_model
from synthray.generation.profile import STRICT_1
from synthray.storage import S3Settings
from synthray.storage.ports import choose_free_ports

START_SECONDS = 240.0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    DDPMPipeline(build_tiny_unet(0, block_out_channels=(16, 32)), DDPMScheduler()).save_pretrained(folder)
    return folder


def wait_for_answer(url: str, process: "subprocess.Popen[str]", key: dict[str, str]) -> requests.Response:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        try:
            answer = requests.get(url, headers=key, timeout=10)
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.2)
            continue
        if answer.status_code != 404:  # Serve's proxy answers before the application is there
            return answer


@pytest.mark.timeout(400)
def test_a_model_is_served_until_ctrl_c_and_nothing_is_left(model: Path, tmp_path: Path) -> None:
    (port,) = choose_free_ports(1)
    mark = str(tmp_path)
    token_file = tmp_path / "token"
    token_file.write_text("a-token-of-20-letters")
    key = {"Authorization": f"Bearer {token_file.read_text()}"}
    command = [SYNTHRAY, "serve", str(model), "--port", str(port), "--steps", "3"]
    command += ["--jobs", str(tmp_path / "jobs"), "--token-file", str(token_file)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        command, env={**os.environ, **mark_environment(mark)}, stdout=subprocess.PIPE, text=True
    ) as process:
        answer = wait_for_answer(f"{url}/v1/images/latest/ddim/3/42.png", process, key)
        job = requests.post(f"{url}/v1/jobs", json={"seed": 42, "n": 3}, headers=key, timeout=60).json()
        events = ""
        while "event: end" not in events:
            events += requests.get(f"{url}/v1/jobs/{job['id']}/events", headers=key, timeout=100).text
        page = requests.get(url, timeout=60)
        refused = requests.get(f"{url}/v1/models", timeout=60)
        assert process.stdout is not None
        assert str(port) in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=100) == 130
    loaded = load_model(str(model), S3Settings())
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    (image,) = generator.generate([42], "ddim", 3)
    assert answer.headers["ETag"] == f'"{image.sha256}"'
    assert (tmp_path / "jobs" / job["id"] / "images" / f"42-{image.sha256}.png").exists()
    assert '"status":"succeeded"' in events
    assert (page.status_code, refused.status_code) == (200, 401)
    assert wait_until_gone(mark, 30) == []


def test_a_port_that_is_taken_is_said_before_anything_starts(model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [SYNTHRAY, "serve", str(model), "--port", str(port)]
        ended = subprocess.run(
            command, check=False, env=os.environ, capture_output=True, text=True, timeout=100
        )
    assert ended.returncode == 2
    assert f"--port {port} can't be listened on" in ended.stderr
