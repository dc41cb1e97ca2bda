"""Tier 3: the sample that people hear, and the certificate that follows from what they say."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llaso_data.errors import LLaSOError
from llaso_data.filters import acceptance, columns
from llaso_data.filters.acceptance import ANSWERS, CONFIDENCE, GOOD, LIMIT, Finding
from llaso_data.filters.audit_draw import ticket
from llaso_data.io import checksums, storage
from llaso_data.pipeline import commit
from llaso_data.records import ACCEPTED, UNKNOWN, Utterance, digest
from llaso_data.report import answers
from llaso_data.report.answers import Answer
from llaso_data.report.clips import RowLocation, read_rows
from llaso_data.shards import certificate, layout

RULE = (
    "Every item was heard by at least one auditor. It is a defect if any auditor called its text or its boundaries "
    "bad, or was unsure. Nothing was redrawn."
)

Stratum = tuple[str, str]
"""Language and corpus."""


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance of the sample. ``heard`` names what a person judges: its sound, its text and its word times."""

    utterance: Utterance
    heard: str

    @property
    def stratum(self) -> Stratum:
        return stratum_of(self.utterance.language, self.utterance.source.corpus)


@dataclass(frozen=True, slots=True)
class Sample:
    """What is to be heard of build-align's output ``align``, and of how many accepted utterances in each stratum.

    Items come by language, within it in the order of the draw.
    """

    align: str
    verdicts: str
    seed: int
    items: tuple[Item, ...]
    strata: Mapping[Stratum, int]

    @property
    def population(self) -> int:
        return sum(self.strata.values())

    @property
    def allowed(self) -> int | None:
        """The most defects with which the dataset passes; None where the sample is too small for that."""
        return acceptance.allowed(self.population, len(self.items))


@dataclass(frozen=True, slots=True)
class Status:
    """How far an audit is: what each auditor said, by item; the items that none has judged; at the end the result."""

    sample: Sample
    auditors: Mapping[str, Mapping[str, Answer]]
    open: tuple[Item, ...]
    certificate: dict[str, Any] | None


def sample(align: str) -> Sample:
    """The sample that the judge drew. Raises LLaSOError where there is no finished run, or nothing was drawn."""
    align = storage.absolute(align)
    stated = commit.manifest(align)
    strata: Counter[Stratum] = Counter()
    places: list[RowLocation] = []
    for block, (said, seen) in enumerate(commit.judged(align, stated, ("id", "language", "source.corpus"))):
        accepted = pc.equal(said["verdict"], ACCEPTED)
        strata.update(_strata(seen.filter(accepted)))
        drawn = np.flatnonzero(columns.flags(pc.and_(accepted, said["audited"])))
        places += [RowLocation(block, row) for row in drawn.tolist()]
    if not places:
        why = "judge.audit.items is 0" if strata else "nothing was accepted"
        raise LLaSOError(f"{align}: nothing was drawn for the audit, because {why}")
    seed = stated["recipe"]["judge"]["audit"]["seed"]
    drawn_by_id = {u.id: u for u in read_rows(align, stated["blocks"], places).values()}
    tickets = ticket(columns.hashes(pa.chunked_array([pa.array(list(drawn_by_id))]), "id"), seed).tolist()
    order = dict(zip(drawn_by_id, tickets, strict=True))
    ordered = sorted(drawn_by_id.values(), key=lambda u: (u.language or UNKNOWN, order[u.id], u.id))
    return Sample(
        align, stated["verdicts"], seed, tuple(Item(u, heard(u)) for u in ordered), dict(sorted(strata.items()))
    )


def stratum_of(language: str | None, corpus: str) -> Stratum:
    return language or UNKNOWN, corpus


def heard(utterance: Utterance) -> str:
    """Names what an auditor hears and sees: an answer counts for this and nothing else."""
    words = (part for word in utterance.words for part in (word.text, word.start_s, word.end_s))
    return digest("heard", utterance.id, utterance.audio_id, utterance.text, *words)


def settle(found: Sample) -> Status:
    """How far the audit is, from all auditors' files; when it is done, its certificate lies in the output afterwards.

    A certificate of this sample that no longer follows from the answers is taken away. Several processes may settle at
    once: each looks again after it has written, so the last one leaves what follows from all answers. Raises LLaSOError
    where something else has the certificate's name.
    """
    certificate.refuse(found.align, "llaso-data audit")
    place = storage.join(found.align, layout.CERTIFICATE)
    written: Status | None = None
    while True:
        status = status_of(found, answers.everyone(found.align, found.verdicts))
        lying = certificate.of_records(found.align, found.verdicts).certificate
        if lying == status.certificate or (written is not None and written.certificate == status.certificate):
            return status
        if status.certificate is None:
            certificate.remove(place)
        else:
            checksums.write_json(place, status.certificate)
        written = status


def describe(status: Status) -> list[str]:
    """How far the audit is and what came of it, in lines: the first counts, then auditors, agreement, the result."""
    found, said = status.sample, status.certificate
    whole, judged = len(found.items), len(found.items) - len(status.open)
    lines = [f"{found.align}: {whole:,} of {found.population:,} accepted utterances drawn, {judged:,} judged"]
    lines += [f"  {name}: {len(given):,} judged" for name, given in status.auditors.items()]
    if said is None:
        left = Counter(item.stratum[0] for item in status.open)
        return [*lines, "left: " + ", ".join(f"{n:,} {language}" for language, n in sorted(left.items()))]
    for row in said["agreement"]:
        known = "undefined" if row["kappa"] is None else f"{row['kappa']:.2f}"
        both = f"{row['agreed']:,} of {row['items']:,} judged alike"
        lines.append(f"  {' and '.join(row['auditors'])}: {both}, Cohen's kappa {known}")
    lines.append(str(certificate.of_records(found.align, found.verdicts)))
    return [*lines, f"written to {storage.join(found.align, layout.CERTIFICATE)}"]


def status_of(found: Sample, said: Mapping[str, Mapping[str, Answer]]) -> Status:
    """A pure function of the sample and the answers. What was said of other sounds or texts does not count."""
    known = {item.utterance.id: item.heard for item in found.items}
    kept = {
        name: {id_: answer for id_, answer in given.items() if known.get(id_) == answer.heard}
        for name, given in sorted(said.items())
    }
    kept = {name: given for name, given in kept.items() if given}
    judged = {id_ for given in kept.values() for id_ in given}
    left = tuple(item for item in found.items if item.utterance.id not in judged)
    return Status(found, kept, left, None if left else _certificate(found, kept))


def _certificate(found: Sample, said: Mapping[str, Mapping[str, Answer]]) -> dict[str, Any]:
    """What the answers prove; every item has at least one. Its form is ``shards/certificate.schema.json``."""
    counted = [(item, _counted(item, said)) for item in found.items]
    by_stratum = Counter(item.stratum for item in found.items)
    bad = Counter(item.stratum for item, answer in counted if answer != GOOD)
    whole = acceptance.find(found.population, len(found.items), bad.total())
    tally = Counter(answer for _, answer in counted)
    return {
        "format": layout.CERTIFICATE_FORMAT,
        "format_version": layout.CERTIFICATE_VERSION,
        "dataset": {"verdicts": found.verdicts, "shards": None},
        "plan": {
            "items": len(found.items),
            "allowed": found.allowed,
            "confidence": CONFIDENCE,
            "limit": LIMIT,
            "seed": found.seed,
        },
        "rule": RULE,
        **_numbers(whole),
        "answers": {answer: tally[answer] for answer in ANSWERS},
        "strata": [
            {"language": s[0], "corpus": s[1], **_numbers(acceptance.find(size, by_stratum[s], bad[s]))}
            for s, size in found.strata.items()
        ],
        "auditors": [_auditor(name, given) for name, given in said.items()],
        "agreement": [_agreement(a, b, said) for a, b in itertools.combinations(said, 2)],
        "sample": [{"id": item.utterance.id, "heard": item.heard, "answer": answer} for item, answer in counted],
    }


def _counted(item: Item, said: Mapping[str, Mapping[str, Answer]]) -> str:
    given = [answers_[item.utterance.id].answer for answers_ in said.values() if item.utterance.id in answers_]
    found = acceptance.counted([answer for answer in given if answer])
    assert found is not None
    return found


def _numbers(found: Finding) -> dict[str, Any]:
    return {
        "population": found.population,
        "items": found.items,
        "defects": found.defects,
        "rate": round(found.rate, certificate.DECIMALS),
        "upper": round(found.upper, certificate.DECIMALS),
        "passed": found.passed,
    }


def _auditor(name: str, given: Mapping[str, Answer]) -> dict[str, Any]:
    times = sorted(answer.at for answer in given.values())
    defects = sum(answer.answer != GOOD for answer in given.values())
    return {"name": name, "items": len(given), "defects": defects, "first": times[0], "last": times[-1]}


def _agreement(first: str, second: str, said: Mapping[str, Mapping[str, Answer]]) -> dict[str, Any]:
    common = [id_ for id_ in said[first] if id_ in said[second]]
    pairs = [(said[first][id_].answer == GOOD, said[second][id_].answer == GOOD) for id_ in common]
    found = acceptance.kappa(pairs)
    return {
        "auditors": [first, second],
        "items": len(pairs),
        "agreed": sum(a == b for a, b in pairs),
        "kappa": None if found is None else round(found, certificate.DECIMALS),
    }


def _strata(seen: pa.Table) -> Counter[Stratum]:
    """How many rows each stratum has."""
    rows = pa.table(
        {
            "language": pc.fill_null(seen["language"], UNKNOWN),
            "corpus": pc.struct_field(seen["source"], "corpus"),
        }
    )
    grouped = rows.group_by(["language", "corpus"], use_threads=False).aggregate([([], "count_all")])
    return Counter({(row["language"], row["corpus"]): row["count_all"] for row in grouped.to_pylist()})
