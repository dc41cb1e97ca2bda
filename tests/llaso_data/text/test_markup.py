"""Markup in transcripts is not said: it is taken off where a scheme knows it, and named where none does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import records
from llaso_data.pipeline.build_align import build_align
from llaso_data.records import Verdict
from llaso_data.text.markup import clean, unknown_markup
from tests.conftest import Clip
from tests.support.corpora import louder, observed, recipe

KNOWN = [
    ("[00:12.50]When you <00:13.10>come", "When you come"),
    ("[1:02:03] at 9:30", "at 9:30"),
    ("<|en|><|NEUTRAL|><|Speech|><|woitn|>the number is", "the number is"),
    ("<|startoftranscript|><|0.00|> hello<|2.40|>", "hello"),
    ("HELLO <COMMA> WORLD <QUESTIONMARK> YES <EXCLAMATIONPOINT> NO <PERIOD>", "HELLO, WORLD? YES! NO."),
    ("i <unk> think <sil> [NOISE] {COUGH} the(2) end", "i think the end"),
    (
        "[laughter] yes [laughter-right] ((i think)) {laugh} %um [vocalized-noise] {F uh,} ok",
        "yes right i think um uh, ok",
    ),
    ('<i>hello</i><br>world <font color="red">x</font> AT&amp;T &lt;3 &#39;s', "hello world x AT&T <3 's"),
    ("<v John Smith>hello <00:00:01.000><c.red>there</c></v>", "[John Smith]: hello there"),
    ("{\\an8}Hi there\\N next", "Hi there next"),
    ("1 00:00:01,000 --> 00:00:03,000 Hello 2 00:00:04,000 --> 00:00:05,000 there", "Hello there"),
    (">> we went ♪ la la ♪ >> home", "we went la la home"),
    ("*laughs* so (laughs) I [soft music playing] (clears throat) left [Applause]", "so I left"),
    ("[BLANK_AUDIO] <noise>a</noise> [Musique] 你好（笑）【音楽】", "a 你好"),
    ("😀 hi 👍🏽 1️⃣ [sic]", "hi 1"),
]
ORDINARY = [
    "I <3 you",
    "x < y and y > z",
    "a<b and c>d",
    "5 * 3 * 2 = 30",
    "press * or *5 and #6, or just # to exit",
    "mail <john@x.com> or <https://x.y/z>",
    "【重要】你好",
    "at [@] or [1]",
    "I (really) said person(s) f(2)",
    "AT&T and R&D; ©2020",
]
UNKNOWN = [
    "[something odd] he said",
    "a <weird> one",
    "{x y} z",
    "*really* good",
    "so [inaudible] it is",
    "so (( )) it is",
]


@pytest.mark.parametrize(("written", "said"), KNOWN)
def test_known_markup_is_taken_off(written: str, said: str) -> None:
    found = clean(written)
    assert found.text == said and unknown_markup(said) == ()
    assert len(found.offsets) == len(said) and list(found.offsets) == sorted(found.offsets)


@pytest.mark.parametrize("written", ORDINARY)
def test_ordinary_text_stays(written: str) -> None:
    assert clean(written).text == written and unknown_markup(written) == ()


@pytest.mark.parametrize("written", UNKNOWN)
def test_what_no_scheme_knows_stays_and_is_named(written: str) -> None:
    assert clean(written).text == written and len(unknown_markup(written)) == 1


@pytest.mark.parametrize(
    "written", ["<SIL>", "<MUSIC>", "[noise]", "♪♪", "<|nospeech|>", "(laughs)", "\u200b", "[noise] <unk>"]
)
def test_a_transcript_that_is_all_markup_says_nothing(written: str) -> None:
    assert clean(written).text == ""


@given(st.text(st.sampled_from("ab <>[]{}()*|&;#♪\\N\u00ad:>-/iCOMA"), max_size=30))
def test_cleaning_is_a_shortening_of_what_stands_there(written: str) -> None:
    found = clean(written)
    assert list(found.offsets) == sorted(found.offsets) and len(found.offsets) == len(found.text)
    assert all(0 <= place < len(written) for place in found.offsets)


def test_a_run_trains_on_what_is_said(tiny_en: Path, clips: list[Clip], tmp_path: Path) -> None:
    (fox,) = [clip for clip in clips if clip.path.stem == "quick_brown_fox" and clip.language == "en"]
    said = fox.text.rstrip(".")
    texts = {
        "plain": fox.text,
        "marked": "<|en|><|NEUTRAL|>" + said.replace("brown", "<i>br\u00adown</i> [noise]") + " <PERIOD>",
        "label": f"ANN: {fox.text}",
        "unknown": f"[as in the book] {fox.text}",
        "silent": "<MUSIC>",
    }
    rows = []
    for n, (name, text) in enumerate(texts.items()):
        louder(fox.path, tmp_path / f"{name}.wav", 1 - n / 10)
        rows.append({"audio": f"{name}.wav", "text": text, "language": "en"})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    wanted = recipe(tiny_en, tmp_path / "out", {"path": str(tmp_path / "m.jsonl"), "type": "manifest"})
    summary = build_align(wanted)
    found = {Path(one.source.uri).stem: one for one in observed(tmp_path / "out")}
    verdicts = records.from_table(pq.read_table(summary_table(tmp_path / "out")), Verdict)
    rules = {name: next(v.rule for v in verdicts if v.id == one.id) for name, one in found.items()}
    assert rules == {
        "plain": None,
        "marked": None,
        "label": None,
        "unknown": "consistency.markup",
        "silent": "confidence.no_text",
    }
    assert [found[name].text for name in texts] == [fox.text, fox.text, fox.text, texts["unknown"], None]
    assert [found[name].text_given for name in texts] == [None, texts["marked"], texts["label"], None, "<MUSIC>"]
    assert [word.text for word in found["marked"].words] == fox.text.split()
    assert found["label"].speaker.id.value == "ANN" and found["silent"].hypothesis
    assert summary.counts["accepted"] == 3
    allowed = build_align(wanted.model_copy(update={"judge": allowing(wanted)}))
    assert allowed.blocks_observed == 0 and "consistency.markup" not in allowed.rules


def summary_table(out: Path) -> Path:
    name = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["verdicts"]
    return out / "verdicts" / f"{name}.parquet"


def allowing(wanted: Any) -> Any:
    section = wanted.judge.consistency.model_copy(update={"markup": False})
    return wanted.judge.model_copy(update={"consistency": section})
