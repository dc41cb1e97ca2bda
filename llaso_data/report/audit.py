"""The third tier: a sample that people listen to, and the certificate that follows from their answers."""

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
from llaso_data.filters.rates import EARLIER
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
    """One utterance of the sample.

    Attributes:
        utterance: its record.
        heard: the digest of what a person judges: sound, text and word times (:func:`item_digest`).
    """

    utterance: Utterance
    heard: str

    @property
    def stratum(self) -> Stratum:
        """Its language and corpus."""
        return stratum_of(self.utterance.language, self.utterance.source.corpus)


@dataclass(frozen=True, slots=True)
class AuditSample:
    """The utterances that the judge drew for an audit.

    Attributes:
        align: build-align's output.
        verdicts: the name of the verdicts that they were drawn from.
        seed: of the draw.
        items: by language, within it in the order of the draw.
        strata: accepted utterances in each stratum.
        calibration: what the manifest says of right clips that are rejected; None where it says nothing.
        uncalibrated: then the reason.
    """

    align: str
    verdicts: str
    seed: int
    items: tuple[Item, ...]
    strata: Mapping[Stratum, int]
    calibration: Mapping[str, Any] | None = None
    uncalibrated: str = EARLIER

    @property
    def population(self) -> int:
        """Accepted utterances, of all strata."""
        return sum(self.strata.values())

    @property
    def allowed(self) -> int | None:
        """The most defects with which the dataset passes; None where the sample is too small for that."""
        return acceptance.allowed(self.population, len(self.items))


@dataclass(frozen=True, slots=True)
class Status:
    """How far an audit is.

    Attributes:
        sample: what is audited.
        auditors: name → id of the item → the answer.
        open: the items that no auditor has judged.
        certificate: the result as JSON; None while items are open.
    """

    sample: AuditSample
    auditors: Mapping[str, Mapping[str, Answer]]
    open: tuple[Item, ...]
    certificate: dict[str, Any] | None


def load_sample(align: str) -> AuditSample:
    """Read the sample that the judge drew.

    Args:
        align: build-align's output.

    Raises:
        LLaSOError: where there is no finished run, or nothing was drawn.
    """
    align = storage.absolute(align)
    stated = commit.manifest(align)
    strata: Counter[Stratum] = Counter()
    drawn_rows: list[RowLocation] = []
    for block, (verdict_rows, observed_rows) in enumerate(
        commit.judged(align, stated, ("id", "language", "source.corpus"))
    ):
        accepted = pc.equal(verdict_rows["verdict"], ACCEPTED)
        strata.update(_count_strata(observed_rows.filter(accepted)))
        drawn = np.flatnonzero(columns.flags(pc.and_(accepted, verdict_rows["audited"])))
        drawn_rows += [RowLocation(block, row) for row in drawn.tolist()]
    if not drawn_rows:
        reason = "judge.audit.items is 0" if strata else "nothing was accepted"
        raise LLaSOError(f"{align}: nothing was drawn for the audit, because {reason}")
    seed = stated["recipe"]["judge"]["audit"]["seed"]
    drawn_by_id = {u.id: u for u in read_rows(align, stated["blocks"], drawn_rows).values()}
    tickets = ticket(columns.hashes(pa.chunked_array([pa.array(list(drawn_by_id))]), "id"), seed).tolist()
    ticket_of = dict(zip(drawn_by_id, tickets, strict=True))
    ordered = sorted(drawn_by_id.values(), key=lambda u: (u.language or UNKNOWN, ticket_of[u.id], u.id))
    return AuditSample(
        align,
        stated["verdicts"],
        seed,
        tuple(Item(u, item_digest(u)) for u in ordered),
        dict(sorted(strata.items())),
        stated.get("calibration"),
        stated.get("uncalibrated") or EARLIER,
    )


def stratum_of(language: str | None, corpus: str) -> Stratum:
    """The stratum of an utterance, whose language may be unknown."""
    return language or UNKNOWN, corpus


def item_digest(utterance: Utterance) -> str:
    """The digest of what an auditor hears and sees. An answer counts only for the item with this digest."""
    words = (part for word in utterance.words for part in (word.text, word.start_s, word.end_s))
    return digest("heard", utterance.id, utterance.audio_id, utterance.text, *words)


def update_certificate(sample: AuditSample) -> Status:
    """Read all auditors' answers, and write the certificate where the audit is done.

    A certificate of this sample that no longer follows from the answers is removed. Several processes may do this at
    once: each reads the answers again after it has written, so that the last one leaves what follows from all of them.

    Returns:
        How far the audit is.

    Raises:
        LLaSOError: where something else has the certificate's name.
    """
    certificate.refuse(sample.align, "llaso-data audit")
    uri = storage.join(sample.align, layout.CERTIFICATE)
    written: Status | None = None
    while True:
        status = status_of(sample, answers.read_all(sample.align, sample.verdicts))
        current = certificate.of_records(sample.align, sample.verdicts).certificate
        if current == status.certificate or (written is not None and written.certificate == status.certificate):
            return status
        if status.certificate is None:
            certificate.remove(uri)
        else:
            checksums.write_json(uri, status.certificate)
        written = status


def describe(status: Status) -> list[str]:
    """Describe an audit in lines: counts, auditors, agreement, and the result or what is left."""
    sample, result = status.sample, status.certificate
    drawn, judged = len(sample.items), len(sample.items) - len(status.open)
    lines = [f"{sample.align}: {drawn:,} of {sample.population:,} accepted utterances drawn, {judged:,} judged"]
    lines += [f"  {name}: {len(answered):,} judged" for name, answered in status.auditors.items()]
    if result is None:
        open_items = Counter(item.stratum[0] for item in status.open)
        return [*lines, "left: " + ", ".join(f"{n:,} {language}" for language, n in sorted(open_items.items()))]
    for row in result["agreement"]:
        kappa = "undefined" if row["kappa"] is None else f"{row['kappa']:.2f}"
        both = f"{row['agreed']:,} of {row['items']:,} judged alike"
        lines.append(f"  {' and '.join(row['auditors'])}: {both}, Cohen's kappa {kappa}")
    lines.append(str(certificate.of_records(sample.align, sample.verdicts)))
    return [*lines, f"written to {storage.join(sample.align, layout.CERTIFICATE)}"]


def status_of(sample: AuditSample, answers_by_auditor: Mapping[str, Mapping[str, Answer]]) -> Status:
    """Compute how far an audit is. Answers to another sound or text of an item do not count.

    Args:
        sample: what is audited.
        answers_by_auditor: auditor → id of the item → the answer.
    """
    digests = {item.utterance.id: item.heard for item in sample.items}
    counted = {
        name: {id_: answer for id_, answer in answered.items() if digests.get(id_) == answer.heard}
        for name, answered in sorted(answers_by_auditor.items())
    }
    counted = {name: answered for name, answered in counted.items() if answered}
    judged = {id_ for answered in counted.values() for id_ in answered}
    open_items = tuple(item for item in sample.items if item.utterance.id not in judged)
    return Status(sample, counted, open_items, None if open_items else _certificate(sample, counted))


def _certificate(sample: AuditSample, answers_by_auditor: Mapping[str, Mapping[str, Answer]]) -> dict[str, Any]:
    """The certificate as JSON, in the form of ``shards/certificate.schema.json``; every item has an answer."""
    final_answers = [(item, _final_answer(item, answers_by_auditor)) for item in sample.items]
    by_stratum = Counter(item.stratum for item in sample.items)
    defects = Counter(item.stratum for item, answer in final_answers if answer != GOOD)
    finding = acceptance.find(sample.population, len(sample.items), defects.total())
    tally = Counter(answer for _, answer in final_answers)
    return {
        "format": layout.CERTIFICATE_FORMAT,
        "format_version": layout.CERTIFICATE_VERSION,
        "dataset": {"verdicts": sample.verdicts, "shards": None},
        "plan": {
            "items": len(sample.items),
            "allowed": sample.allowed,
            "confidence": CONFIDENCE,
            "limit": LIMIT,
            "seed": sample.seed,
        },
        "rule": RULE,
        **_finding_fields(finding),
        **_false_alarms(sample),
        "answers": {answer: tally[answer] for answer in ANSWERS},
        "strata": [
            {"language": s[0], "corpus": s[1], **_finding_fields(acceptance.find(size, by_stratum[s], defects[s]))}
            for s, size in sample.strata.items()
        ],
        "auditors": [_auditor(name, answered) for name, answered in answers_by_auditor.items()],
        "agreement": [_agreement(a, b, answers_by_auditor) for a, b in itertools.combinations(answers_by_auditor, 2)],
        "sample": [{"id": item.utterance.id, "heard": item.heard, "answer": answer} for item, answer in final_answers],
    }


def _false_alarms(sample: AuditSample) -> dict[str, Any]:
    """The other error: what is right and rejected, as the calibration found it on clips that nothing was fitted on."""
    stated = sample.calibration
    if stated is None:
        return {"false_alarms": None, "uncalibrated": sample.uncalibrated}
    groups = [
        {**{name: group[name] for name in ("corpus", "language", "texts", "mean_recall")}, **group["false_alarms"]}
        for group in stated["groups"]
    ]
    found = {"groups": groups, "recall": stated["recall"], **stated["false_alarms"]}
    whole = {"allowed": stated["allowed"], "fitted": bool(stated["thresholds"]), **found}
    return {"false_alarms": whole, "uncalibrated": None}


def _final_answer(item: Item, answers_by_auditor: Mapping[str, Mapping[str, Answer]]) -> str:
    votes = [
        answers_[item.utterance.id].answer for answers_ in answers_by_auditor.values() if item.utterance.id in answers_
    ]
    final = acceptance.counted([answer for answer in votes if answer])
    assert final is not None
    return final


def _finding_fields(finding: Finding) -> dict[str, Any]:
    return {
        "population": finding.population,
        "items": finding.items,
        "defects": finding.defects,
        "rate": round(finding.rate, certificate.DECIMALS),
        "upper": round(finding.upper, certificate.DECIMALS),
        "passed": finding.passed,
    }


def _auditor(name: str, answered: Mapping[str, Answer]) -> dict[str, Any]:
    times = sorted(answer.at for answer in answered.values())
    defects = sum(answer.answer != GOOD for answer in answered.values())
    return {"name": name, "items": len(answered), "defects": defects, "first": times[0], "last": times[-1]}


def _agreement(first: str, second: str, answers_by_auditor: Mapping[str, Mapping[str, Answer]]) -> dict[str, Any]:
    common = [id_ for id_ in answers_by_auditor[first] if id_ in answers_by_auditor[second]]
    pairs = [
        (answers_by_auditor[first][id_].answer == GOOD, answers_by_auditor[second][id_].answer == GOOD)
        for id_ in common
    ]
    kappa = acceptance.kappa(pairs)
    return {
        "auditors": [first, second],
        "items": len(pairs),
        "agreed": sum(a == b for a, b in pairs),
        "kappa": None if kappa is None else round(kappa, certificate.DECIMALS),
    }


def _count_strata(observed_rows: pa.Table) -> Counter[Stratum]:
    """How many rows each stratum has."""
    rows = pa.table(
        {
            "language": pc.fill_null(observed_rows["language"], UNKNOWN),
            "corpus": pc.struct_field(observed_rows["source"], "corpus"),
        }
    )
    grouped = rows.group_by(["language", "corpus"], use_threads=False).aggregate([([], "count_all")])
    return Counter({(row["language"], row["corpus"]): row["count_all"] for row in grouped.to_pylist()})
