"""List what was not accepted, one line each: where it lies, which rule rejected it, and on which number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import pyarrow as pa

from llaso_data.pipeline import commit
from llaso_data.records import ACCEPTED
from llaso_data.uris import masked, shown

_PLACE = ("id", "source", "failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An utterance that was rejected, is a duplicate, or failed.

    Attributes:
        id: of the utterance.
        verdict: rejected, duplicate or failed.
        rule: the rule's name.
        value: the number that the rule compared; None where it compared none.
        threshold: with which it was compared.
        place: where the sound lies.
        duplicate_of: the id of the utterance that stays.
        detail: the message of the failure.
    """

    id: str
    verdict: str
    rule: str
    value: float | None
    threshold: float | None
    place: str
    duplicate_of: str | None
    detail: str | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def rejections(align: str, rule: str | None = None) -> Iterator[Rejection]:
    """List everything that a run did not accept, in the order of its records, with one block in memory.

    Args:
        align: build-align's output.
        rule: a rule's name, or its beginning up to a dot: ``failed``, ``consistency``; None for all.

    Raises:
        LLaSOError: where there is no finished run, or verdicts and observations do not belong together.
    """
    for judged, observed in commit.judged(align, commit.manifest(align), _PLACE):
        yield from _of_block(judged, observed, rule)


def _of_block(judged: pa.Table, observed: pa.Table, rule: str | None) -> Iterator[Rejection]:
    pairs = zip(judged["verdict"].to_pylist(), judged["rule"].to_pylist(), strict=True)
    rows = [row for row, (verdict, name) in enumerate(pairs) if verdict != ACCEPTED and _matches_rule(name or "", rule)]
    indices = pa.array(rows, pa.int64())
    for verdict, record in zip(judged.take(indices).to_pylist(), observed.take(indices).to_pylist(), strict=True):
        yield Rejection(
            id=verdict["id"],
            verdict=verdict["verdict"],
            rule=verdict["rule"] or "",
            value=verdict["value"],
            threshold=verdict["threshold"],
            place=place(record["source"]),
            duplicate_of=verdict["duplicate_of"],
            detail=None if record["failure"] is None else masked(record["failure"]["detail"] or ""),
        )


def _matches_rule(name: str, rule: str | None) -> bool:
    return rule is None or name == rule or name.startswith(f"{rule}.")


def place(source: dict[str, Any]) -> str:
    """``uri!member 1.5-3.25 s`` of a record's source, as far as it has them."""
    member = "" if source["member"] is None else f"!{source['member']}"
    uri = shown(source["uri"])
    if source["start_s"] is None and source["end_s"] is None:
        return f"{uri}{member}"
    end = "end" if source["end_s"] is None else f"{source['end_s']:g} s"
    return f"{uri}{member} {source['start_s'] or 0:g}-{end}"


def lines(rejections: Iterator[Rejection]) -> Iterator[str]:
    """Tab-separated lines with a header; control characters in names are escaped."""
    header = ("verdict", "rule", "value", "threshold", "place", "detail")
    rows = ((r.verdict, r.rule, _number(r.value), _number(r.threshold), r.place, _detail(r)) for r in rejections)
    for row in chain([header], rows):
        yield "\t".join(_printable(cell) for cell in row)


def _detail(rejection: Rejection) -> str:
    if rejection.duplicate_of is not None:
        return f"duplicate of {rejection.duplicate_of}"
    return rejection.detail or ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _printable(cell: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)
