"""One API server: requests with deadlines, and its refusals in our terms."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from synthray.errors import InvalidInput, Unavailable

Document = dict[str, Any]

_JSON: Final = "application/json"
_REQUEST_TIMEOUT: Final = urllib3.Timeout(connect=10, read=30)
# The server sends a bookmark each minute, so a stream that is silent for much longer is dead.
_STREAM_TIMEOUT: Final = urllib3.Timeout(connect=10, read=90)
_CLIENT_TIMEOUT: Final = urllib3.Timeout(connect=5, read=5)
_CONNECTIONS: Final = 32


class Conflict(Exception):
    """Somebody was quicker: what is to be written rests on an older state."""


class Missing(Exception):
    """There is no such object, or no such kind."""


class Refused(Exception):
    """The server does not allow it: admission, quota, validation, or a missing right."""


class Expired(Exception):
    """The history that a watch was to go on from is gone; list anew."""


def find_kubeconfig(named: str) -> tuple[str, str]:
    """The kubeconfig that a person means, and the namespace of its context; raises InvalidInput."""
    file = named or config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    try:
        _, active = config.list_kube_config_contexts(file)
    except (ConfigException, OSError) as error:
        remedy = "name a file with --kubeconfig or KUBECONFIG"
        raise InvalidInput(f"no Kubernetes cluster is configured ({error}); {remedy}") from error
    return file, active["context"].get("namespace", "default")


def connect(kubeconfig: str | None) -> "ApiServer":
    """The API server of the pod's own service account, or of a kubeconfig file; raises InvalidInput."""
    configuration = client.Configuration()
    try:
        if kubeconfig:
            config.load_kube_config(kubeconfig, client_configuration=configuration)
        else:
            config.load_incluster_config(configuration)
    except (ConfigException, OSError) as error:
        remedy = "name a file with --kubeconfig or KUBECONFIG, or run in a pod with a service account"
        raise InvalidInput(f"no Kubernetes cluster is configured ({error}); {remedy}") from error
    configuration.connection_pool_maxsize = _CONNECTIONS
    api_client = client.ApiClient(configuration)
    # The client's own calls, those of the lease, would otherwise wait for ever on a connection that is dead.
    api_client.rest_client.pool_manager.connection_pool_kw["timeout"] = _CLIENT_TIMEOUT
    return ApiServer(api_client)


class ApiServer:
    """Requests to one server; safe to use from many threads."""

    def __init__(self, api_client: Any) -> None:
        self.api_client = api_client
        self._configuration = api_client.configuration
        self._pool = api_client.rest_client.pool_manager

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
    ) -> Document:
        """The answer to one request.

        Raises Conflict (409, or a test in a JSON patch that fails), Missing (404), Refused (other 4xx),
        Unavailable (5xx, 429, no answer).
        """
        data = None if body is None else json.dumps(body).encode()
        answer: Document = json.loads(self._send(method, path, query, data, content_type))
        return answer

    def read_text(self, path: str, query: Mapping[str, str]) -> str:
        """What is no document, such as a log; raises as `request`."""
        return self._send("GET", path, query, None, _JSON).decode(errors="replace")

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[Document]:
        """The events of a watch, until the server ends it; raises as `request`, and Expired."""
        try:
            response = self._pool.request(
                "GET",
                self._url(path, query),
                headers=self._headers(_JSON),
                timeout=_STREAM_TIMEOUT,
                retries=False,
                preload_content=False,
            )
            with response:
                if response.status != 200:
                    _check(response.status, response.read())
                for line in _lines(response):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        _check(event["object"].get("code", 500), json.dumps(event["object"]).encode())
                    yield event
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the API server does not answer: {error}") from error

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
    ) -> bytes:
        try:
            response = self._pool.request(
                method,
                self._url(path, query),
                body=data,
                headers=self._headers(content_type),
                timeout=_REQUEST_TIMEOUT,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the API server does not answer: {error}") from error
        _check(response.status, response.data)
        body: bytes = response.data
        return body

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        url = f"{self._configuration.host}{path}"
        return f"{url}?{urlencode(query)}" if query else url

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": _JSON, "Content-Type": content_type, "User-Agent": "synthray-operator"}
        token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {**headers, "Authorization": token} if token else headers


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(amt=None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line)


def _check(status: int, body: bytes) -> None:
    if status < 400:
        return
    told = _read_refusal(body)
    message = str(told.get("message", "")) or f"HTTP status {status}"
    # The one 422 that names no object is a JSON patch that did not apply; admission always names one.
    is_failed_test = status == 422 and told.get("details") == {}
    if status == 404:
        raise Missing(message)
    if status == 409 or is_failed_test:
        raise Conflict(message)
    if status == 410:
        raise Expired(message)
    if status == 429 or status >= 500:
        raise Unavailable(f"the API server is busy or ill: {message}")
    raise Refused(message)


def _read_refusal(body: bytes) -> Document:
    """A Status object; what is none is its own message."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"message": body[:200].decode(errors="replace")}
