"""Passing faults are ridden out, lasting ones are named at once, and nothing hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from synthray.errors import InvalidInput, NotFound, Reason, SynthrayError, Unavailable
from synthray.storage import (
    ByteRange,
    ObjectExists,
    ObjectStore,
    S3Settings,
    check_conditional_writes,
    open_store,
)
from synthray.telemetry.storage_counters import STORAGE_COUNTERS


class FaultyS3(Protocol):
    """See conftest."""

    objects: dict[str, bytes]
    faults: list[int | str]
    methods: list[str]
    honours_conditions: bool
    settings: S3Settings


Operation = Callable[[ObjectStore], object]
EVERY_OPERATION: list[Operation] = [
    lambda store: store.read("key"),
    lambda store: store.read_range(ByteRange("key", 0, 10)),
    lambda store: store.read_into("key", memoryview(bytearray(10))),
    lambda store: store.write("key", b"content"),
    lambda store: store.write("key", bytes(17 * 2**20)),
    lambda store: store.create("key", b"content"),
    lambda store: list(store.list()),
    lambda store: store.stat("key"),
    lambda store: store.delete(["key"]),
]
WRITES = EVERY_OPERATION[3:6]
OPERATION_NAMES = ["read", "read_range", "read_into", "write", "upload", "create", "list", "stat", "delete"]


def impatient(endpoint_url: str) -> S3Settings:
    return S3Settings(endpoint_url, access_key_id="key", secret_access_key="secret", deadline_seconds=0.3)  # noqa: S106


every_operation = pytest.mark.parametrize("operate", EVERY_OPERATION, ids=OPERATION_NAMES)


@pytest.mark.parametrize(
    "fault",
    [500, 502, 503, 504, 429, 408, "503 SlowDown", "400 RequestTimeout", "409 OperationAborted", "short"],
)
def test_a_read_rides_out_passing_faults(faulty_s3: FaultyS3, fault: int | str) -> None:
    faulty_s3.objects["/bucket/key"] = b"x" * 1000
    faulty_s3.faults = [fault, fault]
    retries = STORAGE_COUNTERS.snapshot().retries
    assert open_store("s3://bucket", faulty_s3.settings).read("key") == b"x" * 1000
    assert STORAGE_COUNTERS.snapshot().retries == retries + 2


@pytest.mark.parametrize("fault", [500, "503 SlowDown", "reset", "hang"])
@every_operation
def test_every_operation_rides_out_every_kind_of_passing_fault(
    faulty_s3: FaultyS3, operate: Operation, fault: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthray.storage.s3_connection.STALL_SECONDS", 0.25)
    store = open_store("s3://bucket", faulty_s3.settings)
    outcomes = []
    for faults in ([], [fault, "", fault]):
        faulty_s3.objects.clear()
        if operate not in WRITES:
            faulty_s3.objects["/bucket/key"] = b"0123456789"
        faulty_s3.faults = list(faults)
        retries = STORAGE_COUNTERS.snapshot().retries
        outcomes.append((operate(store), dict(faulty_s3.objects)))
        # Of reused connections that were dropped, the HTTP library makes some anew by itself.
        assert (STORAGE_COUNTERS.snapshot().retries > retries) == bool(faults) or fault == "reset"
    assert outcomes[0] == outcomes[1]


def test_a_failure_inside_an_answer_of_success_is_a_failure(faulty_s3: FaultyS3) -> None:
    """The end of an upload in pieces may take so long that S3 begins to answer before it knows."""
    faulty_s3.faults = ["", "", "", "200 InternalError"]
    data = bytes(17 * 2**20)
    open_store("s3://bucket", faulty_s3.settings).write("key", data)
    assert faulty_s3.faults == []
    assert faulty_s3.objects["/bucket/key"] == data


def test_a_list_that_is_cut_off_is_asked_for_again(faulty_s3: FaultyS3) -> None:
    faulty_s3.objects = {f"/bucket/{number}": b"" for number in range(10)}
    faulty_s3.faults = ["short"]
    assert len(list(open_store("s3://bucket", faulty_s3.settings).list())) == 10


def test_an_answer_that_is_slow_and_moves_may_take_longer_than_a_stall(
    faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthray.storage.s3_connection.STALL_SECONDS", 1.0)
    faulty_s3.objects["/bucket/key"] = bytes(1000)
    faulty_s3.faults = ["trickle"]
    retries = STORAGE_COUNTERS.snapshot().retries
    assert open_store("s3://bucket", faulty_s3.settings).read("key") == bytes(1000)
    assert STORAGE_COUNTERS.snapshot().retries == retries


def test_a_server_that_refuses_connections_for_a_while_is_waited_for(
    make_faulty_server: Callable[[int], FaultyS3], closed_endpoint: str
) -> None:
    settings = replace(impatient(closed_endpoint), deadline_seconds=30)
    store = open_store("s3://bucket", settings)
    retries = STORAGE_COUNTERS.snapshot().retries
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(store.write, "key", b"content")
        end = time.monotonic() + 20
        while STORAGE_COUNTERS.snapshot().retries < retries + 3:
            assert time.monotonic() < end, "nothing was tried again"
            threading.Event().wait(0.02)
        server = make_faulty_server(urlsplit(closed_endpoint).port or 0)
        written.result()
    assert server.objects == {"/bucket/key": b"content"}


def test_dropped_connections_are_made_anew(faulty_s3: FaultyS3) -> None:
    faulty_s3.faults = ["reset"] * 5
    open_store("s3://bucket", faulty_s3.settings).write("key", b"content")
    assert faulty_s3.objects == {"/bucket/key": b"content"}


def test_a_create_whose_answer_was_lost_has_stored_its_bytes(faulty_s3: FaultyS3) -> None:
    store = open_store("s3://bucket", faulty_s3.settings)
    faulty_s3.faults = ["lost"]
    with pytest.raises(ObjectExists):
        store.create("key", b"my nonce")
    assert store.read("key") == b"my nonce"


def test_a_get_costs_one_request(faulty_s3: FaultyS3) -> None:
    faulty_s3.objects["/bucket/key"] = b"content"
    open_store("s3://bucket", faulty_s3.settings).read("key")
    assert faulty_s3.methods == ["GET"]


def test_a_store_that_ignores_conditions_is_refused(faulty_s3: FaultyS3) -> None:
    faulty_s3.honours_conditions = False
    with pytest.raises(InvalidInput, match="s3://bucket/runs ignores conditional writes") as failure:
        check_conditional_writes(open_store("s3://bucket/runs", faulty_s3.settings))
    assert failure.value.reason is Reason.CONDITIONAL_WRITES_UNSUPPORTED


def test_conditional_writes_are_recognised_although_an_answer_is_lost(faulty_s3: FaultyS3) -> None:
    faulty_s3.faults = ["lost"]
    check_conditional_writes(open_store("s3://bucket", faulty_s3.settings))


@every_operation
def test_an_unreachable_endpoint_is_given_up_at_the_deadline(
    operate: Operation, closed_endpoint: str
) -> None:
    with pytest.raises(Unavailable, match=rf"no success at {closed_endpoint} within 0.3 s") as failure:
        operate(open_store("s3://bucket", impatient(closed_endpoint)))
    assert failure.value.reason is Reason.STORAGE_UNAVAILABLE


@every_operation
def test_a_silent_server_is_given_up_at_the_deadline(operate: Operation, silent_endpoint: str) -> None:
    with pytest.raises(Unavailable, match=r"no success .* within 0.3 s \(no answer in time\)"):
        operate(open_store("s3://bucket", impatient(silent_endpoint)))


def test_a_server_that_falls_silent_is_asked_again(
    faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthray.storage.s3_connection.STALL_SECONDS", 0.5)
    faulty_s3.objects["/bucket/key"] = b"content"
    faulty_s3.faults = ["hang"]
    assert open_store("s3://bucket", faulty_s3.settings).read("key") == b"content"


def test_a_full_store_is_called_full(faulty_s3: FaultyS3) -> None:
    faulty_s3.faults = ["507 XMinioStorageFull"] * 100
    store = open_store("s3://bucket", replace(faulty_s3.settings, deadline_seconds=0.2))
    with pytest.raises(Unavailable, match="is full") as failure:
        store.write("key", b"")
    assert failure.value.reason is Reason.STORAGE_FULL


@every_operation
def test_a_wrong_secret_is_named_at_once(operate: Operation, s3_settings: S3Settings) -> None:
    settings = replace(s3_settings, secret_access_key="wrong")  # noqa: S106
    retries = STORAGE_COUNTERS.snapshot().retries
    with pytest.raises(InvalidInput, match=r"rejects the credentials .*AWS_SECRET_ACCESS_KEY") as failure:
        operate(open_store("s3://xray", settings))
    assert failure.value.reason is Reason.CREDENTIALS_REJECTED
    assert "wrong" not in str(failure.value)
    assert STORAGE_COUNTERS.snapshot().retries == retries


@every_operation
def test_a_missing_bucket_is_named(operate: Operation, s3_settings: S3Settings) -> None:
    with pytest.raises(NotFound, match="bucket 'no-such-bucket' does not exist at http") as failure:
        operate(open_store("s3://no-such-bucket/prefix", s3_settings))
    assert failure.value.reason is Reason.BUCKET_MISSING


def test_missing_credentials_are_named(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings = replace(s3_settings, access_key_id=None, secret_access_key=None)
    with pytest.raises(
        InvalidInput, match=r"rejects the credentials .*Unable to locate credentials"
    ) as failure:
        open_store("s3://xray", settings).read("key")
    assert failure.value.reason is Reason.CREDENTIALS_REJECTED


def test_an_unknown_profile_is_named(s3_settings: S3Settings) -> None:
    settings = replace(s3_settings, access_key_id=None, secret_access_key=None, profile="nobody")
    with pytest.raises(InvalidInput, match="nobody"):
        open_store("s3://xray", settings).read("key")


def test_mounted_credentials_are_read_anew_when_they_are_rejected(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("secret") / "credentials"

    def mount(secret: str | None) -> None:
        file.write_text(
            f"[default]\naws_access_key_id={s3_settings.access_key_id}\naws_secret_access_key={secret}\n"
        )

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = open_store("s3://xray", replace(s3_settings, access_key_id=None, secret_access_key=None))
    mount("expired")
    with pytest.raises(InvalidInput):
        store.stat("key")
    mount(s3_settings.secret_access_key)
    assert store.stat("key") is None


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    faulty_s3: FaultyS3, closed_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, closed_endpoint)
    faulty_s3.objects["/bucket/key"] = b"content"
    settings = replace(faulty_s3.settings, deadline_seconds=3)
    assert open_store("s3://bucket", settings).read("key") == b"content"


def test_a_private_certificate_is_trusted_by_its_bundle_alone(
    faulty_s3_with_tls: FaultyS3,
) -> None:
    faulty_s3_with_tls.objects["/bucket/key"] = b"content"
    settings = faulty_s3_with_tls.settings
    assert open_store("s3://bucket", settings).read("key") == b"content"
    with pytest.raises(InvalidInput, match="CERTIFICATE_VERIFY_FAILED"):
        open_store("s3://bucket", replace(settings, ca_bundle=None)).read("key")


def test_https_to_a_plain_server_is_named_at_once(faulty_s3: FaultyS3) -> None:
    plain = faulty_s3.settings.endpoint_url or ""
    settings = replace(faulty_s3.settings, endpoint_url=plain.replace("http:", "https:"))
    with pytest.raises(SynthrayError) as failure:
        open_store("s3://bucket", settings).read("key")
    assert isinstance(failure.value, InvalidInput), failure.value


def test_threads_do_not_disturb_each_other(faulty_s3: FaultyS3) -> None:
    faulty_s3.objects |= {f"/bucket/{number}": str(number).encode() * 1000 for number in range(8)}
    faulty_s3.faults = [503] * 4
    store = open_store("s3://bucket", faulty_s3.settings)
    read: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda number=number: read.setdefault(number, store.read(str(number))))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == {number: str(number).encode() * 1000 for number in range(8)}
