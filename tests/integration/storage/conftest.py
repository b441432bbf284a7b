"""An S3 server that fails on request, and one whose sockets lead nowhere."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from synthray.storage import S3Settings
from synthray.storage.ports import choose_free_ports


class FaultyS3(ThreadingHTTPServer):
    """Objects in memory, by "/bucket/key"; each entry of `faults` spoils one request, in their order.

    A number is the status to answer with, a text such as "503 SlowDown" adds S3's code; "reset" and "hang"
    drop or keep the connection before the request is carried out, "lost" drops it afterwards, "short" cuts
    the answer's body.
    """

    daemon_threads = True

    def __init__(self, *, scheme: str = "http", ca_bundle: str | None = None) -> None:
        self.scheme = scheme
        self.ca_bundle = ca_bundle
        super().__init__(("127.0.0.1", 0), _Handler)
        self.begin_anew()

    def begin_anew(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[int | str] = []
        self.methods: list[str] = []
        self.honours_conditions = True
        self.released = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what this server is for."""

    @property
    def settings(self) -> S3Settings:
        return S3Settings(
            endpoint_url=f"{self.scheme}://127.0.0.1:{self.server_port}",
            access_key_id="key",
            secret_access_key="secret",  # noqa: S106
            ca_bundle=self.ca_bundle,
            deadline_seconds=20,
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyS3

    def log_message(self, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.methods.append(self.command)
        fault = str(self.server.faults.pop(0)) if self.server.faults else ""
        if fault == "hang":
            self.server.released.wait(60)
        if fault in {"hang", "reset"}:
            self._drop()
        elif fault[:1].isdigit():
            status, _, code = fault.partition(" ")
            self._answer(int(status), code)
        else:
            self._carry_out(unquote(urlsplit(self.path).path), body, fault)

    do_GET = do_PUT = do_HEAD = do_POST = _serve  # noqa: N815

    def _carry_out(self, name: str, body: bytes, fault: str) -> None:
        if self.command == "PUT":
            self._put(name, body, fault)
        elif self.command == "POST":
            self._answer(200, content=b"<DeleteResult/>")
        elif name in self.server.objects:
            self._get(self.server.objects[name], fault)
        else:
            self._answer(404, "NoSuchKey")

    def _put(self, name: str, body: bytes, fault: str) -> None:
        if self.server.honours_conditions and "If-None-Match" in self.headers and name in self.server.objects:
            self._answer(412, "PreconditionFailed")
            return
        self.server.objects[name] = body
        if fault == "lost":
            self._drop()
        else:
            self._answer(200)

    def _get(self, content: bytes, fault: str) -> None:
        if fault == "short":
            self._answer(200, content=content[:-1], promised_bytes=len(content))
            self._drop()
        else:
            self._answer(200, content=content)

    def _answer(
        self, status: int, code: str = "", *, content: bytes = b"", promised_bytes: int | None = None
    ) -> None:
        body = f"<Error><Code>{code}</Code></Error>".encode() if code else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if promised_bytes is None else promised_bytes))
        self.send_header("ETag", '"etag"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(server: FaultyS3) -> Iterator[FaultyS3]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def faulty_server() -> Iterator[FaultyS3]:
    with serving(FaultyS3()) as server:
        yield server


@pytest.fixture
def faulty_s3(faulty_server: FaultyS3) -> Iterator[FaultyS3]:
    faulty_server.begin_anew()
    yield faulty_server
    faulty_server.released.set()


@pytest.fixture
def faulty_s3_with_tls(tmp_path: Path) -> Iterator[FaultyS3]:
    """Its certificate is signed by nobody but itself, which is the settings' CA bundle."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = FaultyS3(scheme="https", ca_bundle=str(certificate))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


@pytest.fixture(scope="session")
def silent_endpoint() -> Iterator[str]:
    """A URL at which connections are accepted and never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session")
def closed_endpoint() -> str:
    """A URL at which nobody listens."""
    (port,) = choose_free_ports(1)
    return f"http://127.0.0.1:{port}"
