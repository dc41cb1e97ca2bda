"""Subtitles, TextGrids and label files beside audio: each cue is an utterance, and words come with their times."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import formats, records
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.label_lines import label_lines, word_lines
from llaso_data.formats.beside_audio.subtitles import subtitles
from llaso_data.formats.beside_audio.textgrid import textgrid
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow
from llaso_data.pipeline.blocks import plan
from llaso_data.pipeline.observe import load_block
from llaso_data.recipe import Blocks, Observe, SourceSpec
from llaso_data.records import Utterance, Word
from tests.conftest import Clip


@pytest.fixture
def folder(tmp_path: Path, clips: list[Clip]) -> Path:
    shutil.copyfile(clips[0].path, tmp_path / "a.wav")
    return tmp_path


def read(path: Path, **spec: Any) -> tuple[list[Utterance], Counter[str]]:
    notes: Counter[str] = Counter()
    return [item.utterance for item in formats.read(SourceSpec(path=str(path), **spec), notes)], notes


def put(folder: Path, name: str, data: str | bytes) -> None:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def spans(found: list[Utterance]) -> list[tuple[str | None, float | None, float | None]]:
    return [(u.text, u.source.start_s, u.source.end_s) for u in found if not u.failure]


def problems(found: list[Utterance], name: str) -> list[int]:
    return sorted(int(u.failure.detail.partition(f"{name}:")[2].partition(":")[0]) for u in found if u.failure)


def long_form(tiers: dict[str, list[tuple[float, float, str]]], end_s: float = 2.0) -> str:
    """A TextGrid as Praat writes it."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end_s} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ']
        lines += ["        xmin = 0 ", f"        xmax = {end_s} ", f"        intervals: size = {len(intervals)} "]
        for at, (start, end, text) in enumerate(intervals, 1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{at}]:", f"            xmin = {start} ", f"            xmax = {end} "]
            lines += [f'            text = "{quoted}" ']
    return "\n".join(lines) + "\n"


def short_form(tiers: dict[str, list[tuple[float, float, str]]], end_s: float = 2.0) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", str(end_s), "<exists>", str(len(tiers))]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", str(end_s), str(len(intervals))]
        for start, end, text in intervals:
            quoted = text.replace('"', '""')
            lines += [str(start), str(end), f'"{quoted}"']
    return "\n".join(lines) + "\n"


SRT = """1
00:00:00,000 --> 00:00:00,500
<i>Good</i> {\\an8}morning,
Ann & Bo.

2
00:00:00,500 --> 00:00:01,250 X1:10 X2:20
– Well?
3
00:00:01,250 --> 00:00:01,400

"""
VTT = """WEBVTT - a title

STYLE
::cue { color: red }

NOTE not said
nor this

intro
00:00.000 --> 00:00.500 align:start position:0%
<v.loud Ann Lee>Good <00:00:00.200><c>morning</c>, Ann &amp; Bo.</v>

00:00.500 --> 00:01.250
– Well?
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("name", "data"), [("a.srt", SRT), ("a.VTT", VTT)])
def test_each_cue_of_subtitles_is_an_utterance(folder: Path, name: str, data: str, end: str) -> None:
    put(folder, name, data.replace("\n", end))
    found, notes = read(folder)
    assert spans(found) == [("Good morning, Ann & Bo.", 0.0, 0.5), ("– Well?", 0.5, 1.25)]
    assert found[1].id == records.utterance_id(folder.name, "a.wav", None, 0.5, 1.25)
    assert [u.speaker.id.value for u in found] == (["Ann Lee", "unknown"] if name == "a.VTT" else ["unknown"] * 2)
    assert len(limited.decode_source(found[1].source)) == 12_000
    assert not notes and not any(u.failure or u.words for u in found)
    assert spans(read(folder / "a.wav")[0]) == (spans(found) if name == "a.srt" else [(None, None, None)])


def test_an_audacity_track(folder: Path) -> None:
    put(folder, "a.txt", "0.5\t1.25\tand so  on\n\\\t100.0\t5000.0\n0,000000\t0,500000\tone\n1.25\t1.3\t\n")
    found, notes = read(folder)
    assert spans(found) == [("one", 0.0, 0.5), ("and so on", 0.5, 1.25)] and not notes


TIERS = {
    "utterances": [(0.0, 0.1, ""), (0.1, 0.9, 'so "it" goes'), (0.9, 1.0, "sil"), (1.0, 1.5, "on")],
    "Words": [(0.0, 0.1, ""), (0.1, 0.4, "so"), (0.4, 0.6, '"it"'), (0.6, 0.9, "goes"), (1.0, 1.5, "on")],
    "phones": [(0.1, 0.2, "s")],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("form", [long_form, short_form])
def test_intervals_are_utterances_with_the_words_inside(folder: Path, form: Any, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    put(folder, "a.TextGrid", (mark + form(TIERS)).encode(encoding))
    found, notes = read(folder)
    assert spans(found) == [('so "it" goes', 0.1, 0.9), ("on", 1.0, 1.5)] and not notes
    assert found[0].words == (Word("so", 0.0, 0.3), Word('"it"', 0.3, 0.5), Word("goes", 0.5, 0.8))
    assert found[1].words == (Word("on", 0.0, 0.5),)
    assert spans(read(folder / "a.wav")[0]) == spans(found)


WORDS = (Word("so", 0.1, 0.4), Word('"it"', 0.4, 0.6), Word("goes", 0.6, 0.9), Word("on", 1.0, 1.5))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.TextGrid", long_form({"Mary - words": TIERS["Words"], "Mary - phones": TIERS["phones"]})),
        (
            "a.lab",
            '0 1000000 sil\n1000000 4000000 so -50.5\n4000000 6000000 "it"\n6000000 9000000 goes\n'
            "10000000 15000000 on\n",
        ),
        ("a.WRD", '1600 6400 so\n6400 9600 "it"\n9600 14400 goes\n16000 24000 on\n'),
    ],
)
def test_words_are_the_text_of_the_whole_file_or_come_with_its_transcript(folder: Path, name: str, data: str) -> None:
    put(folder, name, data)
    (found,), notes = read(folder)
    plain = name == "a.lab"  # where a label in quotes is the label without them
    assert found.text == ("so it goes on" if plain else 'so "it" goes on') and not notes
    assert found.words == tuple(word if not plain else Word(word.text.strip('"'), *word_times(word)) for word in WORDS)
    assert (found.source.start_s, found.id) == (None, records.utterance_id(folder.name, "a.wav"))
    put(folder, "a.txt", "So 'it' goes on.")
    (found,), notes = read(folder)
    assert found.text == "So 'it' goes on." and len(found.words) == 4 and not notes


def word_times(word: Word) -> tuple[float, float]:
    return word.start_s, word.end_s


def test_timit(folder: Path) -> None:
    put(folder, "a.TXT", "0 46797 She had your dark suit.\n")
    put(folder, "a.WRD", "2000 4000 she\n4000 8000 had\n")
    put(folder, "a.PHN", "0 2000 h#\n")
    (found,), notes = read(folder)
    assert found.text == "She had your dark suit." and [word.text for word in found.words] == ["she", "had"]
    assert notes == {"not read: .phn beside audio: a.PHN": 1}


def test_a_transcript_counts_before_cues_and_cues_before_words(folder: Path) -> None:
    put(folder, "a.txt", "All of it.")
    put(folder, "a.srt", SRT)
    put(folder, "a.wrd", "0 1600 all\n")
    (found,), notes = read(folder)
    assert (found.text, found.words) == ("All of it.", (Word("all", 0.0, 0.1),))
    assert notes == {"not read: .srt beside audio: a.srt": 1}
    put(folder, "a.txt", "")
    assert [text for text, *_ in spans(read(folder)[0])] == ["Good morning, Ann & Bo.", "– Well?"]


@pytest.mark.parametrize("tiers", [{"mary": TIERS["Words"]}, {"Mary": TIERS["Words"], "phones": TIERS["phones"]}])
def test_the_only_tier_is_of_utterances(folder: Path, tiers: Any) -> None:
    put(folder, "a.textgrid", short_form(tiers))
    assert [text for text, *_ in spans(read(folder)[0])] == ["so", '"it"', "goes", "on"]


@pytest.mark.parametrize("tiers", [{"phones": TIERS["phones"]}, {"a": TIERS["Words"], "b": TIERS["Words"]}, {}])
def test_tiers_that_say_nothing_are_named(folder: Path, tiers: Any) -> None:
    put(folder, "a.textgrid", long_form(tiers))
    (found,), notes = read(folder)
    assert found.text is None and found.failure is None
    assert notes == {"not read: a TextGrid without a tier of words or utterances: a.textgrid": 1}


def test_bad_times_of_cues_are_counted_and_the_others_read(folder: Path) -> None:
    put(
        folder,
        "a.srt",
        "1\n0:1 --> 0:0\nback\n\n-0:01 --> 0:02\nminus\n\n0:00 --> 0:01\nfine\n\nx --> y\n\n0:00.5 --> 99:00\nlate\n",
    )
    found, notes = read(folder)
    assert spans(found) == [("fine", 0.0, 1.0), ("late", 0.5, 5940.0)]
    assert problems(found, "a.srt") == [2, 5, 11]
    assert {u.failure.reason for u in found if u.failure} == {"bad_row"}
    assert notes == {"cues that overlap: a.srt:13": 1}
    put(folder, "a.srt", "")
    put(folder, "a.lab", "0.0\t0.5\tone\n-1.0\t2.0\tminus\n0.9\t0.5\tback\nno label\n" + "0.5\t0.6\tmore\n" * 9)
    found, _ = read(folder)
    wrong = problems(found, "a.lab")
    assert wrong[:3] == [2, 3, 4] and len(wrong) == 3 + 8  # the same span again is counted, too
    assert spans(found) == [("one", 0.0, 0.5), ("more", 0.5, 0.6)]


def test_words_with_bad_times_are_no_transcript_and_spoil_none(folder: Path) -> None:
    for bad, line in (("5000 4000 b", 2), ("-5 4000 b", 2), ("b", 2), ("9 " + "9" * 30 + " b", 2)):
        put(folder, "a.wrd", f"0 4000 a\n{bad}\n")
        (found,), _ = read(folder)
        assert found.failure and found.failure.reason == "bad_text" and f"a.wrd:{line}: " in found.failure.detail
        put(folder, "a.txt", "a b")
        (found,), notes = read(folder)
        assert (found.text, found.words, found.failure) == ("a b", (), None)
        assert next(iter(notes)).startswith(f"times of words not used: a.wrd:{line}: ")
        (folder / "a.txt").unlink()
    put(folder, "a.wrd", "0 4000 a\n2000 5000 b\n")
    (found,), notes = read(folder)
    assert (found.text, found.words) == ("a b", ()) and notes == {"times of words not used: a.wrd:2: words overlap": 1}


@pytest.mark.parametrize(
    ("name", "data", "wrong"),
    [
        ("a.srt", "größer".encode("latin-1"), "not UTF-8"),
        ("a.TextGrid", b"ooBinaryFile\x08TextGrid\x00", "NUL"),
        ("a.TextGrid", long_form(TIERS)[:-40].encode(), "a.TextGrid: it breaks off where"),
        ("a.TextGrid", long_form(TIERS).replace("xmin = 0.4", "xmin = soon").encode(), "a number expected"),
        ("a.TextGrid", long_form(TIERS).replace("size = 4", "size = 1e99").encode(), "a number expected"),
        ("a.TextGrid", long_form(TIERS).replace("size = 4", "size = -4").encode(), "is not a number of tiers"),
        ("a.TextGrid", b'"', "not a TextGrid|it breaks off"),
        ("a.lab", b"0.0\t0.5\tone\n" + b"0.5\t0.6\t\xff\n", "not UTF-8"),
        ("a.srt", b"0:00 --> 0:01\n" + b"x" * (17 << 20), "longer than 16 MiB"),
    ],
)
def test_damaged_files_fail_their_audio_alone(folder: Path, name: str, data: bytes, wrong: str) -> None:
    put(folder, name, data)
    shutil.copyfile(folder / "a.wav", folder / "b.wav")
    put(folder, "b.txt", "fine")
    found, _ = read(folder)
    assert [u.text for u in found] == [None, "fine"]
    assert found[0].failure and found[0].failure.reason == "bad_text"
    assert any(one in found[0].failure.detail for one in wrong.split("|"))
    put(folder, "a.txt", "a transcript")
    found, notes = read(folder)
    assert found[0].text == "a transcript" and found[0].failure is None
    assert notes == {f"not read: damaged files beside audio: {name}": 1}


@given(st.text(max_size=300), st.sampled_from(["srt", "vtt"]))
def test_any_text_is_cues_or_none(text: str, kind: str) -> None:
    for labels in (subtitles(text, kind), label_lines(text), word_lines(text)):
        for label in (*labels.cues, *labels.words):
            assert label.problem or 0 <= label.start_s <= label.end_s
        assert labels.cues or labels.words or labels.unread


@given(st.integers(0, 10_000))
def test_a_textgrid_with_a_changed_part_is_read_or_refused(seed: int) -> None:
    draw = random.Random(seed)
    text = draw.choice([long_form, short_form])(TIERS)
    at = draw.randrange(len(text))
    changed = (
        text[:at] + draw.choice(['"', "!", "1e400", "", "\n", "<exists>", "-", '""']) + text[at + draw.randrange(9) :]
    )
    try:
        labels = textgrid(changed)
    except LLaSOError:
        return
    assert all(label.problem or label.text for label in (*labels.cues, *labels.words))


def test_words_survive_the_sort_on_disk_and_records_have_their_own(folder: Path) -> None:
    rows = [
        SourceRow(
            path=f"{n}.wav", uri="u", root="r", container="c", metadata=SourceMetadata(text="so", words=WORDS[:1])
        )
        for n in range(9)
    ]
    assert list(sorted_rows(reversed(rows), run_rows=2)) == rows
    put(folder, "a.wrd", "1600 6400 so\n")
    (item,) = formats.read(SourceSpec(path=str(folder)))
    assert item.utterance.words == WORDS[:1]
    (block,) = plan([item], Blocks(), "observing")
    (loaded,) = load_block(block, Observe()).utterances
    assert (loaded.text, loaded.words) == ("so", ())
