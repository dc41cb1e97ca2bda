"""The output of a conversion: it may hold parts to go on with, an older conversion to replace, or foreign files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, outputs, storage
from llaso_data.pipeline import shard_folder
from llaso_data.pipeline.convert.part import SHARDS, WORK, retire
from llaso_data.shards import layout

PLAN, SUMMARY = "plan.json", "convert.json"
PLAN_FORMAT, SUMMARY_FORMAT = "llaso-convert-plan", "llaso-convert"
_BY = "llaso-data convert"
_COMMIT = re.compile(rf"(?:(.+)/)?{re.escape(WORK)}/part-(\d{{6,}})\.json")


def clear(out: str, dataset: str, to: str, overwrite: bool) -> None:
    """Make the folder ready for the conversion ``dataset``, of which some may be there already.

    With ``overwrite`` an older conversion is removed, and nothing but what it wrote.

    Raises:
        LLaSOError: The folder holds another conversion (and not ``overwrite``), or files that none wrote.
    """
    plan = _plan(out)
    if plan is None:
        foreign = [
            row["path"] for row in storage.listing(out) if not row["path"].rpartition("/")[2].startswith(".llaso")
        ]
        if foreign:
            raise LLaSOError(
                f"{out} holds {len(foreign)} files that `{_BY}` did not write, the first is {foreign[0]}; "
                "choose another --out"
            )
    elif plan["dataset"] != dataset:
        if not overwrite:
            raise LLaSOError(
                f"{out} holds a conversion of other sources or with other options; choose another --out, or pass "
                "--overwrite to replace it"
            )
        _remove(out)
    checksums.write_json(storage.join(out, WORK, PLAN), {"format": PLAN_FORMAT, "dataset": dataset, "to": to})


def _plan(out: str) -> Mapping[str, Any] | None:
    uri = storage.join(out, WORK, PLAN)
    try:
        plan = checksums.read_json(uri, "; remove the folder and convert again")
    except (FileNotFoundError, ValueError):
        return None
    return plan if isinstance(plan, dict) and plan.get("format") == PLAN_FORMAT else None


def _remove(out: str) -> None:
    """Remove the parts that are committed, and what was made of them."""
    listed = {row["path"] for row in storage.listing(out)}
    commits = [commit for path in listed if (commit := _commit(path)) is not None]
    named = {SUMMARY}
    for group, number in commits:
        stated = outputs.json_at(storage.join(out, group, WORK, f"part-{number:06d}.json"))
        tables = stated.get("tables", []) if isinstance(stated, dict) else []
        named |= {storage.join(group, name).lstrip("/") for name, *_ in tables}
        named |= {storage.join(group, name).lstrip("/") for name in (layout.MANIFEST, layout.INDEX, layout.CERTIFICATE)}
        retire(storage.join(out, group) if group else out, number)
    summary = outputs.json_at(storage.join(out, SUMMARY))
    if isinstance(summary, dict) and summary.get("format") == SUMMARY_FORMAT:
        named |= set(summary.get("once", []))
    fs, root = storage.filesystem(out)
    for path in sorted(listed & named):
        fs.rm_file(storage.join(root, path))


def remove_stale(out: str, parts: Collection[tuple[str, int]]) -> None:
    """Remove the parts of earlier runs of this conversion, when its sources held more, that are no longer there.

    Args:
        out: The folder of the conversion.
        parts: Group and number of every part that there is.
    """
    for row in storage.listing(out):
        commit = _commit(row["path"])
        if commit is not None and commit not in parts:
            retire(storage.join(out, commit[0]) if commit[0] else out, commit[1])


def _commit(path: str) -> tuple[str, int] | None:
    """Group and number of the part that a file is the commit of."""
    match = _COMMIT.fullmatch(path)
    return (match[1] or "", int(match[2])) if match else None


def clear_group(out: str, dataset: str, to: str, overwrite: bool) -> None:
    """The same for the folder of one group, where it is to hold shards."""
    if to == SHARDS:
        shard_folder.clear(out, dataset, overwrite)
