"""A recipe from YAML, and the digest of its judging part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llaso_data.formats import LAYOUTS
from llaso_data.io import settings
from llaso_data.io.setting_errors import not_among
from llaso_data.recipe import Recipe
from llaso_data.records import FORMAT_VERSION, digest

JUDGING_VERSION = 4
"""Raised when a rule changes its meaning, so that older verdict tables are not taken for current ones."""


def load(
    path: str | None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """The checked recipe of a YAML file, as :func:`llaso_data.io.settings.load` reads it; None gives the defaults."""
    return settings.load(Recipe, path, overrides, base, options, _problems)


def dump(recipe: Recipe) -> str:
    """The recipe as YAML with every key; :func:`load` of it gives the same recipe."""
    return settings.dump(recipe)


def judging_digest(recipe: Recipe, blocks: Sequence[str]) -> str:
    """Names a verdict table: what was observed (the blocks' digests, in order) and the judging part of the recipe.

    `judge.max_failures` is left out: it decides the exit code, not a verdict. So is what is null, as in the name of a
    block.
    """
    section = recipe.judge.model_dump(mode="json", exclude={"max_failures"}, exclude_none=True)
    canonical = json.dumps(section, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return digest("verdicts", FORMAT_VERSION, JUDGING_VERSION, canonical, *blocks)


def _problems(recipe: Recipe) -> Iterator[settings.Problem]:
    """What is wrong with a recipe besides its types."""
    for number, source in enumerate(recipe.sources):
        if source.type not in LAYOUTS.choices():
            yield ("sources", number, "type"), not_among(source.type, LAYOUTS.choices())
    # Without a model every lm_delta is null, and null would pass the rule unseen.
    if recipe.judge.consistency.lm_delta_min is not None and recipe.observe.language_model.model is None:
        yield ("judge", "consistency", "lm_delta_min"), "needs a model in observe.language_model.model"
