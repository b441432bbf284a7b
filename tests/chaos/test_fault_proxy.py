"""The fault proxy before a real S3 server, seen by a real S3 client."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from synthray.errors import Unavailable
from synthray.storage import EmbeddedS3, ObjectExists, ObjectStore, S3Settings, open_store

from .fault_rules import Rule, Spoil
from .proxy_process import ProxyControl, fault_proxy

CONTENT = bytes(range(256)) * 400
LARGE = bytes(range(256)) * (17 * 2**12)  # more than one part of a multipart upload


@pytest.fixture(scope="module")
def running_proxy(s3_server: EmbeddedS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyControl]:
    log = tmp_path_factory.mktemp("proxy") / "proxy.log"
    with fault_proxy(s3_server.endpoint_url, log, seed=1) as control:
        yield control


@pytest.fixture
def proxy(running_proxy: ProxyControl) -> Iterator[ProxyControl]:
    yield running_proxy
    running_proxy.clear()


@pytest.fixture
def through(proxy: ProxyControl, s3: ObjectStore, s3_settings: S3Settings) -> ObjectStore:
    """The same place as `s3`, reached through the proxy."""
    settings = replace(s3_settings, endpoint_url=proxy.endpoint_url, deadline_seconds=30)
    return open_store(s3.uri, settings)


def rule(spoil: Spoil, **fields: object) -> Rule:
    """A rule with a name of its own, so that its strikes are its own too."""
    return Rule(uuid4().hex, spoil, **fields)  # type: ignore[arg-type]


def strikes(proxy: ProxyControl, struck: Rule) -> int:
    count: int = proxy.counters()["strikes"].get(struck.name, 0)
    return count


def test_without_rules_everything_passes_and_signatures_stay_valid(
    through: ObjectStore, s3: ObjectStore
) -> None:
    through.write("small", CONTENT)
    through.write("large", LARGE)
    through.create("once", b"first")
    with pytest.raises(ObjectExists):
        through.create("once", b"second")
    assert {info.key for info in through.list()} == {"small", "large", "once"}
    through.delete(["once"])
    assert (s3.read("small"), s3.read("large"), s3.stat("once")) == (CONTENT, LARGE, None)
    assert through.read("small") == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        rule(Spoil.STATUS, direction="request", status=500, code="InternalError", count=2),
        rule(Spoil.STATUS, status=503, count=2),
        rule(Spoil.RESET, direction="request", count=2),
        rule(Spoil.RESET, count=2),
        rule(Spoil.RESET, bytes=50_000, count=2),
        rule(Spoil.CUT, direction="request", count=2),
        rule(Spoil.CUT, bytes=50_000, count=2),
        rule(Spoil.LATENCY, seconds=0.05, count=2),
        rule(Spoil.BANDWIDTH, bytes_per_second=2_000_000, count=2),
    ],
    ids=lambda fault: f"{fault.spoil}-{fault.direction}-{fault.bytes}",
)
def test_a_client_that_tries_again_reads_the_right_bytes_in_the_end(
    through: ObjectStore, s3: ObjectStore, proxy: ProxyControl, fault: Rule
) -> None:
    s3.write("key", CONTENT)
    proxy.set(fault)
    assert through.read("key") == CONTENT
    assert strikes(proxy, fault) >= 1


@pytest.mark.parametrize(
    "fault",
    [
        rule(Spoil.STATUS, direction="request", status=503, method="PUT", count=2),
        rule(Spoil.CUT, direction="request", bytes=50_000, method="PUT", count=2),
        rule(Spoil.RESET, direction="request", bytes=50_000, method="PUT", count=2),
        rule(Spoil.RESET, method="PUT", count=1),
    ],
    ids=lambda fault: f"{fault.spoil}-{fault.direction}-{fault.bytes}",
)
def test_a_client_that_tries_again_has_stored_the_right_bytes_in_the_end(
    through: ObjectStore, s3: ObjectStore, proxy: ProxyControl, fault: Rule
) -> None:
    proxy.set(fault)
    through.write("key", CONTENT)
    assert strikes(proxy, fault) == fault.count
    assert s3.read("key") == CONTENT


def test_a_flipped_bit_reaches_the_reader(through: ObjectStore, s3: ObjectStore, proxy: ProxyControl) -> None:
    s3.write("key", CONTENT)
    proxy.set(rule(Spoil.FLIP, bytes=70_000, method="GET"))
    read = through.read("key")
    assert len(read) == len(CONTENT)
    assert [i for i, (one, other) in enumerate(zip(read, CONTENT, strict=True)) if one != other] == [70_000]


def test_a_truncated_answer_is_well_formed(
    through: ObjectStore, s3: ObjectStore, proxy: ProxyControl
) -> None:
    s3.write("key", CONTENT)
    proxy.set(rule(Spoil.TRUNCATE, bytes=1000, method="GET"))
    assert through.read("key") == CONTENT[:1000]


def test_a_request_is_spoiled_on_its_way(through: ObjectStore, s3: ObjectStore, proxy: ProxyControl) -> None:
    """This server does not check what it stores against the signed hash, so the spoiled bytes are there."""
    spoiled_bytes = CONTENT[:50_000] + bytes([CONTENT[50_000] ^ 1]) + CONTENT[50_001:]
    for spoil, stored in ((Spoil.FLIP, spoiled_bytes), (Spoil.TRUNCATE, CONTENT[:50_000])):
        proxy.set(rule(spoil, direction="request", bytes=50_000, method="PUT", count=1))
        through.write(spoil, CONTENT)
        assert s3.read(spoil) == stored


def test_an_answer_is_lost_after_the_server_has_done_its_work(
    through: ObjectStore, s3: ObjectStore, proxy: ProxyControl
) -> None:
    proxy.set(rule(Spoil.RESET, method="PUT", count=1))
    with pytest.raises(ObjectExists):
        through.create("key", b"nonce")
    assert s3.read("key") == b"nonce"


def test_a_black_hole_never_answers_and_the_server_hears_nothing(
    proxy: ProxyControl, s3: ObjectStore, s3_settings: S3Settings
) -> None:
    proxy.set(rule(Spoil.BLACK_HOLE, direction="request", method="PUT"))
    settings = replace(s3_settings, endpoint_url=proxy.endpoint_url, deadline_seconds=1)
    with pytest.raises(Unavailable):
        open_store(s3.uri, settings).write("key", CONTENT)
    assert s3.stat("key") is None


def test_only_what_fits_a_rule_is_struck(through: ObjectStore, s3: ObjectStore, proxy: ProxyControl) -> None:
    s3.write("good", CONTENT)
    s3.write("bad", CONTENT)
    fault = rule(Spoil.TRUNCATE, bytes=1, method="GET", path="/bad$")
    proxy.set(fault)
    assert (through.read("good"), through.read("bad")) == (CONTENT, CONTENT[:1])
    assert strikes(proxy, fault) == 1
    proxy.clear_rule(fault.name)
    assert through.read("bad") == CONTENT


def test_clearing_lets_go_what_was_held_up(
    through: ObjectStore, s3: ObjectStore, proxy: ProxyControl
) -> None:
    s3.write("key", CONTENT)
    fault = rule(Spoil.LATENCY, seconds=1000)
    proxy.set(fault)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(through.read("key")))
    reader.start()
    while not strikes(proxy, fault):
        reader.join(0.05)
    proxy.clear()
    reader.join(30)
    assert read == [CONTENT]
