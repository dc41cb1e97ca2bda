"""Text of data inside Markdown: whatever it holds, it stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LONGEST = 200  # characters of a name or text in a card
_PUNCTUATION = re.compile(r"""[!"#$&'()*+\-.:<>@\[\\\]^_`{|}~]""")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
_HARMLESS = re.compile(r"(?<=[A-Za-z0-9])(?:[-_+](?=[A-Za-z0-9])|[.:](?= |$))|(?<=[0-9])\.(?=[0-9])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;", "'": "&#39;"}


def text(value: object) -> str:
    """A value of the data as one line of Markdown that renders as it is: no link, tag, table or heading comes of it.

    Line breaks and characters that are not seen become spaces, and the middle of a long text is left out.
    """
    line = _BLANK.sub(" ", str(value)).strip().encode("utf-8", "replace").decode()
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
    kept = {match.start() for match in _HARMLESS.finditer(line)}
    return _PUNCTUATION.sub(lambda match: match[0] if match.start() in kept else _escaped(match[0]), line)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty one behind it.

    Args:
        heads: Of the columns; all but the first are aligned to the right where they end in ``:``.
        rows: Cells as Markdown; what is data went through :func:`text`.
    """
    if not rows:
        return []
    rules = ["---:" if head.endswith(":") else "---" for head in heads]
    lines = [[head.rstrip(":") for head in heads], rules, *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _escaped(character: str) -> str:
    return _ENTITIES.get(character, f"\\{character}")
