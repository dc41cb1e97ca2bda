"""Forms and JSON of requests. An option that is not known, or cannot be honoured, is refused by name."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from llaso_data.text.surrogates import has_lone_surrogate
from llaso_model.serve.errors import ApiError, invalid, unsupported

_MOST_FIELDS = 64
_FIELD_BYTES = 1 << 20
_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # escaped, or as bytes that Python's json takes
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Form:
    """A form with one file.

    Attributes:
        file: The file.
        values: Texts by the names of their fields, in order; a list's name is without brackets.
    """

    file: UploadFile
    values: Mapping[str, list[str]]

    def one(self, name: str) -> str | None:
        """The text of a field that may be there once. An empty one is as none. Raises ApiError where there are two."""
        texts = self.values.get(name, [])
        if len(texts) > 1:
            raise invalid(name, "may be given once")
        return texts[0] if texts and texts[0] else None

    def number(self, name: str, least: float, most: float, default: float) -> float:
        """The number of a field. Raises ApiError where it is none, or out of range."""
        text = self.one(name)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            raise invalid(name, f"a number is expected, not {text[:40]!r}") from None
        if not least <= number <= most:
            raise invalid(name, f"{least:g} to {most:g}, not {number:g}")
        return number

    def flag(self, name: str) -> bool:
        """The truth value of a field; False where there is none."""
        text = (self.one(name) or "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise invalid(name, f"true or false, not {text[:40]!r}")
        return text in ("true", "1")


@asynccontextmanager
async def form_of(
    request: Request, known: Iterable[str], lists: Iterable[str], refused: Mapping[str, str]
) -> AsyncIterator[Form]:
    """The form of a request.

    Args:
        request: Its body is not read yet.
        known: The fields that there are, besides ``file``.
        lists: Those of them that may be repeated, as ``NAME[]``.
        refused: Fields of OpenAI's that this server does not have, and why not.

    Raises:
        ApiError: It is no form (415), is damaged, has no file, or a field that is not known.
    """
    if _content_type(request) != "multipart/form-data":
        raise ApiError(415, "send a multipart/form-data form with the audio as `file`", code="unsupported_media_type")
    try:
        async with request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_FIELD_BYTES) as sent:
            yield _checked(list(sent.multi_items()), set(known), set(lists), refused)
    except HTTPException as error:
        raise ApiError(400, f"the form cannot be read: {error.detail}", code="invalid_form") from error


def _checked(items: list[tuple[str, Any]], known: set[str], lists: set[str], refused: Mapping[str, str]) -> Form:
    file: UploadFile | None = None
    values: dict[str, list[str]] = {}
    for field, value in items:
        name = field.removesuffix("[]")
        root = name.partition("[")[0]
        if name == "file":
            if not isinstance(value, UploadFile):
                raise invalid("file", "a file is expected, with a file name")
            file = value
        elif isinstance(value, UploadFile):
            raise unsupported(field, "no file is expected under this name; the audio is `file`")
        elif root in refused:
            if value:
                raise unsupported(root, refused[root])
        elif root != name and root in known - lists:
            raise unsupported(root, "is a text here, and has no parts")
        elif name not in known or (field.endswith("[]") and name not in lists):
            raise unsupported(field[:80], f"is not known; there are: file, {', '.join(sorted(known))}")
        else:
            values.setdefault(name, []).append(value)
    if file is None:
        raise ApiError(400, "file: the audio is missing", "file", "missing_required_parameter")
    return Form(file, values)


async def json_of(request: Request, kind: type[Body], refused: Mapping[str, tuple[tuple[Any, ...], str]]) -> Body:
    """The JSON object of a request.

    Args:
        request: Its body is not read yet.
        kind: What it may have; its fields are the options that are known.
        refused: Options of OpenAI's that this server does not have: the values that change nothing, and why there are
            no others.

    Raises:
        ApiError: It is no JSON (415, 400), has an option that is not known, or a value that cannot be.
    """
    if _content_type(request) != "application/json":
        raise ApiError(415, "send JSON (Content-Type: application/json)", code="unsupported_media_type")
    try:
        body = await asyncio.to_thread(_parsed, await request.body())  # of many MiB it takes a while
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is no JSON ({str(error)[:100]})", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the body is no JSON object", code="invalid_json")
    body = {name: value for name, value in body.items() if value is not None}
    for name, (neutral, reason) in refused.items():
        if name in body and body.pop(name) not in neutral:
            raise unsupported(name, reason)
    for name in body:
        if name not in kind.model_fields:
            raise unsupported(str(name)[:80], f"is not known; there are: {', '.join(kind.model_fields)}")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        missing = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        raise ApiError(400, f"{where}: {first['msg']}", where, missing) from error


def _parsed(body: bytes) -> Any:
    """The JSON value. Raises ValueError where it is none, or has half a character, which no text can hold."""
    value = json.loads(body)
    if _HALF.search(body) and _has_half(value):
        raise ValueError("a text has half of a surrogate pair")
    return value


def _has_half(value: Any) -> bool:
    if isinstance(value, str):
        return has_lone_surrogate(value)
    if isinstance(value, dict):
        return any(_has_half(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(_has_half, value))


def _content_type(request: Request) -> str:
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    return header.get_content_type()
