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

JUDGING_VERSION = 5
"""Increased when a rule changes its meaning, so that an older verdict table is not taken for a current one."""

_NO_VERDICT = {"max_failures", "calibrate", "false_alarms"}  # keys of `judge` that decide none


def load(
    path: str | None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Reads and checks a recipe.

    Args:
        path: YAML file; None gives the defaults.
        overrides: ``KEY=VALUE`` with dotted keys, as ``--set`` takes them.
        base: Nested values that count less than the file.
        options: Values by dotted key that win over the file; None is left out.

    Raises:
        LLaSOError: The file cannot be read, or a key or value is wrong.
    """
    return settings.load(Recipe, path, overrides, base, options, _problems)


def dump(recipe: Recipe) -> str:
    """The recipe as YAML with every key; :func:`load` of it gives the same recipe."""
    return settings.dump(recipe)


def judging_digest(recipe: Recipe, blocks: Sequence[str], fitted: Sequence[Mapping[str, Any]] = ()) -> str:
    """The digest that names a verdict table, of the recipe's judging part and the blocks' names, in order.

    What decides no verdict is left out: ``judge.max_failures``, which decides the exit code, and ``judge.calibrate``
    and ``judge.false_alarms``, of which only what was fitted counts. Keys that are null are left out too, as in the
    name of a block.

    Args:
        recipe: The recipe.
        blocks: Names of blocks.
        fitted: The thresholds by group that replace the recipe's, as
            :meth:`llaso_data.filters.group_thresholds.GroupThresholds.to_json` gives them.
    """
    section = recipe.judge.model_dump(mode="json", exclude=_NO_VERDICT, exclude_none=True)
    if fitted:
        section["fitted"] = list(fitted)
    canonical = json.dumps(section, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return digest("verdicts", FORMAT_VERSION, JUDGING_VERSION, canonical, *blocks)


def _problems(recipe: Recipe) -> Iterator[settings.Problem]:
    """The faults of a recipe that its types do not show."""
    choices = LAYOUTS.choices()
    for number, source in enumerate(recipe.sources):
        if not LAYOUTS.takes(source.type):
            yield ("sources", number, "type"), not_among(source.type, choices)
    # Without a model every lm_delta is null, and null passes every rule.
    if recipe.judge.consistency.lm_delta_min is not None and recipe.observe.language_model.model is None:
        yield ("judge", "consistency", "lm_delta_min"), "needs a model in observe.language_model.model"
