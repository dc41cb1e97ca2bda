"""A field that a later version adds renames nothing: the ids, blocks, samples and files that people have stay."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given

import llaso_data
from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.pipeline.blocks import block_name
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.records import Input, Source, Utterance, utterance_id
from llaso_data.shards import layout
from tests.conftest import Clip
from tests.llaso_data.records.test_records import utterances
from tests.support import asr_fixtures
from tests.support.corpora import english, recipe

RECORDS = (
    records.Attribute, records.Source, records.Word, records.Speaker, records.Scores, records.Failure,
    records.Utterance, records.Verdict, records.ContentPart, records.Message, records.Sample,
)  # fmt: skip


def wider(base: type, name: str, hint: Any) -> Any:
    """The record as a later version may have it."""
    return dataclasses.make_dataclass(
        base.__name__, [(name, hint, None)], bases=(base,), frozen=True, kw_only=True, slots=True
    )


LaterSource = wider(Source, "take", int | None)
LaterUtterance = wider(Utterance, "dialect", str | None)


def later(old: Utterance, take: int | None = None, dialect: str | None = None) -> Any:
    def fields(record: Any) -> dict[str, Any]:
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}

    return LaterUtterance(**{**fields(old), "source": LaterSource(**fields(old.source), take=take)}, dialect=dialect)


def named(utterance: Utterance) -> str:
    return block_name([Input(utterance=utterance, container="c", version="1")], "observing")


@given(utterances)
def test_a_field_that_says_nothing_is_in_no_name_and_no_json(old: Utterance) -> None:
    assert named(later(old)) == named(old)
    said = [later(old, take=0), later(old, dialect=""), later(old, dialect="x")]
    assert len({named(utterance) for utterance in [old, *said]}) == 4
    assert records.to_dict(later(old)) == records.to_dict(old)
    assert records.to_dict(later(old, take=0))["source"]["take"] == 0
    assert layout.audio_entry("flac", later(old, dialect="x"))["dialect"] == "x"


@given(utterances)
def test_the_canonical_form_is_json_of_what_is_said(found: Utterance) -> None:
    text = records.canonical(found)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert records.from_dict(json.loads(text), Utterance) == found


@pytest.mark.parametrize("record", RECORDS)
def test_the_fields_of_the_first_format_are_all_there_and_later_ones_are_none(record: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(record)}
    assert records.FIRST_FORMAT[record.__name__] <= fields.keys()
    for name in fields.keys() - records.FIRST_FORMAT[record.__name__]:
        assert fields[name].default is None and records.schema(record).field(name).nullable


def test_only_a_selected_channel_is_part_of_an_id() -> None:
    whole = utterance_id("c", "a.wav")
    assert utterance_id("c", "a.wav", channel=None) == whole
    assert len({whole, utterance_id("c", "a.wav", channel=0), utterance_id("c", "a.wav", channel=1)}) == 3
    assert utterance_id("c", "a.wav", channel=0) == "3e4d8612502f0b21d9c74ad09d550c43"


LATER_VERSION = {
    "class Source": "take: int | None = None",
    "class Word": "pitch_hz: float | None = None",
    "class Speaker": "role: Attribute | None = None",
    "class Scores": "loudness: float | None = None",
    "class Utterance": "dialect: str | None = None",
    "class Verdict": "note: str | None = None",
}


def later_version(folder: Path) -> Path:
    """This package with one more field in every record that is stored."""
    shutil.copytree(
        Path(llaso_data.__file__).parent, folder / "llaso_data", ignore=shutil.ignore_patterns("__pycache__")
    )
    widened = 0
    for path in (folder / "llaso_data" / "records").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name, field in LATER_VERSION.items():
            text, count = re.subn(rf"(?ms)(^{name}:.*?)(\n\n\n|\Z)", rf"\1\n    {field}\2", text, count=1)
            widened += count
        path.write_text(text, encoding="utf-8")
    assert widened == len(LATER_VERSION)
    return folder


def test_with_a_field_more_all_blocks_are_done_and_everything_is_read(
    tiny_en: Path, clips: list[Clip], tmp_path: Path
) -> None:
    corpus = english(tmp_path / "corpus", asr_fixtures.named(clips, "en/hello_world"), gains=(1.0,))
    (corpus / "broken.wav").write_bytes(b"RIFF")
    wanted = recipe(tiny_en, tmp_path / "align", corpus)
    before = build_align(wanted)
    assert before.counts["accepted"] and before.counts["failed"]
    shards = shard_dataset(before.out, str(tmp_path / "shards"), wanted.shard, wanted.run)
    (tmp_path / "recipe.json").write_text(wanted.model_dump_json(), encoding="utf-8")
    code = f"""
import dataclasses, json, sys
from llaso_data import records
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.commit import observed
from llaso_data.recipe import Recipe
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.report.rejections import rejections
assert "take" in records.schema(records.Source).names and "note" in records.schema(records.Verdict).names
wanted = Recipe.model_validate_json(open({str(tmp_path / "recipe.json")!r}).read())
again = build_align(wanted)
audit = wanted.judge.audit.model_copy(update={{"items": 1}})
judge = wanted.judge.model_copy(update={{"audit": audit}})
other = build_align(wanted.model_copy(update={{"judge": judge}}))
assert {{(u.dialect, u.source.take) for u in observed(again.out)}} == {{(None, None)}}
print(json.dumps({{
    "observed": [again.blocks_observed, other.blocks_observed],
    "judged": [again.judged, other.judged],
    "counts": [again.counts, {{**other.counts, "audited": again.counts["audited"]}}],
    "rejections": len(list(rejections(again.out, None))),
    "digest": shard_dataset(again.out, {str(tmp_path / "again")!r}, wanted.shard, wanted.run).digest,
}}))
"""
    environment = {**os.environ, "PYTHONPATH": str(later_version(tmp_path / "later"))}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path / "later", capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout.splitlines()[-1]) == {
        "observed": [0, 0],
        "judged": [False, True],
        "counts": [before.counts, before.counts],
        "rejections": before.counts["inputs"] - before.counts["accepted"],
        "digest": shards.digest,
    }


def test_what_was_there_from_the_first_may_not_be_missing(tmp_path: Path) -> None:
    old = Utterance(id="a" * 32, recording="a" * 32, source=Source(corpus="c", uri="/a.wav"))
    pq.write_table(records.to_table([old], Utterance).drop_columns(["text"]), tmp_path / "old.parquet")
    with pytest.raises(LLaSOError, match="has no column text"):
        columns.read(str(tmp_path / "old.parquet"), ["id", "text"])
