"""Requests to the driver of a run on this machine: the client's side of `synthray scale` and `top`."""

import http.client
import json

from synthray.errors import InvalidInput, NotFound

_TIMEOUT_SECONDS = 10.0
_REMEDY = "which its `synthray train` was given as --metrics-port"


def scale_run(run: str, workers: int, port: int) -> str:
    """Ask the driver at `port` for another number of workers; returns what to tell the person.

    Raises NotFound if no driver or another run's answers there, InvalidInput if it refuses the number.
    """
    _, progress = ask_driver(port, "GET", "/progress")
    try:
        there = json.loads(progress).get("run")
    except (ValueError, AttributeError) as error:
        raise NotFound(f"port {port} is not a synthray driver's; pass the run's own, {_REMEDY}") from error
    if there != run:
        raise NotFound(
            f"port {port} belongs to the run {there!r}, not to {run!r}; pass the run's own, {_REMEDY}"
        )
    status, answer = ask_driver(port, "POST", "/workers", json.dumps({"workers": workers}))
    if status != http.HTTPStatus.OK:
        raise InvalidInput(answer.strip())
    return f"{run}: {workers} workers, from the first step boundary at which they are there"


def ask_driver(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """A driver's status and answer to one request; raises NotFound if nobody answers at `port`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise NotFound(
            f"nothing that trains answers at port {port} ({error}); start the run with `synthray train`, "
            f"or pass the port of one that runs, {_REMEDY}"
        ) from error
    finally:
        connection.close()
