"""Data folders of Kaldi and ESPnet: read without running a command of theirs, and written."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import audio, records
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats import LAYOUTS, read, recognise
from llaso_data.formats.rows.source_row import RowError
from llaso_data.formats.tables.kaldi_locations import Location, location
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip
from tests.support.written_layouts import pointed, spoken, write_set


def write(folder: Path, **tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def utterances(path: Path | str, notes: Counter[str] | None = None, **spec: Any) -> list[Utterance]:
    return [item.utterance for item in read(SourceSpec(path=str(path), corpus="c", **spec), notes)]


def failures(found: list[Utterance], root: Path) -> list[str]:
    """The reason and the place of each failure."""
    places = [
        (u.failure.reason, u.failure.detail.removeprefix(f"{root}/").partition(": ")[0]) for u in found if u.failure
    ]
    return [f"{reason} {place}" for reason, place in places]


# Sets


def test_a_set_without_segments(tmp_path: Path, clips: list[Clip]) -> None:
    one, two = clips[0].path, clips[1].path
    folder = write(
        tmp_path / "train",
        wav_scp=f"bob-1 {one}\nbob-2 sph2pipe -f wav -p -c 2 {two} |\neve-1 cat nowhere.wav |\n",
        text="bob-1 Hello  there.\nbob-2 Grüß dich\n",
        utt2spk="bob-1 bob\nbob-2 bob\neve-1 eve-1\n",
        spk2gender="bob m\n",
        utt2lang="bob-1 en\nbob-2 de\n",
    )
    notes: Counter[str] = Counter()
    found = sorted(utterances(folder, notes), key=lambda u: u.source.uri != str(one))
    assert recognise(SourceSpec(path=str(folder)))[0].name == "kaldi"
    assert recognise(SourceSpec(path=str(folder / "wav.scp")))[0].name == "kaldi"
    assert not failures(found, folder) and not notes
    by_uri = {os.path.basename(u.source.uri): u for u in found}
    first, second, third = (by_uri[name] for name in (one.name, two.name, "nowhere.wav"))
    assert (first.text, first.language, first.speaker.id.value) == ("Hello  there.", "en", "bob")
    assert first.speaker.gender.value == "male"
    assert (second.text, second.language, second.source.channel) == ("Grüß dich", "de", 1)
    assert (third.text, third.speaker.id.value, third.source.uri) == (None, "unknown", str(folder / "nowhere.wav"))
    assert first.id == records.utterance_id("c", str(one))
    assert sorted(u.id for u in utterances(folder / "wav.scp")) == sorted(u.id for u in found)


def test_segments_of_recordings(tmp_path: Path, clips: list[Clip]) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "r.wav").write_bytes(clips[0].path.read_bytes())
    folder = write(
        tmp_path / "data" / "train",
        wav_scp="rec1 wavs/r.wav\nrec2 sox -t wav wavs/r.wav -r 16k -t wav - remix 1 |\n",
        segments="a rec1 0.25 0.75\nb rec1 0.5 -1\nc rec2 0 0.5 0\nd rec1 0.75 0.5\ne rec9 0 1\nf rec1 0\n",
        text="a A.\nb B.\nx Nobody.\n",
        utt2spk="a s\nb s\nb s\n",
    )
    notes: Counter[str] = Counter()
    found = utterances(tmp_path, notes)
    fine = [(u.text, u.source.start_s, u.source.end_s, u.source.channel) for u in found if not u.failure]
    assert fine == [(None, 0.0, 0.5, 0), ("A.", 0.25, 0.75, None), ("B.", 0.5, None, None)]
    assert {u.source.uri for u in found if not u.failure} == {str(tmp_path / "wavs" / "r.wav")}
    assert failures(found, folder) == [*(f"bad_row segments:{line}" for line in (4, 5, 6)), "bad_row text:3"]
    assert notes["not used: a line of no utterance: data/train/utt2spk:3"] == 1
    ids = {
        records.utterance_id("c", "wavs/r.wav", None, 0.25, 0.75),
        records.utterance_id("c", "wavs/r.wav", None, 0.5),
    }
    assert ids <= {u.id for u in found}


def test_what_is_broken_is_counted_with_file_and_line(tmp_path: Path, clips: list[Clip]) -> None:
    clip = clips[0].path
    folder = write(
        tmp_path,
        wav_scp=f"a {clip}\na {clip}\nb\nc rm -rf x |\nd curl http://x/y.wav |\ne bucket://x/y.wav\nf -\n"
        f"g x\0.wav\nh {clips[1].path}\n",
        text=f"a fine\nh caf\udce9\nz {'x' * 100}\n",
    )
    found = utterances(folder)
    assert [u.text for u in found if not u.failure] == ["fine"]
    assert sorted(failures(found, folder)) == [
        "bad_row text:3",
        *(f"bad_row wav.scp:{line}" for line in range(2, 9)),
        "bad_text wav.scp:9",
    ]
    text = " ".join(u.failure.detail for u in found if u.failure)
    assert "its command is 'rm', which is not known; no command of a corpus is run" in text
    assert "its command is 'curl'" in text


def test_tables_in_another_order_are_joined_all_the_same(tmp_path: Path, clips: list[Clip]) -> None:
    paths = [clip.path for clip in clips[:3]]
    write(
        tmp_path,
        wav_scp="".join(f"{id} {path}\n" for id, path in zip("cab", paths, strict=True)),
        text="b B\na A\nc C\n",
    )
    assert {u.source.uri: u.text for u in utterances(tmp_path)} == dict(
        zip(map(str, paths), ("C", "A", "B"), strict=True)
    )


def test_a_folder_without_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"no wav\.scp below it"):
        utterances(tmp_path, type="kaldi")
    write(tmp_path, wav_scp="\n")
    with pytest.raises(LLaSOError, match=r"its wav\.scp has no line"):
        utterances(tmp_path)


def test_texts_of_owsm(tmp_path: Path, clips: list[Clip]) -> None:
    write(
        tmp_path,
        wav_scp=f"a {clips[0].path}\nb {clips[1].path}\nc {clips[2].path}\n",
        text="a <eng><asr><0.00> hello<2.30><2.40> there<3.00>\nb <deu><st_eng><notimestamps> hello\nc <deu> x\n",
    )
    (tmp_path / "text.prev").write_text("a <na>\n")
    notes: Counter[str] = Counter()
    found = {u.source.uri: (u.text, u.language) for u in utterances(tmp_path, notes)}
    assert [found[str(clip.path)] for clip in clips[:3]] == [("hello there", "en"), (None, "de"), ("<deu> x", None)]
    assert notes["texts of OWSM that are no transcripts"] == 1
    assert notes["not read: another table of texts: text.prev"] == 1


# Commands


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b c.wav", Location("a/b c.wav")),
        ("a/b.ark:42", Location("a/b.ark", "42")),
        ("s3://x/y.flac", Location("s3://x/y.flac")),
        ("cat a.wav |", Location("a.wav")),
        ("/opt/bin/sph2pipe -f wav -p -c 1 'a b.sph' |", Location("a b.sph", None, 0)),
        ("flac -c -d -s a.flac |", Location("a.flac")),
        ("ffmpeg -loglevel error -i a.m4a -ar 16000 -ac 1 -f wav - |", Location("a.m4a")),
        ("sox a.mp3 -r 16k -b 16 -c 1 -t wav - |", Location("a.mp3")),
        ("sox -t wav a.wav -t wav - remix 2 rate -h 16k dither |", Location("a.wav", None, 1)),
        ("sph2pipe -f wav -p a.sph | sox -t wav - -r 16k -t wav - remix 1 |", Location("a.sph", None, 0)),
    ],
)
def test_files_of_commands_are_told(value: str, expected: Location) -> None:
    assert location(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "sox a.wav -t wav - speed 0.9 |",
        "sox -v 0.8 a.wav -t wav - |",
        "sox a.wav b.wav -t wav - remix x |",
        "ffmpeg -ss 3 -i a.wav -f wav - |",
        "ffmpeg -i a.wav -af atempo=2 -f wav - |",
        "flac -c -d --skip=3 a.flac |",
        "cat a.wav; rm -rf / |",
        "cat a.wav b.wav |",
        "cat $(ls) |",
        "cat `ls` |",
        "cat a > b |",
        "cat - |",
        "wav-copy scp:x - |",
        "cat 'a |",
        "| tee x",
        "|",
        "",
    ],
)
def test_every_other_command_is_refused(value: str) -> None:
    with pytest.raises(RowError):
        location(value)


@given(st.text(max_size=40))
def test_no_line_of_a_wav_scp_does_harm(value: str) -> None:
    for text in (value, f"{value} |", f"sox {value} |", f"ffmpeg -i {value} |"):
        try:
            assert location(text).path
        except RowError as error:
            assert str(error)


def test_no_command_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    values = [
        f"touch {mark} |",
        f"cat $(touch {mark}) |",
        f"sox x -t wav - | touch {mark} |",
        f"cat x | sh -c 'touch {mark}' |",
    ]
    write(tmp_path, wav_scp="".join(f"{number} {value}\n" for number, value in enumerate(values)))
    assert [u.failure.reason for u in utterances(tmp_path) if u.failure] == ["bad_row"] * 4
    assert not mark.exists()


# Arks


def flac(path: Path) -> bytes:
    import io

    samples, rate = soundfile.read(str(path), dtype="int16")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def entry(data: bytes) -> bytes:
    """As kaldiio writes what soundfile encoded."""
    size = len(data).to_bytes(4, "little").rstrip(b"\0")
    return b"AUDIO" + bytes([len(size)]) + size + data


def test_entries_of_arks_are_decoded_in_place(tmp_path: Path, clips: list[Clip]) -> None:
    paths = [clip.path for clip in clips[:4]]
    files = [paths[0].read_bytes(), flac(paths[1]), paths[2].read_bytes(), flac(paths[3])]
    contents = [files[0], b"\0BFM features", entry(files[1]), entry(files[2]), files[3]]
    ark, lines = b"", ""
    for number, content in enumerate(contents):
        ark += f"utt{number} ".encode()
        lines += f"utt{number} dump/data.ark:{len(ark)}\n"
        ark += content
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "data.ark").write_bytes(ark)
    lines += "utt8 dump/data.ark:6\nutt9 dump/data.ark:99999999\n"
    folder = write(tmp_path / "dump" / "raw" / "dev", wav_scp=lines, utt2dur="utt0 2.0\n")
    found = list(read(SourceSpec(path=str(folder), corpus="c")))
    assert not failures([item.utterance for item in found], folder)
    sources = {item.utterance.source.member: item.utterance.source for item in found}
    offsets = [line.partition(":")[2] for line in lines.splitlines()]
    for content, offset in zip(files, [offsets[0], *offsets[2:5]], strict=True):
        assert sources[offset].uri == str(tmp_path / "dump" / "data.ark")
        assert np.array_equal(audio.decode(sources[offset].uri, offset)[0], audio.decode_bytes(content))
    for offset, message in ((offsets[1], "matrix"), ("6", "no WAV, FLAC or AUDIO"), ("99999999", "ends before byte")):
        with pytest.raises(AudioError, match=message):
            audio.decode(sources[offset].uri, offset)
    assert sorted(item.size_bytes for item in found)[-1] == 64_000


def test_what_kaldiio_writes_is_read(tmp_path: Path, clips: list[Clip]) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    paths = {f"utt{number}": clip.path for number, clip in enumerate(clips[:3])}
    for function in (None, "soundfile"):
        folder = tmp_path / str(function)
        folder.mkdir()
        with kaldiio.WriteHelper(f"ark,scp:{folder}/w.ark,{folder}/wav.scp", write_function=function) as writer:
            for id, path in paths.items():
                samples, rate = soundfile.read(str(path), dtype="int16")
                writer(id, (rate, samples))
        found = sorted(utterances(folder), key=lambda u: int(u.source.member or 0))
        for path, one in zip(paths.values(), found, strict=True):
            samples, _ = soundfile.read(str(path), dtype="int16")
            assert np.array_equal(audio.decode(one.source.uri, one.source.member)[0], samples)


# Writing


def test_what_is_written_is_read_again(tmp_path: Path, clips: list[Clip]) -> None:
    samples = [spoken(clip, number) for number, clip in enumerate(clips[:5])]
    write_set(LAYOUTS["kaldi"], samples, tmp_path)
    tables = ["spk2utt", "text", "utt2dur", "utt2gender", "utt2lang", "utt2spk", "wav.scp"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == tables
    for name in tables:
        lines = (tmp_path / name).read_bytes().splitlines()
        assert lines == sorted(lines) and lines
    assert (tmp_path / "spk2utt").read_text().splitlines() == [
        f"speaker-{number} " + " ".join(f"speaker-{number}-{one.key}" for one in samples[number::3])
        for number in range(3)
    ]
    found = {u.text: u for u in utterances(tmp_path)}
    for sounded in samples:
        (given,) = sounded.sample.audios
        back = found[given.text]
        assert (back.language, back.speaker.id, back.speaker.gender) == (
            given.language,
            given.speaker.id,
            given.speaker.gender,
        )
        assert np.array_equal(audio.decode(back.source.uri)[0], audio.decode(given.source.uri)[0])


def test_spans_that_are_pointed_to_are_segments(tmp_path: Path, clips: list[Clip]) -> None:
    whole = replace(spoken(clips[1], 1), sounds=(pointed(clips[1].path),))
    span = replace(spoken(clips[0]), sounds=(pointed(clips[0].path, 0.0, 0.5),))
    write_set(LAYOUTS["kaldi"], [whole, span], tmp_path)
    write = LAYOUTS["kaldi"].writer
    assert write is not None and write.once is not None
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write.once(str(tmp_path), 2)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "segments" in before
    found = {u.source.uri: u.source for u in utterances(tmp_path)}
    assert (found[str(clips[0].path)].start_s, found[str(clips[0].path)].end_s) == (0.0, 0.5)
    source = found[str(clips[1].path)]
    pcm, _ = audio.decode(source.uri, None, source.start_s, source.end_s)
    assert np.array_equal(pcm, audio.decode(str(clips[1].path))[0])
