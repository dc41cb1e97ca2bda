"""Judge: from observations to one verdict for every utterance. It sees all utterances and reads no audio.

Block files are read a group at a time, and of them only the columns that the rules need. About a hundred bytes of
arrays are kept per utterance, so millions fit into memory. No step loops over rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llaso_data import recipe
from llaso_data.errors import LLaSOError
from llaso_data.filters import audit_draw, border_limits, columns, duplicates
from llaso_data.filters.duplicates import Hashes
from llaso_data.filters.group_thresholds import NO_FITS, GroupThresholds
from llaso_data.filters.rules import STANDS_OUT, Columns, Rule
from llaso_data.io import storage
from llaso_data.records import ACCEPTED, DUPLICATE, FAILED, REJECTED, UNKNOWN, Verdict, completed, schema

REPEATED_ID = "repeated_id"
DUPLICATES_AUDIO = "duplicates.audio"

_FILES_AT_ONCE = 32
_ROWS_AT_ONCE = 1 << 20
_VERDICTS = (ACCEPTED, REJECTED, DUPLICATE, FAILED)
_ACCEPTED, _REJECTED, _DUPLICATE, _FAILED = range(4)


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """The verdict table and what it adds up to.

    Attributes:
        table: One row per utterance, in the order of the observations.
        counts: ``inputs`` (accepted + rejected + duplicates + failed), ``recordings`` that they were cut from,
            ``audited``.
        rules: How many utterances each rule kept out, failures under ``failed.REASON``.
        hours: ``observed`` (everything decoded), and of it ``accepted``, ``rejected`` and ``duplicates``.
        languages: Accepted utterances and hours, by language.
        border_limits: The level in dB above which an utterance's edge stands out: (corpus, language, level).
        notes: Utterances counted besides the verdicts, by sentence.
    """

    table: pa.Table
    counts: dict[str, int]
    rules: dict[str, int]
    hours: dict[str, float]
    languages: dict[str, dict[str, float]]
    border_limits: list[tuple[str, str, float]]
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def failed_share(self) -> float:
        """Failed inputs over all inputs, what ``judge.max_failures`` limits."""
        return self.counts["failed"] / max(1, self.counts["inputs"])

    def summary(self) -> dict[str, Any]:
        """Everything but the table, as JSON."""
        return {
            "counts": self.counts,
            "rules": self.rules,
            "hours": self.hours,
            "languages": self.languages,
            "border_limits": self.border_limits,
            **({"notes": self.notes} if self.notes else {}),
        }


def judge(block_files: Sequence[str], section: recipe.Judge, fitted: GroupThresholds = NO_FITS) -> JudgeResult:
    """Judges the utterances of observation files.

    Args:
        block_files: URIs of the files, in order.
        section: The recipe's thresholds.
        fitted: Thresholds of groups of corpus and language, in place of the recipe's.

    Raises:
        LLaSOError: A file is missing or foreign, or the counts do not add up.
    """
    state = _read_observations(block_files, section, fitted)
    corpus_rank = _ranks(state.corpora)[state.corpus]
    strata = _ranks(state.languages)[state.language].astype(np.int64) * len(state.corpora) + corpus_rank
    count = len(state.corpora) * len(state.languages)
    limits = border_limits.limits(state.border_db, strata, count, section.confidence.border_margin_db)
    _judge_edges(state, limits[strata])
    verdicts, rule_codes = state.verdicts, state.rules
    open_rows = verdicts != _FAILED
    repeated = duplicates.repeated(state.ids, open_rows)
    # A repeated id is named before any score is looked at: it is a fault of the sources, not of the audio.
    verdicts[repeated], rule_codes[repeated] = _REJECTED, state.names.code(REPEATED_ID)
    state.values[repeated] = np.nan
    original = np.full(len(verdicts), -1, np.int64)
    if section.duplicates.exact:
        candidates = (verdicts == _ACCEPTED) & state.audio_ids.any(axis=1)
        original = duplicates.exact(state.audio_ids, state.ids, corpus_rank, candidates)
        verdicts[original >= 0], rule_codes[original >= 0] = _DUPLICATE, state.names.code(DUPLICATES_AUDIO)
    audited = audit_draw.draw(
        state.ids,
        strata,
        count,
        verdicts == _ACCEPTED,
        section.audit.items,
        section.audit.seed,
    )
    result = _summary(state, audited, _table(state, original, audited), limits)
    _check(result)
    return result


@dataclass(slots=True)
class Codes:
    """Numbers for names, in the order in which they were first seen."""

    numbers: dict[str, int] = field(default_factory=dict)

    def code(self, name: str) -> int:
        """The number of a name; a name that is new gets the next one."""
        return self.numbers.setdefault(name, len(self.numbers))

    def encode(self, column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """The number of every row's name, shape (rows,); nulls must be filled."""
        names = pc.unique(column)
        local = pc.index_in(column, value_set=names).to_numpy()
        code_of = np.array([self.code(name) for name in names.to_pylist()], np.int32)
        codes: npt.NDArray[np.int32] = code_of[local] if len(code_of) else np.zeros(0, np.int32)
        return codes

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(slots=True)
class _State:
    """What is kept of every utterance: arrays of one row each, and the names behind their codes."""

    ids: Hashes
    audio_ids: Hashes
    corpus: npt.NDArray[np.int32]
    language: npt.NDArray[np.int32]
    durations_s: npt.NDArray[np.float64]
    verdicts: npt.NDArray[np.int8]
    rules: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    border_db: npt.NDArray[np.float64]
    border_max_db: npt.NDArray[np.float64]  # the threshold where the border rule rejects if the edge stands out, or NaN
    border_rule: str | None
    recordings: int
    corpora: Codes
    languages: Codes
    names: Codes
    notes: Counter[str]


def _read_observations(block_files: Sequence[str], section: recipe.Judge, fitted: GroupThresholds) -> _State:
    """Reads every block file once and applies the rules that look at one utterance alone."""
    ordered_rules = fitted.rules(section)
    needed = sorted({"duration_s", *(name for rule in ordered_rules for name in rule.needs())})
    stored = columns.stored(needed)
    corpora, languages, names = Codes(), Codes(), Codes()
    groups: list[tuple[npt.NDArray[Any], ...]] = []
    notes: Counter[str] = Counter()
    remote = any(not storage.is_local(uri) for uri in block_files)
    with ThreadPoolExecutor(16 if remote else min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(block_files), _FILES_AT_ONCE):
            group = block_files[start : start + _FILES_AT_ONCE]
            table = pa.concat_tables(list(pool.map(lambda uri: columns.read(uri, stored), group)))
            derived = columns.derive(table, needed, section.consistency.phrases, fitted=fitted)
            groups.append(
                (
                    columns.hashes(table["id"], "id"),
                    columns.hashes(table["audio_id"], "audio_id"),
                    columns.hashes(table["recording"], "recording"),
                    corpora.encode(table["source.corpus"]),
                    languages.encode(pc.fill_null(table["language"], UNKNOWN)),
                    np.nan_to_num(derived["duration_s"]),
                    *_try(ordered_rules, derived, table["failure.reason"], names),
                    derived.get("border_db", np.full(len(table), np.nan)),
                )
            )
            notes.update(columns.notes(table, derived))
    if not groups:
        groups.append(_no_rows())
    pieces = list(zip(*groups, strict=True))
    del groups
    joined: list[npt.NDArray[Any]] = []
    while pieces:  # one column at a time, so that the pieces of one are freed before the next is joined
        joined.append(np.concatenate(pieces.pop(0)))
    ids, audio_ids, recordings, corpus, language, durations_s, verdicts, rule_codes, values, thresholds = joined[:10]
    border_max_db, border_db = joined[10:]
    return _State(
        ids=ids,
        audio_ids=audio_ids,
        recordings=_distinct(recordings),
        corpus=corpus,
        language=language,
        durations_s=durations_s,
        verdicts=verdicts,
        rules=rule_codes,
        values=values,
        thresholds=thresholds,
        border_db=border_db,
        border_max_db=border_max_db,
        border_rule=next((rule.name for rule in ordered_rules if rule.only == STANDS_OUT), None),
        corpora=corpora,
        languages=languages,
        names=names,
        notes=notes,
    )


def _try(
    ordered_rules: Sequence[Rule], derived: Columns, reason: pa.ChunkedArray, names: Codes
) -> tuple[npt.NDArray[Any], ...]:
    """Applies rules in their order; a failure, else the first rule violated, decides a row.

    The border rule needs the usual level of a corpus, which is known only when all of the corpus was read. It is
    skipped here.

    Returns:
        Five arrays of shape (rows,): the verdict, the code of the rule's name or -1, the value, the threshold, and
        the border rule's threshold where that rule is the first that the row violates, else NaN.
    """
    rows = len(reason)
    rule_code = np.full(rows, -1, np.int32)
    value, threshold = np.full(rows, np.nan), np.full(rows, np.nan)
    failed = ~np.asarray(reason.is_null().to_numpy(), bool)
    reasons = pc.binary_join_element_wise("failed", reason.filter(pa.array(failed)), ".")
    rule_code[failed] = names.encode(reasons)
    verdict = np.where(failed, np.int8(_FAILED), np.int8(_ACCEPTED))
    border_max_db = np.full(rows, np.nan)
    for rule in ordered_rules:
        mask, values = rule.violations(derived)
        mask = mask & (verdict == _ACCEPTED)
        if rule.only == STANDS_OUT:
            border_max_db[mask] = rule.thresholds(derived)[mask]
        elif mask.any():
            verdict[mask] = _REJECTED
            rule_code[mask] = names.code(rule.name)
            value[mask], threshold[mask] = values[mask], rule.thresholds(derived)[mask]
    return verdict, rule_code, value, threshold, border_max_db


def _judge_edges(state: _State, limit_db: npt.NDArray[np.float64]) -> None:
    """Rejects the rows that violate the border rule and whose edge is louder than ``limit_db``, of shape (rows,)."""
    rows = np.flatnonzero(~np.isnan(state.border_max_db) & (state.border_db > limit_db))
    if len(rows) and state.border_rule is not None:
        state.verdicts[rows] = _REJECTED
        state.rules[rows] = state.names.code(state.border_rule)
        state.values[rows] = state.border_db[rows]
        state.thresholds[rows] = np.maximum(state.border_max_db[rows], limit_db[rows])


def _no_rows() -> tuple[npt.NDArray[Any], ...]:
    """The arrays of no utterances."""
    ids, codes, numbers = np.zeros((0, 2), np.uint64), np.zeros(0, np.int32), np.zeros(0)
    verdicts = np.zeros(0, np.int8)
    return (ids, ids, ids, codes, codes, numbers, verdicts, codes, numbers, numbers, numbers, numbers)


def _distinct(values: Hashes) -> int:
    ordered = values[np.lexsort((values[:, 1], values[:, 0]))]
    return int((ordered[1:] != ordered[:-1]).any(axis=1).sum()) + (len(values) > 0)


def _ranks(names: Codes) -> npt.NDArray[np.int32]:
    """The alphabetical rank of every code. Results must not depend on which name was read first."""
    rank_of = {name: rank for rank, name in enumerate(sorted(names))}
    return np.array([rank_of[name] for name in names], np.int32)


def _table(state: _State, original: npt.NDArray[np.int64], audited: npt.NDArray[np.bool_]) -> pa.Table:
    target = schema(Verdict)
    verdicts, names = pa.array(_VERDICTS), pa.array(list(state.names), pa.string())
    pieces = [target.empty_table()]
    for start in range(0, len(state.ids), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        codes, originals = state.rules[rows], original[rows]
        duplicate_of = columns.hex_strings(state.ids[originals])
        arrays = {
            "id": columns.hex_strings(state.ids[rows]),
            "verdict": verdicts.take(pa.array(state.verdicts[rows])),
            "rule": names.take(pa.array(codes, mask=codes < 0)),
            "value": pa.array(state.values[rows], from_pandas=True),
            "threshold": pa.array(state.thresholds[rows], from_pandas=True),
            "duplicate_of": pc.if_else(pa.array(originals >= 0), duplicate_of, pa.scalar(None, pa.string())),
            "audited": pa.array(audited[rows]),
        }
        filled = pa.Table.from_pydict(arrays, pa.schema([target.field(name) for name in arrays]))
        pieces.append(completed(filled, Verdict, target.names).select(target.names))
    return pa.concat_tables(pieces)


def _summary(
    state: _State, audited: npt.NDArray[np.bool_], table: pa.Table, limits: npt.NDArray[np.float64]
) -> JudgeResult:
    by_verdict = np.bincount(state.verdicts, minlength=4).tolist()
    seconds = np.bincount(state.verdicts, weights=state.durations_s, minlength=4)
    decoded = seconds[:_FAILED]
    accepted = state.verdicts == _ACCEPTED
    language_codes = state.language[accepted]
    clips = np.bincount(language_codes, minlength=len(state.languages))
    clip_seconds = np.bincount(language_codes, weights=state.durations_s[accepted], minlength=len(state.languages))
    by_rule = np.bincount(state.rules[state.rules >= 0], minlength=len(state.names))
    return JudgeResult(
        table=table,
        counts={
            "inputs": len(state.ids),
            "recordings": state.recordings,
            "accepted": by_verdict[_ACCEPTED],
            "rejected": by_verdict[_REJECTED],
            "duplicates": by_verdict[_DUPLICATE],
            "failed": by_verdict[_FAILED],
            "audited": int(audited.sum()),
        },
        rules={name: int(n) for name, n in sorted(zip(state.names, by_rule, strict=True)) if n},
        hours={
            "observed": _hours(decoded.sum()),
            "accepted": _hours(decoded[_ACCEPTED]),
            "rejected": _hours(decoded[_REJECTED]),
            "duplicates": _hours(decoded[_DUPLICATE]),
        },
        languages={
            name: {"accepted": int(n), "hours": _hours(s)}
            for name, n, s in sorted(zip(state.languages, clips, clip_seconds, strict=True))
            if n
        },
        border_limits=[
            (corpus, language, float(limits[language_rank * len(state.corpora) + corpus_rank]))
            for language_rank, language in enumerate(sorted(state.languages))
            for corpus_rank, corpus in enumerate(sorted(state.corpora))
            if np.isfinite(limits[language_rank * len(state.corpora) + corpus_rank])
        ],
        notes={name: count for name, count in sorted(state.notes.items()) if count},
    )


def _hours(seconds: float) -> float:
    return round(float(seconds) / 3600, 6)


def _check(result: JudgeResult) -> None:
    """Raises LLaSOError where the verdicts do not account for every input."""
    counts = result.counts
    total = counts["accepted"] + counts["rejected"] + counts["duplicates"] + counts["failed"]
    named = sum(result.rules.values()) + counts["accepted"]
    if not counts["inputs"] == total == named == len(result.table):
        raise LLaSOError(
            f"the counts do not add up: {counts['inputs']} inputs, but {total} verdicts, {named} of them accepted or "
            f"named by a rule, and {len(result.table)} rows; please report this with the recipe"
        )
