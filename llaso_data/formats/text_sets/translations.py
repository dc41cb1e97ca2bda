"""Texts that say the same in several languages, as rows of translations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llaso_data import languages
from llaso_data.formats.rows.labels import label_value
from llaso_data.formats.rows.source_row import RowError

_CODE = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8}){0,2}")
_AMBIGUOUS = frozenset(("id", "no", "to", "is"))
"""Codes of languages that tables have as names of other columns."""


def by_language(texts: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """What goes in and what comes out, and the language of what goes in: both directions of every pair with the first.

    Of two languages these are two rows. Of more, the first language that the row names is paired with each other one.

    Args:
        texts: Language, in any spelling → text; those that are empty are left out.

    Raises:
        RowError: A language is none, a text is none, or fewer than two are there.
    """
    said: dict[str, str] = {}
    for name, value in texts.items():
        text = label_value(value)
        if text is None:
            continue
        code = languages.language(str(name))
        if code is None:
            raise RowError(f"{str(name)[:80]!r} is no language; write one as its code (en, zh) or its English name")
        if not isinstance(text, str):
            raise RowError(f"the text in {code} is no text")
        said.setdefault(code, text)
    if len(said) < 2:
        raise RowError("a translation has texts in two languages, and here are fewer")
    first, *others = said
    for other in others:
        for source, target in ((first, other), (other, first)):
            yield {"text": said[source], "translation": said[target], "target_language": target}, source


def language_columns(columns: Iterable[str]) -> dict[str, str]:
    """Code → column, of columns whose names are codes of languages; codes that may mean something else only beside two.

    A name of three letters counts where its language has a code of two: ``deu``, but not ``url``.
    """
    found: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for column in columns:
        name = str(column).strip().lower()
        code = languages.language(name) if _CODE.fullmatch(name) else None
        if code is None or not (len(code.partition("-")[0]) == 2 or len(name) > 3):
            continue
        (doubtful if name in _AMBIGUOUS else found).setdefault(code, str(column))
    if len(found) < 2 and "id" not in doubtful.values():
        found |= doubtful
    return found
