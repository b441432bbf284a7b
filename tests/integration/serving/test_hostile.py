"""What nobody should send, over a real HTTP server: every answer is a refusal in words, none a failure."""

import dataclasses
import json
import os
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests
import schemathesis
from fastapi import FastAPI, Request
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from memory_store import MemoryStore
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from served import SETTINGS, build_app, listening, tiny_service

from synthray.serving import failures
from synthray.serving.body_limits import BodyLimits
from synthray.serving.job_store import JobStore
from synthray.serving.jobs import Jobs
from synthray.serving.settings import JobLimits, ServingLimits

# Of each route, twice; HOSTILE_EXAMPLES=200 asks some four thousand times.
EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "40"))
bounded = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LIMITS = ServingLimits(max_images_per_request=2, max_steps=2, max_queued_images=8)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with tiny_service(dataclasses.replace(SETTINGS, steps=1, limits=LIMITS)) as service:
        jobs = Jobs(JobStore(MemoryStore()), service, JobLimits(max_open=4))
        with listening(build_app(service, jobs=jobs)) as url:
            yield url


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
def test_nothing_that_the_description_allows_or_forbids_makes_it_fail(url: str, mode: GenerationMode) -> None:
    asked: Counter[str] = Counter()

    def probe(case: Any) -> None:
        answer = case.call(base_url=url, timeout=60)
        asked[case.operation.label] += 1
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        if answer.status_code >= 400 and case.method != "HEAD":
            assert answer.json()["error"]["message"]

    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(result, Ok)
        try:
            cases = result.ok().as_strategy(generation_mode=mode)
            bounded(given(case=cases)(probe))()
        except Unsatisfiable:
            # What takes nothing can't be asked wrongly.
            continue
    assert len(asked) >= 5
    assert sum(asked.values()) >= 5 * EXAMPLES
    print(f"{sum(asked.values())} {mode.value} requests to {len(asked)} routes")


@pytest.mark.parametrize(
    "data",
    [
        b'{"seed": NaN}',
        b'{"seed": Infinity}',
        b'{"seed": 1e400}',
        b'{"seed": -0.0}',
        b'{"seed": 1' + b"0" * 60_000 + b"}",
        b'{"seed": 18446744073709551616}',
        b'{"seed": true}',
        b'{"seed": 1, "n": 10000000000000000000000}',
        b'{"seed": 1, "n": 0}',
        b'{"seed": 1, "n": NaN}',
        b'{"seed": 1, "steps": -1}',
        b'{"seed": [[1]]}',
        b'{"seed": {"seed": 1}}',
        b'{"seed": 1, "sampler": "\\ud800"}',
        b'{"seed": 1, "size": "\\ud800"}',
        b'{"seed": 1, "model": "\\ud800"}',
        b'{"seed": 1, "\\ud800": 1}',
        b'{"seed": 1, "model": "../../etc/passwd"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"\x00" * 100,
        b"\xff\xfe{",
        b"null",
        b"1",
        b'"seed"',
        json.dumps({f"field-{number}": number for number in range(2000)}).encode(),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_a_body_that_means_nothing_is_refused_in_words(url: str, data: bytes) -> None:
    for path in ("/v1/images/generations", "/v1/jobs"):
        headers = {"Content-Type": "application/json"}
        answer = requests.post(url + path, data=data, headers=headers, timeout=60)
        assert answer.status_code in (400, 413, 422)
        assert len(answer.json()["error"]["message"]) < 1000


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/latest/ddim/1/-1.png",
        "/v1/images/latest/ddim/1/1e5.png",
        f"/v1/images/latest/ddim/1/{'9' * 400}.png",
        f"/v1/images/{'x' * 8000}/ddim/1/1.png",
        "/v1/images/..%2f..%2fetc%2fpasswd/ddim/1/1.png",
        "/v1/images/%00/ddim/1/1.png",
        "/v1/images/%ff%fe/ddim/1/1.png",
        "/v1/previews/1/ema/1.png",
        "/v1/previews/-1/ema/1.png",
        "/v1/jobs/..%2f..%2fetc%2fpasswd",
        "/v1/jobs/%00",
        "/v1/jobs/%ff",
        f"/v1/jobs/{'0' * 32}/files/..%2fjob.json",
        "/static/..%2fhttp.py",
        "/static/%00",
    ],
)
def test_an_address_that_leads_nowhere_is_refused_in_words(url: str, path: str) -> None:
    answer = requests.get(url + path, timeout=60)
    assert answer.status_code in (404, 422)
    assert answer.json()["error"]["message"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width_px: int, height_px: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        png(0, 0),
        png(2**31 - 1, 2**31 - 1),
        png(4096, 4096, chunk(b"IDAT", zlib.compress(b"\0" * 10))),
        png(16, 16, chunk(b"zTXt", b"synthray\0\0" + zlib.compress(b" " * (1 << 26), 9))),
        png(16, 16, chunk(b"tEXt", b"synthray\0" + b"{" * 70_000)),
        png(16, 16, chunk(b"tEXt", b"synthray\0{}"), chunk(b"IDAT", zlib.compress(b"\0" * 272))),
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 1000,
    ],
    ids=lambda data: f"{len(data)} bytes {data[16:24].hex()}",
)
def test_a_png_that_is_made_to_harm_is_refused_in_words(url: str, data: bytes) -> None:
    answer = requests.post(f"{url}/v1/verify", data=data, timeout=60)
    assert answer.status_code == 422
    assert len(answer.json()["error"]["message"]) < 1000


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_no_http_closes_its_own_connection_alone(url: str, raw: bytes) -> None:
    place = urlsplit(url)
    assert place.port is not None
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        first = connection.recv(1 << 16)
    assert b" 50" not in first.split(b"\r\n")[0]
    assert requests.get(f"{url}/healthz", timeout=60).status_code == 200


def test_a_body_that_does_not_come_is_given_up() -> None:
    app = FastAPI()
    failures.register(app)
    app.add_middleware(BodyLimits, body_seconds=0.2)

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    with listening(app) as url:
        place = urlsplit(url)
        assert place.port is not None
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            connection.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome")
            assert b" 408 " in connection.recv(1 << 16)


def test_a_thousand_refusals_leave_no_memory_behind(url: str) -> None:
    bodies = [b"{" * 50_000, b'{"seed": -1}']
    process = psutil.Process()
    with requests.Session() as session:

        def refuse(times: int) -> int:
            for number in range(times):
                headers = {"Content-Type": "application/json"}
                path = f"{url}/v1/images/generations"
                session.post(path, data=bodies[number % 2], headers=headers, timeout=60)
            return int(process.memory_info().rss)

        before_bytes = refuse(300)
        after_bytes = refuse(1000)
    assert after_bytes - before_bytes < 16 << 20
