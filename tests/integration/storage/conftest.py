"""An S3 server that fails on request, and one whose sockets lead nowhere."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from synthray.storage import S3Settings
from synthray.storage.ports import choose_free_ports

TRICKLE_SECONDS = 0.3


class FaultyS3(ThreadingHTTPServer):
    """Objects in memory, by "/bucket/key"; each entry of `faults` spoils one request, in their order.

    A number is the status to answer with, a text such as "503 SlowDown" adds S3's code; "reset" and "hang"
    drop or keep the connection before the request is carried out, "lost" drops it afterwards, "short" cuts
    the answer's body and "trickle" sends it in pieces with pauses. An empty text spoils nothing.
    """

    daemon_threads = True

    def __init__(self, *, scheme: str = "http", ca_bundle: str | None = None, port: int = 0) -> None:
        self.scheme = scheme
        self.ca_bundle = ca_bundle
        super().__init__(("127.0.0.1", port), _Handler)
        self.begin_anew()

    def begin_anew(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
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
            self._carry_out(self.path, body, fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815

    def _carry_out(self, target: str, body: bytes, fault: str) -> None:
        parts = urlsplit(target)
        name, query = unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
        upload = query.get("uploadId", [""])[0]
        if upload and self.command != "DELETE" and upload not in self.server.uploads:
            # Ended by a request whose answer was lost.
            self._answer(404, "NoSuchUpload")
        elif self.command == "PUT" and upload:
            self.server.uploads[upload][int(query["partNumber"][0])] = body
            self._answer(200)
        elif self.command == "PUT":
            self._put(name, body, fault)
        elif self.command == "POST":
            self._post(name, query, body)
        elif self.command == "DELETE":
            self.server.uploads.pop(upload, None)
            self._answer(204)
        elif "list-type" in query:
            self._send(self._list(name, query.get("prefix", [""])[0]), fault)
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

    def _post(self, name: str, query: dict[str, list[str]], body: bytes) -> None:
        if "delete" in query:
            for key in re.findall("<Key>([^<]*)</Key>", body.decode()):
                self.server.objects.pop(f"{name.rstrip('/')}/{key}", None)
            self._answer(200, content=b"<DeleteResult/>")
        elif "uploads" in query:
            upload = f"upload-{uuid4().hex}"
            self.server.uploads[upload] = {}
            result = "InitiateMultipartUploadResult"
            self._answer(200, content=f"<{result}><UploadId>{upload}</UploadId></{result}>".encode())
        else:
            pieces = self.server.uploads.pop(query["uploadId"][0])
            self.server.objects[name] = b"".join(pieces[number] for number in sorted(pieces))
            self._answer(200, content=b"<CompleteMultipartUploadResult/>")

    def _list(self, bucket: str, prefix: str) -> bytes:
        root = f"{bucket.rstrip('/')}/"
        found = {name.removeprefix(root): len(data) for name, data in self.server.objects.items()}
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>"
            for key, size in sorted(found.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def _get(self, content: bytes, fault: str) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span is None:
            self._send(content, fault)
        else:
            start, last = int(span[1]), int(span[2])
            self._send(content[start : last + 1], fault, content_range=f"bytes {start}-{last}/{len(content)}")

    def _send(self, content: bytes, fault: str, *, content_range: str = "") -> None:
        if fault == "trickle":
            self._begin_answer(206 if content_range else 200, len(content), content_range)
            for start in range(0, len(content), -(-len(content) // 5)):
                self.server.released.wait(TRICKLE_SECONDS)
                self.wfile.write(content[start : start + -(-len(content) // 5)])
        elif fault == "short":
            self._begin_answer(206 if content_range else 200, len(content), content_range)
            self.wfile.write(content[:-1])
            self._drop()
        else:
            self._begin_answer(206 if content_range else 200, len(content), content_range)
            if self.command != "HEAD":
                self.wfile.write(content)

    def _answer(self, status: int, code: str = "", *, content: bytes = b"") -> None:
        body = f"<Error><Code>{code}</Code></Error>".encode() if code else content
        self._begin_answer(status, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin_answer(self, status: int, length: int, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"etag"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

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
def make_faulty_server() -> Iterator[Callable[[int], FaultyS3]]:
    """Starts one at a port."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(serving(FaultyS3(port=port)))


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
