"""The audit: answers become a certificate, bad sets do not pass, and nothing that was saved is lost."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binom

import llaso_data
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.filters import audit_draw as drawing
from llaso_data.filters import columns
from llaso_data.filters.acceptance import BAD_BOUNDARY, BAD_TEXT, GOOD, UNSURE
from llaso_data.filters.rates import Rate
from llaso_data.io import checksums
from llaso_data.io.lock import LockedError
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.recipe import Audit, Judge, Run, Shard
from llaso_data.records import Utterance, digest
from llaso_data.report import answers, audit_page, card
from llaso_data.report.answers import Answer
from llaso_data.report.audit import (
    AuditSample,
    Item,
    Status,
    item_digest,
    load_sample,
    status_of,
    stratum_of,
    update_certificate,
)
from llaso_data.shards import certificate, reader, schemas, stats, validate
from tests.conftest import Clip
from tests.llaso_data.pipeline.test_judge import utterance
from tests.llaso_data.report.test_card import finished
from tests.support.audit_fixtures import recorded, served, to_audit
from tests.support.corpora import files

DATA = Path(__file__).parents[2] / "data"
AT = "2026-11-24T06:00:00+00:00"

Said = dict[str, dict[str, Answer]]


def said_of(found: AuditSample, name: str, choose: Callable[[Utterance], str]) -> Said:
    """What an auditor says of every item."""
    return {
        name: {
            item.utterance.id: Answer(item.utterance.id, item.heard, choose(item.utterance), AT) for item in found.items
        }
    }


def small(items: int = 60, population: int = 200) -> AuditSample:
    """A sample of two languages that lies nowhere."""
    utterances = [utterance(n, language="en" if n % 4 else "fr") for n in range(population)]
    strata = {("en", "prompts"): population - population // 4, ("fr", "prompts"): population // 4}
    return AuditSample("nowhere", "0" * 32, 0, tuple(Item(u, item_digest(u)) for u in utterances[:items]), strata)


def judge_all(found: AuditSample, name: str, choose: Callable[[int], str | None]) -> None:
    """An auditor's answers in the order of the items, saved; None leaves one out."""
    with answers.open_answers(found.align, found.verdicts, name) as work:
        given = [(item.utterance.id, item.heard, choose(n)) for n, item in enumerate(found.items)]
        work.add([entry for entry in given if entry[2] is not None])


# A set with five errors in a hundred must not pass more often than one time in twenty.

SIZES = {("en", "large"): 2900, ("fr", "middle"): 800, **{("de", f"tiny {n}"): 10 for n in range(30)}}
"""A population of 4,000; the tiny corpora are too small for every one to be heard."""


def population() -> tuple[list[Utterance], dict[str, int]]:
    made = [
        utterance(n, corpus=corpus, language=language)
        for (language, corpus), size in SIZES.items()
        for n in range(size)
    ]
    return made, {u.id: n for n, u in enumerate(made)}


@pytest.mark.parametrize("runs", [150, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", ["anywhere", "in the first", "in the tiny ones"])
def test_a_set_with_five_in_a_hundred_bad_is_certified_at_most_one_time_in_twenty(where: str, runs: int) -> None:
    """Through the judge's draw and the certificate's own code, with as many seeds as show it; and a good set passes."""
    made, number = population()
    random = np.random.default_rng(20261124)
    bad = np.zeros(len(made), bool)
    by_size = np.arange(4000)  # the largest corpus comes first
    order = {"anywhere": random.permutation(4000), "in the first": by_size, "in the tiny ones": by_size[::-1]}[where]
    bad[order[:200]] = True
    assert bad.mean() == 0.05
    passed, good_passed, heard_bad = 0, 0, []
    few = bad & (random.random(4000) < 0.2)  # a true error of about 1 %
    for found in draws(made, range(runs)):
        status = status_of(found, said_of(found, "Sim", lambda u: BAD_TEXT if bad[number[u.id]] else GOOD))
        assert status.certificate is not None
        passed += status.certificate["passed"]
        heard_bad.append(status.certificate["defects"])
        better = status_of(found, said_of(found, "Sim", lambda u: UNSURE if few[number[u.id]] else GOOD))
        assert better.certificate is not None
        good_passed += better.certificate["passed"]
    assert passed <= binom.ppf(0.999, runs, 0.05)  # what one in twenty may come to in so many runs
    assert abs(np.mean(heard_bad) - 0.05 * 208) < 4 * np.std(heard_bad) / runs**0.5 + 1e-9  # nobody is favoured
    assert good_passed / runs > 0.9


def draws(made: list[Utterance], seeds: range) -> list[AuditSample]:
    """What the judge draws of a population with each seed."""
    import pyarrow as pa

    ids = columns.hashes(pa.chunked_array([pa.array([u.id for u in made])]), "id")
    order = {stratum: n for n, stratum in enumerate(sorted(SIZES))}
    strata = np.array([order[stratum_of(u.language, u.source.corpus)] for u in made], np.int64)
    items = [Item(u, item_digest(u)) for u in made]
    found = []
    for seed in seeds:
        mask = drawing.draw(ids, strata, len(order), np.ones(len(made), bool), 208, seed)
        found.append(AuditSample("x", "0" * 32, seed, tuple(items[i] for i in np.flatnonzero(mask)), SIZES))
    return found


# From answers to a certificate.


def test_the_certificate_says_what_was_answered() -> None:
    found = small()
    second = found.items[1].utterance.id
    ada = said_of(found, "Ada", lambda u: BAD_BOUNDARY if u.id == second else GOOD)
    bo = said_of(found, "Bo", lambda u: UNSURE if u.id in (second, found.items[2].utterance.id) else GOOD)
    for id_ in [item.utterance.id for item in found.items[40:]]:
        del bo["Bo"][id_]
    status = status_of(found, {**bo, **ada})
    said = status.certificate
    assert said is not None and certificate.faults(said) == []
    assert (said["population"], said["items"], said["defects"]) == (200, 60, 2)
    assert said["plan"] == {"items": 60, "allowed": 0, "confidence": 0.95, "limit": 0.05, "seed": 0}
    assert said["answers"] == {GOOD: 58, BAD_TEXT: 0, BAD_BOUNDARY: 1, UNSURE: 1}
    assert not said["passed"] and binom.cdf(2, 60, said["upper"]) == pytest.approx(0.05, abs=1e-5)
    assert [(a["name"], a["items"], a["defects"]) for a in said["auditors"]] == [("Ada", 60, 1), ("Bo", 40, 2)]
    (pair,) = said["agreement"]
    assert pair["auditors"] == ["Ada", "Bo"] and (pair["items"], pair["agreed"]) == (40, 39)
    assert pair["kappa"] == pytest.approx(
        (39 / 40 - (38 * 39 + 2 * 1) / 1600) / (1 - (38 * 39 + 2 * 1) / 1600), abs=1e-6
    )
    assert {row["language"]: row["items"] for row in said["strata"]} == {"en": 45, "fr": 15}
    assert [row["id"] for row in said["sample"]] == [item.utterance.id for item in found.items]
    jsonschema.validate(said, schemas.CERTIFICATE)


def test_there_is_no_certificate_while_an_item_is_open_or_was_answered_for_another_text() -> None:
    found = small()
    said = said_of(found, "Ada", lambda _: GOOD)
    last = found.items[-1].utterance.id
    assert status_of(found, said).certificate is not None
    changed = {"Ada": {**said["Ada"], last: dataclasses.replace(said["Ada"][last], heard="f" * 32)}}
    assert [item.utterance.id for item in status_of(found, changed).open] == [last]
    del said["Ada"][last]
    assert status_of(found, said).certificate is None


def test_where_everything_was_heard_the_rate_is_exact() -> None:
    found = small(40, 40)
    one_bad = status_of(
        found, said_of(found, "Ada", lambda u: BAD_TEXT if u.id == found.items[0].utterance.id else GOOD)
    )
    said = one_bad.certificate
    assert found.allowed == 1 and said is not None and said["passed"]
    assert said["upper"] == said["rate"] == 0.025
    assert certificate.conclusion(said) == "1 defect in 40, which is everything: error rate 2.50 %"


def test_a_certificate_whose_numbers_do_not_follow_from_its_answers_is_none(tmp_path: Path) -> None:
    found = dataclasses.replace(small(), align=str(tmp_path))
    said = status_of(found, said_of(found, "Ada", lambda _: GOOD)).certificate
    assert said is not None
    place = tmp_path / "certificate.json"

    def standing(change: Callable[[dict[str, Any]], Any]) -> certificate.Standing:
        changed = copy.deepcopy(said)
        change(changed)
        place.write_text(json.dumps(changed))
        return certificate.of_records(str(tmp_path), found.verdicts)

    assert standing(lambda _: None).certified
    changes: list[Callable[[dict[str, Any]], Any]] = [
        lambda c: c.update(upper=0.01),
        lambda c: c.update(defects=1),
        lambda c: c.update(population=10),
        lambda c: c["plan"].update(allowed=5),
        lambda c: c["sample"][0].update(answer=UNSURE),
        lambda c: c["sample"].pop(),
        lambda c: c["sample"].__setitem__(1, c["sample"][0]),
        lambda c: c["strata"].pop(),
        lambda c: c["strata"][0].update(passed=True),
        lambda c: c.update(format_version=3),
        lambda c: c.pop("false_alarms"),
        lambda c: c.update(uncalibrated=None),
        lambda c: c["dataset"].update(verdicts="1" * 32),
        lambda c: c["dataset"].update(shards="1" * 32),
        lambda c: c.pop("rule"),
    ]
    for change in changes:
        found_standing = standing(change)
        assert (
            not found_standing.certified
            and found_standing.certificate is None
            and "certificate.json" in str(found_standing)
        )
    for text in ("", "[]", "7", "[" * 100_000):
        place.write_text(text)
        assert not certificate.of_records(str(tmp_path), found.verdicts).certified


CALIBRATION = {
    "digest": "0" * 32, "allowed": 0.03, "thresholds": [], "mean_recall": 0.95,
    "false_alarms": Rate(2, 300).to_dict(),
    "recall": {"word deleted": Rate(95, 100).to_dict()},
    "groups": [
        {"corpus": "prompts", "language": "en", "texts": "given", "false_alarms": Rate(2, 200).to_dict(),
         "mean_recall": 0.95},
        {"corpus": "prompts", "language": "fr", "texts": "asr", "false_alarms": Rate(0, 100).to_dict(),
         "mean_recall": None},
    ],
}  # fmt: skip


def test_a_certificate_has_the_other_error_too(tmp_path: Path) -> None:
    """What is right and rejected, beside what is kept and wrong; its numbers must add up as well."""
    found = dataclasses.replace(small(), align=str(tmp_path), calibration=CALIBRATION)
    said = status_of(found, said_of(found, "Ada", lambda _: GOOD)).certificate
    assert said is not None and certificate.faults(said) == []
    assert said["uncalibrated"] is None and said["false_alarms"]["fitted"] is False
    assert said["false_alarms"]["recall"]["word deleted"]["share"] == 0.95
    assert [group["share"] for group in said["false_alarms"]["groups"]] == [0.01, 0.0]
    changes: list[Callable[[dict[str, Any]], Any]] = [
        lambda c: c["false_alarms"].update(rejected=0),
        lambda c: c["false_alarms"]["groups"].pop(),
        lambda c: c["false_alarms"]["groups"][0].update(interval=[0.0, 0.01]),
        lambda c: c["false_alarms"]["recall"]["word deleted"].update(share=1.0),
        lambda c: c["false_alarms"].update(recall={"word deleted": {}}),
        lambda c: c.update(uncalibrated="why"),
    ]
    for change in changes:
        changed = copy.deepcopy(said)
        change(changed)
        assert certificate.faults(changed) != []
    without = status_of(small(), said_of(small(), "Ada", lambda _: GOOD)).certificate
    assert without is not None and without["false_alarms"] is None and "did not calibrate" in without["uncalibrated"]


def test_a_certificate_of_the_first_version_counts_still() -> None:
    """It was written before there was a calibration, and names verdicts of zeros."""
    standing = certificate.of_records(str(DATA / "certificate_1"), "0" * 32)
    assert standing.certificate is not None and standing.certificate["format_version"] == 1
    assert certificate.faults(standing.certificate) == []
    assert standing.why.startswith("1 defect in 60 of 200: error rate below ")
    assert audit_page.result(Status(small(), {}, (), standing.certificate))["rejected"] == "not measured"


# Answers are kept.


def test_answers_are_a_log_and_the_last_of_an_item_counts(tmp_path: Path) -> None:
    out, verdicts = str(tmp_path), "0" * 32
    with answers.open_answers(out, verdicts, "  Ada   Lovelace ") as work:
        assert work.name == "Ada Lovelace"
        work.add([("a", "h", GOOD), ("b", "h", UNSURE)])
        work.add([("a", "h", BAD_TEXT)])
        work.add([("b", "h", None)])
        with (
            pytest.raises(LockedError, match="audit by Ada Lovelace"),
            answers.open_answers(out, verdicts, "Ada Lovelace"),
        ):
            pass
        with answers.open_answers(out, verdicts, "Bo") as other:
            other.add([("a", "h", GOOD)])
    said = answers.read_all(out, verdicts)
    assert {name: {id_: a.answer for id_, a in given.items()} for name, given in said.items()} == {
        "Ada Lovelace": {"a": BAD_TEXT}, "Bo": {"a": GOOD},
    }  # fmt: skip
    (kept,) = [text for path, text in files(out).items() if "ada-lovelace" in path]
    assert len(json.loads(kept)["answers"]) == 4
    assert answers.read_all(out, "1" * 32) == {}
    for bad in ("", " ", "x" * 61, "a\x00b"):
        with pytest.raises(LLaSOError, match="name"), answers.open_answers(out, verdicts, bad):
            pass


def test_names_that_look_alike_have_files_of_their_own(tmp_path: Path) -> None:
    for name in ("Ada", "ada", "Áda", "愛", "../../x", "a/b"):
        with answers.open_answers(str(tmp_path), "0" * 32, name) as work:
            work.add([("a", "h", GOOD)])
    assert len(answers.read_all(str(tmp_path), "0" * 32)) == 6
    assert all(path.startswith("audit/" + "0" * 32) for path in files(tmp_path))


def test_a_damaged_file_is_said_and_not_passed_over(tmp_path: Path) -> None:
    judge_all(found := to_audit(tmp_path, [utterance(n) for n in range(3)], 3), "Ada", lambda _: GOOD)
    (path,) = tmp_path.glob("audit/*/*/answers.json")
    for text in ("", "{}", path.read_text().replace("good", "fine"), path.read_text().replace("answers", "x")):
        path.write_text(text)
        with pytest.raises(LLaSOError, match=r"answers\.json is not an auditor's answers"):
            update_certificate(found)


def test_the_certificate_comes_and_goes_with_the_answers(tmp_path: Path) -> None:
    found = to_audit(tmp_path, [utterance(n) for n in range(80)], 60)
    place = tmp_path / "certificate.json"
    judge_all(found, "Ada", lambda n: GOOD if n else None)
    assert update_certificate(found).certificate is None and not place.exists()
    judge_all(found, "Bo", lambda n: None if n else GOOD)
    status = update_certificate(found)
    assert status.certificate == checksums.read_json(str(place)) and status.certificate["passed"]
    first = found.items[0]
    with answers.open_answers(found.align, found.verdicts, "Bo") as work:
        work.add([(first.utterance.id, first.heard, None)])
    assert update_certificate(found).certificate is None and not place.exists()
    judge_all(found, "Bo", lambda n: None if n else UNSURE)
    update_certificate(found)
    assert not json.loads(place.read_text())["passed"]


def test_an_output_on_an_object_store_is_audited_there() -> None:
    out = finished("memory://audit-test/out", [[utterance(n) for n in range(70)]], Judge(audit=Audit(items=60)))
    found = load_sample(out)
    judge_all(found, "Ada", lambda _: GOOD)
    assert update_certificate(found).certificate is not None
    assert certificate.of_records(out, found.verdicts).certified
    with answers.open_answers(out, found.verdicts, "Ada") as work:
        work.add([(found.items[0].utterance.id, found.items[0].heard, None)])
    assert update_certificate(found).certificate is None
    assert not certificate.of_records(out, found.verdicts).certified


def test_another_judgement_is_another_dataset(tmp_path: Path) -> None:
    items = [utterance(n) for n in range(80)]
    judge_all(found := to_audit(tmp_path, items, 60), "Ada", lambda _: GOOD)
    update_certificate(found)
    again = to_audit(tmp_path, items, 60, seed=1)
    assert again.verdicts != found.verdicts
    assert "another dataset" in str(certificate.of_records(str(tmp_path), again.verdicts))
    assert len(update_certificate(again).open) == 60


def test_a_run_without_a_draw_says_so(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"items is 0"):
        to_audit(tmp_path / "a", [utterance(n) for n in range(4)], 0)
    with pytest.raises(LLaSOError, match="nothing was accepted"):
        to_audit(tmp_path / "b", [utterance(n, text=None) for n in range(4)], 4)
    with pytest.raises(LLaSOError, match="no finished run"):
        load_sample(str(tmp_path / "c"))


# Beside the shards, in stats, on the card.


@pytest.fixture(scope="module")
def spoken(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return recorded(clips[:6], tmp_path_factory.mktemp("sound"))


def test_the_certificate_lies_beside_the_shards_of_what_was_audited_and_no_others(
    spoken: list[Utterance], tmp_path: Path
) -> None:
    out = str(tmp_path / "shards")

    def written(spec: Shard | None = None, **options: Any) -> str:
        return shard_dataset(str(tmp_path / "align"), out, spec or Shard(), Run(engine="local"), **options).audit

    found = to_audit(tmp_path / "align", spoken, 60)
    assert written() == str(certificate.Standing(False, certificate.UNHEARD)) == stats.stats(out).audit
    before = files(out)
    judge_all(found, "Ada", lambda _: GOOD)
    update_certificate(found)
    assert written() == "certified: 0 defects in 6, which is everything: error rate 0.00 %"
    assert stats.stats(out).certified and validate.validate(out).ok
    assert files(out, "certificate.json") == before  # the shards are the very same bytes
    said = json.loads(Path(out, "certificate.json").read_text())
    in_shards = {e["id"]: e for _, parts in reader.iterate(out) for e in json.loads(parts["json"])["audios"]}
    for row in said["sample"]:  # what was heard is what lies in the shards
        there = in_shards[row["id"]]
        words = [part for word in there["words"] for part in (word["text"], word["start_s"], word["end_s"])]
        assert digest("heard", there["id"], there["audio_id"], there["text"], *words) == row["heard"]
    assert said["dataset"] == {"verdicts": found.verdicts, "shards": json.loads(before["manifest.json"])["digest"]}

    written(Shard(seed=1), overwrite=True)
    assert stats.stats(out).certified  # other shards of the same records
    Path(out, "certificate.json").write_text(json.dumps(said))
    assert "another dataset" in stats.stats(out).audit and not validate.validate(out).ok
    judge_all(found, "Bo", lambda n: UNSURE)
    update_certificate(found)
    assert written(Shard(seed=1)).startswith("uncertified: 6 defects in 6") and not stats.stats(out).certified
    (tmp_path / "align" / "certificate.json").unlink()
    written(Shard(seed=1))
    assert not Path(out, "certificate.json").exists()


def test_the_card_says_how_the_dataset_stands(tmp_path: Path) -> None:
    found = to_audit(tmp_path, [utterance(n) for n in range(80)], 60)
    assert "<b>Uncertified:</b> no audit of it was finished. 60 utterances were drawn" in card.render(found.align)
    judge_all(found, "Ada <b>", lambda _: GOOD)
    judge_all(found, "Bo", lambda n: GOOD if n else None)
    update_certificate(found)
    page = card.render(found.align)
    assert "<b>Certified:</b> 0 defects in 60 of 80: error rate below 4.88 % with 95 % confidence" in page
    assert "<bdi>Ada &lt;b&gt;</bdi> (60 heard, 0 bad)" in page and "59 of 59 alike" in page
    judge_all(found, "Bo", lambda n: None if n else BAD_TEXT)
    update_certificate(found)
    page = card.render(found.align)
    assert "<b>Uncertified:</b> 1 defect in 60 of 80" in page and "The defects: 1 bad text." in page


# The sheet for people without the page.


def test_a_sheet_goes_out_and_comes_back(spoken: list[Utterance], tmp_path: Path) -> None:
    texts = ["=1+1", "+a;b", 'say "x"\nnow', *(u.text for u in spoken[3:])]
    named = [dataclasses.replace(u, text=t) for u, t in zip(spoken, texts, strict=True)]
    found = to_audit(tmp_path / "out", named, 60)
    sheet = tmp_path / "sheet.csv"

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["audit", found.align, *words])
        assert result.exit_code == code, result.output
        return result.output

    assert "6 items written" in run("--export", str(sheet))
    assert len(list((tmp_path / "sheet-sounds").glob("*.flac"))) == 6
    text = sheet.read_text("utf-8-sig")
    assert "'=1+1" in text and "'+a;b" in text and "sheet-sounds/0001.flac" in text
    filled = text.replace("1,,", "1,Good,", 1).replace("2,,", "2, bad Text ,", 1).replace("3,,", "3,UNSURE,", 1)
    sheet.write_text(filled, "utf-8")
    said = run("--import", str(sheet), "--auditor", "Ada")
    assert "3 answers of Ada" in said and "3 of them new" in said and "left:" in said
    given = [answer.answer for answer in answers.read_all(found.align, found.verdicts)["Ada"].values()]
    assert given == [GOOD, BAD_TEXT, UNSURE]
    assert "0 of them new" in run("--import", str(sheet), "--auditor", "Ada")
    run("--export", str(sheet), "--auditor", "Ada")
    assert "2,bad_text," in sheet.read_text("utf-8-sig")
    as_excel = sheet.read_text("utf-8-sig").replace(",,", ",good,", 3)
    sheet.write_text(as_excel, "utf-8-sig")
    assert (
        "written to" in run("--import", str(sheet), "--auditor", "Ada")
        and Path(found.align, "certificate.json").exists()
    )
    sheet.write_text(as_excel.replace(",good,", ",perhaps,"), "utf-8")
    assert "'perhaps' is none of good" in run("--import", str(sheet), "--auditor", "Ada", code=2)
    sheet.write_text(as_excel.replace(found.items[0].heard, "0" * 32), "utf-8")
    assert "not of the sample" in run("--import", str(sheet), "--auditor", "Ada", code=2)
    sheet.write_text("a;b\n1;2\n")
    assert "lacks the column" in run("--import", str(sheet), "--auditor", "Ada", code=2)
    assert "needs --auditor" in run("--import", str(sheet), code=2)
    assert "6 judged" in run("--status")


def test_what_somebody_filled_in_is_not_exported_over(spoken: list[Utterance], tmp_path: Path) -> None:
    found = to_audit(tmp_path / "out", spoken, 60)
    sheet, sounds = tmp_path / "sheet.csv", tmp_path / "sheet-sounds"

    def export(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["audit", found.align, "--export", str(sheet), *words])
        assert result.exit_code == code, result.output
        return result.output

    sounds.mkdir()
    (sounds / "0003.flac").write_bytes(b"a recording of mine")
    assert "0003.flac exists and was not written by `llaso-data audit --export`" in export(code=2)
    assert os.listdir(sounds) == ["0003.flac"] and not sheet.exists()
    (sounds / "0003.flac").unlink()
    export()
    empty = sheet.read_bytes()
    export()
    assert sheet.read_bytes() == empty  # as a killed run is run again
    for filled in (
        empty.replace(b"2,,", b"2,good,", 1),
        empty.replace(b"item,answer", b"item,answer,note"),
        empty[: len(empty) // 2],
        b"a shopping list",
    ):
        sheet.write_bytes(filled)
        assert "sheet.csv exists and was not written by" in export(code=2)
        assert sheet.read_bytes() == filled
    judge_all(found, "Ada", lambda n: GOOD)
    sheet.write_bytes(empty.replace(b"2,,", b"2, Good,", 1))
    export("--auditor", "Ada")  # all that it says is in the new one
    assert b"2,good," in sheet.read_bytes()


def test_another_certificate_stays(spoken: list[Utterance], tmp_path: Path) -> None:
    """It is said before anybody judges; the answers that are there are kept."""
    found = to_audit(tmp_path / "out", spoken, 60)
    (tmp_path / "out" / "certificate.json").write_text('{"course": "first aid"}')
    for words in (("--status",), ("--no-open",), ("--import", str(tmp_path / "sheet.csv"), "--auditor", "Ada")):
        result = CliRunner().invoke(main, ["audit", found.align, *words])
        assert result.exit_code == 2 and "certificate.json exists and was not written by" in result.output
    judge_all(found, "Ada", lambda n: GOOD)
    with pytest.raises(LLaSOError, match=r"certificate\.json exists"):
        update_certificate(found)
    assert (tmp_path / "out" / "certificate.json").read_text() == '{"course": "first aid"}'


# The server.


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, named), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_what_a_browsers_command_line_shows_opens_the_page_once(spoken: list[Utterance], tmp_path: Path) -> None:
    with served(to_audit(tmp_path, spoken, 3)) as server:
        address = server.once()
        assert server.token not in address and server.exposure is None
        assert ask(f"{address}status")[0] == 403 and ask(address, b"{}")[0] == 403  # neither ask nor use it up
        with urllib.request.urlopen(address, timeout=60) as page:
            assert page.url.endswith(f"/{server.token}/") and b"word for word" in page.read()
        assert ask(address)[0] == 403


def test_another_host_than_loopback_says_what_it_means(spoken: list[Utterance], tmp_path: Path) -> None:
    with served(to_audit(tmp_path, spoken, 3), host="0.0.0.0") as server:
        assert server.exposure == (
            "listening at 0.0.0.0, for other machines too: whoever has the address reads and answers, and it crosses "
            "the network in clear"
        )


def test_a_port_that_is_taken_and_a_package_that_is_missing_are_said(
    spoken: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = to_audit(tmp_path, spoken, 3)
    with served(found) as server:
        taken = CliRunner().invoke(main, ["audit", found.align, "--no-open", "--port", str(server.port)])
    assert taken.exit_code == 2 and "Address already in use); pass another --port\n" in taken.output
    monkeypatch.delitem(sys.modules, "llaso_data.report.web")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    missing = CliRunner().invoke(main, ["audit", found.align, "--no-open"])
    assert missing.exit_code == 2 and "pip install 'llaso[serve]'" in missing.output
    assert CliRunner().invoke(main, ["audit", found.align, "--status"]).exit_code == 0


def test_only_who_has_the_address_may_ask_and_only_for_this_sample(spoken: list[Utterance], tmp_path: Path) -> None:
    found = to_audit(tmp_path, spoken, 3)
    with served(found) as server:
        root = server.url.removesuffix(f"{server.token}/")
        code, headers, page = ask(server.url)
        assert code == 200 and b"word for word" in page and "connect-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        first = {"auditor": "Ada", "id": found.items[0].utterance.id, "answer": GOOD}
        for bad in (
            root,
            f"{root}x/",
            f"{root}{server.token}",
            f"{root}{server.token[:-1]}/",
            f"{root}%2e%2e/etc/passwd",
        ):
            assert ask(bad)[0] == 403
        assert ask(f"{server.url}answer", first, Host=f"evil.example:{server.port}")[0] == 403
        assert ask(f"{server.url}answer", first, Origin="http://evil.example")[0] == 403
        assert ask(f"{server.url}answer", first, Content_Type="text/plain")[0] == 415
        assert ask(f"{server.url}answer", b"x" * 70_000)[0] == 413
        for wrong in ({**first, "id": "0" * 32}, {**first, "answer": "fine"}, {**first, "auditor": ""}, [], {"id": []}):
            assert ask(f"{server.url}answer", wrong)[0] in (409, 500), wrong
        assert ask(f"{server.url}item/{'0' * 32}")[0] == 409
        assert ask(f"{server.url}../../../etc/passwd")[0] in (403, 404) and ask(f"{server.url}x")[0] == 404
        assert answers.read_all(found.align, found.verdicts) == {}
        origin = root.removesuffix("/")
        assert ask(f"{server.url}answer", first, Origin=origin)[0] == 200
        assert ask(f"{server.url}answer", {**first, "answer": None}, Host=f"localhost:{server.port}")[0] == 200
        assert json.loads(ask(f"{server.url}result", {"auditor": "Ada"})[2]) == {"open": 3}
        said = json.loads(ask(f"{server.url}item/{found.items[0].utterance.id}")[2])
        assert said["opus"] and said["bars"] == 270 and not said["trouble"]
        assert not {"scores", "hypothesis"} & said.keys()
    with pytest.raises(LLaSOError, match="nothing of the sample is in xx"):
        served(found, languages=("xx",)).__enter__()


def test_a_recording_that_changed_or_is_gone_is_said_and_heard_when_it_is_back(
    spoken: list[Utterance], tmp_path: Path
) -> None:
    moved = [tmp_path / Path(u.source.uri).name for u in spoken[:2]]
    moved[0].write_bytes(Path(spoken[1].source.uri).read_bytes())
    named = [
        dataclasses.replace(u, source=dataclasses.replace(u.source, uri=str(p)))
        for u, p in zip(spoken[:2], moved, strict=True)
    ]
    found = to_audit(tmp_path / "out", named, 2)
    with served(found) as server:
        assert "the audio is not what build-align read" in server.item(named[0].id)["trouble"]
        assert "no such file" in server.item(named[1].id)["trouble"]
        for path, was in zip(moved, spoken, strict=False):
            path.write_bytes(Path(was.source.uri).read_bytes())
        assert all(server.item(u.id)["opus"] for u in named)


def test_what_was_said_to_be_saved_survives_a_kill(spoken: list[Utterance], tmp_path: Path) -> None:
    found = to_audit(tmp_path, spoken, 6)
    code = f"from llaso_data.cli import main; main(['audit', {found.align!r}, '--no-open', '--auditor', 'Ada'])"
    environment = {**os.environ, "PYTHONPATH": str(Path(llaso_data.__file__).parents[1])}
    run = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert "6 of 6 accepted utterances drawn, 0 judged" in run.stdout.readline()
    url = run.stdout.readline().split()[1]
    for item in found.items[:4]:
        assert ask(f"{url}answer", {"auditor": "Ada", "id": item.utterance.id, "answer": GOOD})[0] == 200
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    with served(found, auditor="Ada") as server:  # the lock died with its holder
        _, _, body = ask(f"{server.url}begin", {"auditor": "Ada"})
    said = json.loads(body)["answers"]
    assert said == [[item.utterance.id, GOOD] for item in found.items[:4]]


def test_ctrl_c_ends_with_how_far_it_came(spoken: list[Utterance], tmp_path: Path) -> None:
    found = to_audit(tmp_path, spoken, 6)
    code = f"from llaso_data.cli import main; main(['audit', {found.align!r}, '--no-open'])"
    environment = {**os.environ, "PYTHONPATH": str(Path(llaso_data.__file__).parents[1])}
    run = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    run.stdout.readline()
    url = run.stdout.readline().split()[1]
    for item in found.items:
        assert ask(f"{url}answer", {"auditor": "Ada", "id": item.utterance.id, "answer": GOOD})[0] == 200
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and "certified: 0 defects in 6" in said and "Ada: 6 judged" in said


def test_items_come_by_language_in_the_order_of_the_draw_whatever_the_order_of_the_records(tmp_path: Path) -> None:
    items = [utterance(n, language="en" if n % 3 else "fr") for n in range(40)]
    first, second = to_audit(tmp_path / "a", items, 12), to_audit(tmp_path / "b", items[::-1], 12)
    assert [item.utterance.id for item in first.items] == [item.utterance.id for item in second.items]
    assert [item.stratum[0] for item in first.items] == sorted(item.stratum[0] for item in first.items)
    assert first.strata == {("en", "prompts"): 26, ("fr", "prompts"): 14}
