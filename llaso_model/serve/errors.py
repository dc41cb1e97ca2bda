"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llaso_data.errors import AudioError, LLaSOError
from llaso_model.engine.requests import Busy
from llaso_model.sounds import InputError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    499: "invalid_request_error",
}
_NOT_AUDIO = frozenset({"unreadable"})


class ApiError(Exception):
    """A request that is refused, or has failed.

    Attributes:
        status: HTTP status.
        message: What was wrong, and what to do.
        param: The option that it is about; None: none.
        code: A stable name.
        headers: More headers of the response, such as ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON object of the response."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def unsupported(param: str, message: str) -> ApiError:
    """The refusal of an option that this server does not have, or not with this value."""
    return ApiError(400, f"{param}: {message}", param, "unsupported_parameter")


def invalid(param: str, message: str) -> ApiError:
    """The refusal of a value."""
    return ApiError(400, f"{param}: {message}", param, "invalid_value")


def busy(message: str, retry_after_s: float = 1.0) -> ApiError:
    """The refusal of a request that may be made again after so many seconds."""
    return ApiError(429, message, None, "rate_limit_exceeded", {"Retry-After": str(max(1, round(retry_after_s)))})


def api_error(error: Exception) -> ApiError:
    """An error of the engine, of audio or of the input as the response says it. Others are 500, without details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        return busy(str(error))
    if isinstance(error, AudioError):
        if error.reason == "too_long":
            return ApiError(413, str(error), "file", "audio_too_long")
        return ApiError(415 if error.reason in _NOT_AUDIO else 422, str(error), "file", error.reason)
    if isinstance(error, InputError):
        return ApiError(400, str(error), None, "invalid_value")
    if isinstance(error, LLaSOError):
        return ApiError(422, str(error), None, "unprocessable")
    return ApiError(500, "the server has failed; its log says why", None, "internal_error")
