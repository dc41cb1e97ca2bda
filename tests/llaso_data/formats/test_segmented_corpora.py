"""GigaSpeech and WenetSpeech: segments nested in audios, in one JSON file of any length."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llaso_data import formats, records
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip

TALK = "audio/podcast/P0000/POD0000000001.wav"


def read(path: Path, **spec: Any) -> tuple[list[Utterance], Counter[str]]:
    notes: Counter[str] = Counter()
    return [item.utterance for item in formats.read(SourceSpec(path=str(path), **spec), notes)], notes


def segment(number: int, begin: Any, end: Any, text: str, **more: Any) -> dict[str, Any]:
    return {"sid": f"POD1_S{number}", "speaker": "N/A", "begin_time": begin, "end_time": end, "text_tn": text, **more}


def gigaspeech(root: Path, clip: Clip, audios: list[Any], indent: int | None = 2, **head: Any) -> Path:
    (root / TALK).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(clip.path, root / TALK)
    data = {"dataset": "GigaSpeech", "version": "v1.0.0", **head, "audios": audios, "end": {"a": [1]}}
    (root / "GigaSpeech.json").write_text(json.dumps(data, indent=indent), encoding="utf-8")
    return root


@pytest.fixture
def corpus(tmp_path: Path, clips: list[Clip]) -> Path:
    segments = [
        segment(2, "0.6", "1.0", "AS A CHILD <COMMA> I <EXCLAMATIONPOINT>", subsets=["{XL}"]),
        segment(1, 0.1, 0.6, "HELLO <PERIOD> WELL <QUESTIONMARK>"),
        segment(3, 1.0, 1.1, "<MUSIC>"),
        segment(4, 1.1, 1.2, "<SIL>"),
        segment(5, 1.2, 1.3, ""),
    ]
    talk = {"aid": "POD1", "path": TALK, "duration": "1.5", "sample_rate": 16000, "channels": 1, "segments": segments}
    lost = {"aid": "POD2", "path": "audio/lost.opus", "speaker": "june", "segments": [segment(1, 0, 1, "LOST")]}
    del lost["segments"][0]["speaker"]
    return gigaspeech(tmp_path / "giga", clips[0], [talk, lost])


def test_gigaspeech(corpus: Path) -> None:
    assert formats.recognise(SourceSpec(path=str(corpus))) == (formats.LAYOUTS["gigaspeech"], "it has GigaSpeech.json")
    found, notes = read(corpus)
    assert [(u.source.start_s, u.source.end_s, u.text) for u in found] == [
        (0.0, 1.0, "LOST"),
        (0.1, 0.6, "HELLO. WELL?"),
        (0.6, 1.0, "AS A CHILD, I!"),
        (1.2, 1.3, None),
    ]
    assert [u.speaker.id.value for u in found] == ["june", "unknown", "unknown", "unknown"]
    assert found[1].id == records.utterance_id("giga", TALK, None, 0.1, 0.6)
    assert {u.language for u in found} == {"en"} and not any(u.failure for u in found)
    assert notes == {
        "segments of GigaSpeech.json without speech: <MUSIC>": 2,
        "columns not used of GigaSpeech.json: duration, sample_rate, channels, subsets": 4,
    }
    assert len(limited.decode_source(found[1].source)) == 8000
    by_file, _ = read(corpus / "GigaSpeech.json", corpus="giga")
    assert [u.id for u in by_file] == [u.id for u in found]
    assert [u.source.start_s for u in read(corpus, pattern="audio/podcast/**")[0]] == [0.1, 0.6, 1.2]


def test_the_language_is_the_files_else_the_recipes_else_the_corpuss(tmp_path: Path, clips: list[Clip]) -> None:
    talk = {"path": TALK, "segments": [segment(1, 0, 1, "A")]}
    for head, spec, expected in (({}, {}, "en"), ({}, {"language": "th"}, "th"), ({"language": "VI"}, {}, "vi")):
        root = gigaspeech(tmp_path / expected, clips[0], [talk], **head)
        assert [u.language for u in read(root, **spec)[0]] == [expected]


@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_broken_is_counted_and_the_rest_is_read(tmp_path: Path, clips: list[Clip], indent: int | None) -> None:
    ok = segment(1, 0, 1, "FINE")
    audios: list[Any] = [
        {"aid": "A", "path": TALK, "segments": [ok, ok, "x", segment(2, 3, 2, "B"), segment(3, -1, 2, "C")]},
        {"aid": "B", "path": TALK, "segments": None},
        {"aid": "C", "path": "s3:///etc", "segments": [ok]},
        ["no object"],
        {"aid": "BROKEN", "path": TALK, "segments": [segment(n, n, n + 1, "D") for n in range(9)]},
        {"aid": "E", "path": "audio/e.wav", "segments": [segment(4, "soon", 1, "E"), segment(5, 1, None, "F")]},
        {"aid": "F", "path": "audio/f.wav", "segments": [segment(6, 2, 3, "LAST")]},
    ]
    root = gigaspeech(tmp_path / "g", clips[0], audios, indent)
    text = (root / "GigaSpeech.json").read_text().replace('"BROKEN"', '"BRO"KEN')
    for whole, last in ((text, []), (text[: text.index("LAST")], ["7"])):
        (root / "GigaSpeech.json").write_text(whole)
        found, _ = read(root)
        assert [u.text for u in found if not u.failure] == [*([] if last else ["LAST"]), "FINE"]
        failures = [u.failure for u in found if u.failure]
        assert {failure.reason for failure in failures} == {"bad_row"}
        places = sorted(failure.detail.partition("GigaSpeech.json:")[2].partition(": ")[0] for failure in failures)
        expected = ["1.2", "1.3", "1.4", "1.5", "2", "3", "4", "5", "6.1", "6.2", *last]
        assert [place for place in places if place != "8"] == expected
        assert len({u.id for u in found}) == len(found)


def test_a_file_that_is_no_such_corpus_is_named(tmp_path: Path) -> None:
    (tmp_path / "GigaSpeech.json").write_text('{"audios": []}')
    with pytest.raises(LLaSOError, match=r"GigaSpeech\.json holds no segment of speech"):
        read(tmp_path)
    for wrong in ("[1]", '{"a": 1}', '{"audios": 3}', "{", "", '{"a" 1}'):
        (tmp_path / "GigaSpeech.json").write_text(wrong)
        (found,), _ = read(tmp_path)
        assert found.failure and found.failure.reason == "bad_row"


def test_wenetspeech(tmp_path: Path, clips: list[Clip]) -> None:
    (tmp_path / "audio").mkdir()
    shutil.copyfile(clips[0].path, tmp_path / "audio" / "Y1.wav")
    segments = [
        {"sid": "Y1_S0", "confidence": 1.0, "begin_time": 0.2, "end_time": 1.1, "text": "怎么样", "subsets": ["L"]},
        {"sid": "Y1_S1", "confidence": 0.9, "begin_time": 1.1, "end_time": 1.4, "text": "好"},
    ]
    data = {"audios": [{"aid": "Y1", "duration": 1.5, "path": "audio/Y1.wav", "segments": segments}]}
    (tmp_path / "WenetSpeech.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    assert formats.recognise(SourceSpec(path=str(tmp_path / "WenetSpeech.json"))).layout.name == "wenetspeech"
    found, notes = read(tmp_path)
    assert [(u.text, u.source.start_s, u.language) for u in found] == [("怎么样", 0.2, "zh"), ("好", 1.1, "zh")]
    assert notes == {"columns not used of WenetSpeech.json: duration, confidence, subsets": 3}
