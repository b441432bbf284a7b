"""Failures as HTTP answers, in the form that OpenAI's clients understand."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from synthray.errors import InvalidInput, NotFound, SynthrayError, Unavailable, VerificationFailed
from synthray.serving.engine import Busy, EngineStopped
from synthray.serving.requests import Problem, ProblemAnswer

FAILURES: Final[dict[int | str, dict[str, object]]] = {
    status: {"model": ProblemAnswer} for status in (401, 404, 408, 413, 422, 429, 500, 503)
}
_STATUS: Final[tuple[tuple[type[SynthrayError], int], ...]] = (
    (InvalidInput, 422),
    (NotFound, 404),
    (VerificationFailed, 500),
    (Unavailable, 503),
)
_RETRY_AFTER_SECONDS: Final = 5


class BadField(Exception):
    """A field that is well formed and can't be served."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def register(app: FastAPI) -> None:
    """Answer every failure in one form."""
    for kind in (
        RequestValidationError,
        HTTPException,
        BadField,
        Busy,
        EngineStopped,
        SynthrayError,
    ):
        app.add_exception_handler(kind, _answer)


def answer_problem(
    status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after: int = 0
) -> JSONResponse:
    """One failure; `retry_after` in seconds."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    elif status == 401:
        kind = "authentication_error"
    problem = ProblemAnswer(error=Problem(message=message, type=kind, param=param, code=code))
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    return JSONResponse(problem.model_dump(), status, headers)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    match error:
        case RequestValidationError():
            return _answer_invalid(error)
        case HTTPException():
            return answer_problem(error.status_code, str(error.detail))
        case BadField():
            return answer_problem(422, str(error), param=error.field, code="value_error")
        case Busy():
            return answer_problem(429, str(error), code=error.code, retry_after=error.retry_after_seconds)
        case EngineStopped():
            message = "this replica stops; ask again, another draws the same"
            return answer_problem(503, message, retry_after=_RETRY_AFTER_SECONDS)
        case SynthrayError():
            return _answer_foreseen(error)
    raise error


def _answer_invalid(error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("body", "path", "query"))
    found = "" if first["type"] == "missing" else f" (found {str(first.get('input'))[:100]!r})"
    name = f"{field}: " if field else ""
    remedy = "; give a seed from 0 on, the same seed gives the same image" if field == "seed" else ""
    message = f"{name}{first['msg']}{found}{remedy}"
    return answer_problem(422, message, param=field or None, code=str(first["type"]))


def _answer_foreseen(error: SynthrayError) -> JSONResponse:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    retry_after = _RETRY_AFTER_SECONDS if status == 503 else 0
    return answer_problem(status, error.message, code=str(error.reason), retry_after=retry_after)
