"""A test set beside its training set: whether both keep the same rows apart, and which of their folders are compared.

Rows go to splits by their speaker, recording or text alone. So a set whose shares, `by` and `hold_out` are those of
another has none of its speakers, and nothing of what it holds out, whatever sources and seed it has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import outputs, storage
from llaso_data.pipeline.convert.samples import open_samples
from llaso_data.pipeline.instruct.splits import kept_apart
from llaso_data.pipeline.instruct.summary import FORMAT, SUMMARY
from llaso_data.recipe import Convert, Instruct, Recipe, SourceSpec
from llaso_data.records import SPLITS
from llaso_data.uris import shown

_TEST = "test"
_WEB = ("http", "https")


def with_counterparts(recipe: Recipe) -> Recipe:
    """The recipe with the folders of instruction data in place of their roots in ``leakage.against``.

    Of training data the folders of ``train`` and ``validation`` are compared with a test set, of a test set its own
    with training data.

    Raises:
        LLaSOError: One of them is not there, or is this set itself; or it is the counterpart of this set (a training
            set of a test set, or the other way round) and keeps other rows apart.
    """
    against = recipe.instruct.leakage.against
    resolved = tuple(uri for one in against for uri in _compared(one, recipe))
    if resolved == tuple(against):
        return recipe
    check = recipe.instruct.leakage.model_copy(update={"against": resolved})
    return recipe.model_copy(update={"instruct": recipe.instruct.model_copy(update={"leakage": check})})


def _compared(uri: str, recipe: Recipe) -> list[str]:
    root = storage.absolute(uri)
    root = root.removesuffix(f"/{SUMMARY}")
    if storage.scheme(root) in _WEB or not isinstance(stated := _summary(root), Mapping):
        if recipe.instruct.leakage.kinds:  # before all rows are read
            open_samples(SourceSpec(path=uri), Convert(), Counter())
        return [uri]
    if recipe.out is not None and root == storage.absolute(recipe.out):
        raise LLaSOError(f"leakage.against: {shown(root)} is the set that is built")
    groups = [name for name in stated.get("groups", {}) if stated["groups"][name].get("samples", 1)]
    is_test, makes_test = bool(stated.get("layers")), recipe.instruct.eval is not None
    if is_test != makes_test:
        _check(root, stated, recipe.instruct)
        other = {_TEST} if is_test else {*SPLITS} - {_TEST}
        groups = [name for name in groups if name.partition("/")[0] in {"", *other}]
        if not groups:
            raise LLaSOError(
                f"leakage.against: {shown(root)} has no sample that is {'tested' if is_test else 'trained'} on"
            )
    return [storage.join(root, name) if name else root for name in groups]


def _summary(root: str) -> Any:
    try:
        stated = outputs.json_at(storage.join(root, SUMMARY))
    except NotADirectoryError:
        return None
    return stated if isinstance(stated, Mapping) and stated.get("format") == FORMAT else None


def _check(root: str, stated: Mapping[str, Any], instruct: Instruct) -> None:
    """Raises LLaSOError that names all settings in which the two differ."""
    own, other = kept_apart(instruct), stated.get("kept_apart") or {}
    if own["digest"] == other.get("digest"):
        return
    different = "; ".join(f"{name}: {theirs} there, {ours} here" for name, theirs, ours in _differences(other, own))
    raise LLaSOError(
        f"leakage.against: {shown(root)} keeps other rows apart than this set would ({different}), so that one could "
        "have what the other trains on; set these as they are there, or build that set again"
    )


def _differences(other: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in ("split", "by", "given_splits", "estimated"):
        if other.get(name) != own[name]:
            yield f"instruct.{name}", _said(other.get(name)), _said(own[name])
    theirs = other.get("hold_out") or {}
    for name, ours in own["hold_out"].items():
        if theirs.get(name) != ours:
            yield f"instruct.hold_out.{name}", _said(theirs.get(name)), _said(ours)


def _said(value: Any) -> str:
    return "not said" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
