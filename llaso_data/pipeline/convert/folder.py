"""The output of a conversion: it may hold parts to go on with, an older conversion to replace, or foreign files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS
from llaso_data.io import checksums, outputs, storage
from llaso_data.pipeline import shard_folder
from llaso_data.pipeline.convert.part import SHARDS, WORK, PartJob, ids_uri, retire
from llaso_data.pipeline.convert.parts import PlannedPart
from llaso_data.recipe import Convert
from llaso_data.shards import layout, manifest, removal
from llaso_data.shards.removal import Removed

PLAN, SUMMARY = "plan.json", "convert.json"
ARCHIVES = f"{WORK}/archives"
"""Where a conversion archive by archive keeps what its stages found out."""
INSTRUCT = ".build-instruct"
"""Where `build-instruct` keeps what it spoke and rendered, in its output."""
PLAN_FORMAT, SUMMARY_FORMAT = "llaso-convert-plan", "llaso-convert"
_BY = "llaso-data convert"
_COMMIT = re.compile(rf"(?:(.+)/)?{re.escape(WORK)}/part-(\d{{6,}})\.json")


@dataclass(frozen=True, slots=True)
class Generation:
    """What a run adds to its folder.

    Attributes:
        number: Counted from 1: the first is the conversion itself, each further one an ``--append``.
        dataset: Digest that names what it writes.
        first: The number of its first part, by group.
        earlier: Group and number of the parts of earlier generations.
    """

    number: int
    dataset: str
    first: dict[str, int]
    earlier: tuple[tuple[str, int], ...] = ()


def prepare(out: str, dataset: str, to: str, *, overwrite: bool = False, append: bool = False) -> Generation:
    """Make the folder ready for a run, of which some may be there already.

    With ``overwrite`` an older conversion is removed, and nothing but what it wrote.

    Args:
        out: The folder.
        dataset: Digest of the sources and settings of the run.
        to: What is written.
        overwrite: Replace a conversion of other sources or settings.
        append: Add to a finished conversion.

    Raises:
        LLaSOError: The folder holds another conversion (and neither ``overwrite`` nor ``append``), one that is not
            finished (and ``append``), or files that none wrote.
    """
    plan = _plan(out)
    if plan is None:
        _refuse_foreign(out, append)
    elif append:
        return _grown(out, plan, dataset, to)
    elif removed_from(out) and not overwrite:
        raise LLaSOError(
            f"samples were removed from {out}; pass --append to add what is new, or --overwrite to convert all again "
            "without them"
        )
    elif len(plan["generations"]) > 1 and not overwrite:
        raise LLaSOError(
            f"{out} has grown by --append; pass --append to add what is new, or --overwrite to convert all again"
        )
    elif plan["generations"][-1]["dataset"] != dataset:
        if not overwrite:
            raise LLaSOError(
                f"{out} holds a conversion of other sources or with other options; choose another --out, or pass "
                "--overwrite to replace it, or --append to add to it"
            )
        _remove(out, plan["to"])
    elif overwrite and (len(plan["generations"]) > 1 or removed_from(out)):
        _remove(out, plan["to"])
    _write_plan(out, to, [{"dataset": dataset, "first": {}}])
    return Generation(1, dataset, {})


def _grown(out: str, plan: Mapping[str, Any], dataset: str, to: str) -> Generation:
    """The generation that an ``--append`` writes: a new one, or that of a run that was killed."""
    generations = list(plan["generations"])
    if plan["to"] != to:
        raise LLaSOError(f"{out} holds {plan['to']}, and --to {to} cannot be added to it; choose another --out")
    base = records.digest("append", dataset)
    summary = outputs.json_at(storage.join(out, SUMMARY))
    finished = summary.get("generation", 1) if isinstance(summary, dict) else 0
    commits = sorted(_commits(out))
    if finished < len(generations):
        last = generations[-1]
        if len(generations) == 1 or last.get("base") != base:
            raise LLaSOError(
                f"{out}: an earlier run was stopped before its end; run the same command again to finish it, and then "
                "--append"
            )
    else:
        first = {group: _next_number(out, group, commits) for group, _ in commits}
        digest = records.digest(base, len(generations), generations[-1]["dataset"])
        generations.append({"dataset": digest, "base": base, "first": first})
        _write_plan(out, to, generations)
    first = generations[-1]["first"]
    earlier = tuple((group, number) for group, number in commits if number < first.get(group, 0))
    return Generation(len(generations), generations[-1]["dataset"], first, earlier)


def _next_number(out: str, group: str, commits: Collection[tuple[str, int]]) -> int:
    """After all parts and shards of a group: shards that were written anew by a removal have numbers of their own."""
    numbers = [number for name, number in commits if name == group]
    listed = (layout.shard_number(row["path"]) for row in storage.listing(folder_of(out, group)))
    return 1 + max([*numbers, *(number for number in listed if number is not None)])


def _refuse_foreign(out: str, append: bool) -> None:
    ours = (".llaso", f"{ARCHIVES}/", f"{INSTRUCT}/")
    foreign = [row["path"] for row in storage.listing(out) if not row["path"].startswith(ours)]
    if foreign:
        raise LLaSOError(
            f"{out} holds {len(foreign)} files that `{_BY}` did not write, the first is {foreign[0]}; "
            "choose another --out"
        )
    if append:
        raise LLaSOError(f"{out} holds no conversion to add to; leave out --append")


def _write_plan(out: str, to: str, generations: list[dict[str, Any]]) -> None:
    stated = {"format": PLAN_FORMAT, "to": to, "generations": generations}
    checksums.write_json(storage.join(out, WORK, PLAN), stated)


def _plan(out: str) -> Mapping[str, Any] | None:
    uri = storage.join(out, WORK, PLAN)
    try:
        plan = checksums.read_json(uri, "; remove the folder and convert again")
    except (FileNotFoundError, ValueError):
        return None
    return plan if isinstance(plan, dict) and plan.get("format") == PLAN_FORMAT else None


def _commits(out: str) -> set[tuple[str, int]]:
    """Group and number of every part that is committed."""
    return {commit for row in storage.listing(out) if (commit := _commit(row["path"])) is not None}


def known_ids(out: str, parts: Iterable[tuple[str, int]]) -> Iterator[bytes]:
    """The ids of the samples of parts, 16 bytes each."""
    for group, number in parts:
        yield storage.read_bytes(ids_uri(folder_of(out, group), number))


def removed_from(out: str) -> Removed:
    """What was taken out of the set, or of the set of any group below it."""
    ledgers = [row["path"] for row in storage.listing(out) if row["path"].rpartition("/")[2] == removal.LEDGER]
    taken = [removal.ledger(folder_of(out, path.rpartition("/")[0])) for path in ledgers]
    return Removed(
        speaker_digests=frozenset().union(*(one.speaker_digests for one in taken)),
        names=frozenset().union(*(one.names for one in taken)),
    )


def folder_of(out: str, group: str) -> str:
    """The folder of a group."""
    return storage.join(out, group) if group else out


def job_of(
    out: str, dataset: str, settings: Convert, part: PlannedPart, digest: str, lock_token: str | None
) -> PartJob:
    """A planned part as a job.

    Args:
        out: The folder of the conversion.
        dataset: Digest of the conversion.
        settings: With every choice made.
        part: The part.
        digest: Of all that decides its bytes.
        lock_token: Of the run.
    """
    assert settings.audio is not None
    return PartJob(
        root=out,
        out=folder_of(out, part.group),
        group=part.group,
        number=part.number,
        samples=part.samples,
        digest=digest,
        dataset=dataset,
        to=settings.to,
        audio=settings.audio,
        filter=settings.filter,
        lock=lock_token,
    )


def _remove(out: str, to: str) -> None:
    """Remove the parts that are committed, and what was made of them."""
    listed = {row["path"] for row in storage.listing(out)}
    named = {SUMMARY}
    writer = LAYOUTS[to].writer if to in LAYOUTS else None
    made_once = () if writer is None else writer.made_once
    named |= {path for path in listed if path.startswith(f"{ARCHIVES}/")}
    for group, number in _commits(out):
        stated = outputs.json_at(storage.join(out, group, WORK, f"part-{number:06d}.json"))
        tables = stated.get("tables", []) if isinstance(stated, dict) else []
        named |= {storage.join(group, name).lstrip("/") for name, *_ in tables}
        named |= {
            path
            for path in listed
            if path.rpartition("/")[0] == group and manifest.is_summary_name(path.rpartition("/")[2])
        }
        named |= {storage.join(group, name).lstrip("/") for name in made_once}
        retire(folder_of(out, group), number)
    fs, root = storage.filesystem(out)
    for path in sorted(listed & named):
        fs.rm_file(storage.join(root, path))


def take_back(out: str, generation: Generation, parts: Collection[tuple[str, int]]) -> int:
    """Forget a generation that got not one sample, so that the next run need not be of the same sources and options.

    Args:
        out: The folder of the conversion.
        generation: What :func:`prepare` gave.
        parts: Group and number of the parts of this run, which are all empty.

    Returns:
        The number of the last generation that there is now.
    """
    fs, root = storage.filesystem(out)
    if generation.number > 1:
        plan = _plan(out)
        assert plan is not None
        remove_stale(out, generation.earlier)
        _write_plan(out, plan["to"], plan["generations"][: generation.number - 1])
    elif not storage.exists(storage.join(out, SUMMARY)) and _commits(out) <= set(parts):
        remove_stale(out, ())
        fs.rm_file(storage.join(root, WORK, PLAN))
    return max(1, generation.number - 1)


def remove_stale(out: str, parts: Collection[tuple[str, int]]) -> None:
    """Remove the parts of earlier runs of this conversion, when its sources held more, that are no longer there.

    Args:
        out: The folder of the conversion.
        parts: Group and number of every part that there is.
    """
    for group, number in _commits(out) - set(parts):
        retire(folder_of(out, group), number)


def _commit(path: str) -> tuple[str, int] | None:
    """Group and number of the part that a file is the commit of."""
    match = _COMMIT.fullmatch(path)
    return (match[1] or "", int(match[2])) if match else None


def clear_group(out: str, dataset: str, to: str, overwrite: bool) -> None:
    """The same for the folder of one group, where it is to hold shards."""
    if to == SHARDS:
        shard_folder.clear(out, dataset, overwrite)
