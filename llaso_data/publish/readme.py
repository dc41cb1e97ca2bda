"""``README.md`` of a repository: our part of its YAML and our section lie between marks; all else is somebody's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import yaml_text

NAME = "README.md"
_BY = "written by `llaso-data push`, which writes it anew"
_YAML_BEGIN, _YAML_END = f"# begin llaso-data: {_BY}", "# end llaso-data"
_BEGIN, _END = f"<!-- begin llaso-data: {_BY} -->", "<!-- end llaso-data -->"
_FRONT = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_OWN_YAML = re.compile(r"^# begin llaso-data:.*?^# end llaso-data[ \t]*\n?", re.DOTALL | re.MULTILINE)
_OWN_TEXT = re.compile(r"^<!-- begin llaso-data:.*?^<!-- end llaso-data -->[ \t]*\n?", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Readme:
    """A card.

    Attributes:
        text: The whole file.
        kept: Keys of its YAML that somebody wrote, and that are therefore not ours to set.
    """

    text: str
    kept: tuple[str, ...]


def compose(base: str, place: str, metadata: Mapping[str, Any], section: str) -> Readme:
    """Put our YAML and our section into a card; nothing else of it changes.

    A key that the card's YAML has already stays as it is. The section goes where it was, else to the end.

    Args:
        base: What somebody wrote, with or without what an earlier push added; empty where nobody did.
        place: What messages call it.
        metadata: Keys of the YAML.
        section: Markdown, without the marks.

    Raises:
        LLaSOError: The YAML of the card cannot be read, or one of our marks stands without the other.
    """
    base = base.removeprefix("\ufeff").replace("\r\n", "\n")
    front, body = _parted(base)
    front = _OWN_YAML.sub("", front)
    _refuse_half(place, front, body)
    written = yaml_text.parse(place, front, "card") if front.strip() else {}
    if written is not None and not isinstance(written, dict):
        raise LLaSOError(f"{place}: what stands between its lines --- is no YAML of keys and values")
    kept = tuple(key for key in metadata if key in (written or {}))
    ours = yaml_text.to_yaml({key: value for key, value in metadata.items() if key not in kept})
    if front and not front.endswith("\n"):
        front += "\n"
    head = f"---\n{front}{_YAML_BEGIN}\n{ours}{_YAML_END}\n---\n"
    block = f"{_BEGIN}\n\n{section}\n{_END}\n"
    if _OWN_TEXT.search(body):
        text = _OWN_TEXT.sub(lambda _: block, body, count=1)
    elif body.strip():
        text = f"{body.rstrip()}\n\n{block}"
    else:
        text = f"\n# {_title(metadata)}\n\n{block}"
    return Readme(head + text, kept)


def by_hand(text: str) -> str:
    """What of a card is somebody's own: all but our YAML, our section, and a title that we gave."""
    front, body = _parted(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    body = _OWN_TEXT.sub("", body)
    return "\n".join(line for line in f"{_OWN_YAML.sub('', front)}\n{body}".splitlines() if line.strip())


def is_untouched(text: str, metadata: Mapping[str, Any]) -> bool:
    """Whether a card has nothing but what :func:`compose` makes where there is none."""
    return by_hand(text) in ("", f"# {_title(metadata)}")


def _title(metadata: Mapping[str, Any]) -> str:
    return str(metadata["pretty_name"])


def _parted(text: str) -> tuple[str, str]:
    """The YAML of a card, and what follows it."""
    match = _FRONT.match(text)
    return (match[1], text[match.end() :]) if match else ("", text)


def _refuse_half(place: str, front: str, body: str) -> None:
    left = _OWN_TEXT.sub("", body)
    for mark, text in (("# begin llaso-data", front), ("# end llaso-data", front), ("<!-- begin llaso-data", left)):
        if re.search(rf"^{re.escape(mark)}", text, re.MULTILINE):
            raise LLaSOError(
                f"{place}: its line `{mark}…` has no partner; remove it, or take both lines of `{_BEGIN[:24]}…` back"
            )
