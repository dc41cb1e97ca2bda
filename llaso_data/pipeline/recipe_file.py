"""``recipe.yaml`` in build-align's output: the recipe that ran, below a line with its digest, which shows edits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llaso_data.io import outputs, settings, storage
from llaso_data.pipeline.load_recipe import dump
from llaso_data.recipe import Recipe
from llaso_data.records import digest

NAME = "recipe.yaml"

_MARK = re.compile(r"# Written by `llaso-data build-align`, which replaces it only unedited: ([0-9a-f]{32})\n")


def text_of(recipe: Recipe) -> str:
    """The file's text."""
    body = dump(recipe)
    return f"# Written by `llaso-data build-align`, which replaces it only unedited: {_mark(body)}\n{body}"


def refuse(out: str, recipe: Recipe, manifest: Mapping[str, Any] | None) -> None:
    """Refuses to replace a recipe.yaml that a person wrote or edited.

    A file may be replaced if it says the same as ``recipe``; if its first line has the digest of the rest; or if it has
    no such line and an earlier version of LLaSO wrote it, which the ``manifest`` beside it shows.

    Raises:
        LLaSOError: The file may not be replaced.
    """

    def ours(uri: str) -> bool:
        try:
            text = storage.read_bytes(uri).decode("utf-8")
        except UnicodeDecodeError:
            return False
        mark = _MARK.match(text)
        body = text if mark is None else text[mark.end() :]
        if body == dump(recipe) or (mark is not None and mark[1] == _mark(body)):
            return True
        values = settings.dumped(body) if mark is None and manifest is not None else None
        if values is None or manifest is None:
            return False
        return {name: value for name, value in values.items() if name not in ("run", "out")} == manifest.get("recipe")

    outputs.refuse(storage.join(out, NAME), "llaso-data build-align", ours)


def _mark(body: str) -> str:
    return digest("recipe.yaml", body)
