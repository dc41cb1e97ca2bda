"""Lhotse's manifests and Shar: what Lhotse writes is read, and what is written Lhotse reads."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from llaso_data import audio, records
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS, read, recognise
from llaso_data.formats.writing.writer import SoundedSample
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance, Word
from tests.conftest import Clip
from tests.support.tars import packed
from tests.support.written_layouts import pointed, spoken, write_set


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def utterances(path: Path | str, notes: Counter[str] | None = None, **spec: Any) -> list[Utterance]:
    return [item.utterance for item in read(SourceSpec(path=str(path), corpus="c", **spec), notes)]


def layout_of(path: Path | str) -> str:
    return recognise(SourceSpec(path=str(path))).layout.name


def failures(found: list[Utterance], root: Path) -> list[str]:
    """The reason and the place of each failure."""
    places = [
        (u.failure.reason, u.failure.detail.removeprefix(f"{root}/").partition(": ")[0]) for u in found if u.failure
    ]
    return [f"{reason} {place}" for reason, place in places]


def recording(path: str, duration: float = 4.0, kind: str = "file", **more: Any) -> dict[str, Any]:
    return {
        "id": "rec",
        "sources": [{"type": kind, "channels": [0], "source": path}],
        "sampling_rate": 16_000,
        "num_samples": round(duration * 16_000),
        "duration": duration,
        "channel_ids": [0],
        **more,
    }


def cut(recording: Any, start: float = 0.0, duration: float = 4.0, *supervisions: dict[str, Any], **more: Any) -> Any:
    row = {"id": "x", "start": start, "duration": duration, "channel": 0, "type": "MonoCut", **more}
    return {**row, "supervisions": list(supervisions), "recording": recording}


def said(text: str, start: float = 0.0, duration: float = 4.0, **more: Any) -> dict[str, Any]:
    return {"id": "s", "recording_id": "rec", "start": start, "duration": duration, "channel": 0, "text": text, **more}


# Cuts


@pytest.mark.parametrize("name", ["cuts.jsonl", "train.jsonl.gz"])
def test_cuts(tmp_path: Path, name: str) -> None:
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs" / "a.wav", np.zeros(64_000), 16_000)
    words = {"word": [["one", 2.0, 0.25, -0.5], ["two", 2.25, 0.5]]}
    whole = said("Whole.", language="English", speaker="7", gender="F", custom={"accent": "Scottish", "snr": 3})
    path = lines(
        tmp_path / "data" / name,
        cut(recording("wavs/a.wav"), 0.0, 4.0, whole),
        cut(recording("wavs/a.wav"), 1.0, 2.0, said("One two.", 0.5, 1.5, alignment=words), said("Late.", 1.5, 9.0)),
        cut(recording("wavs/a.wav"), 3.0, 0.5),
    )
    assert layout_of(path) == "lhotse"
    found = utterances(path)
    assert not failures(found, path.parent)
    assert {u.source.uri for u in found} == {str(tmp_path / "wavs" / "a.wav")}
    assert [(u.text, u.source.start_s, u.source.end_s) for u in found] == [
        ("Whole.", None, None),
        ("One two.", 1.5, 3.0),
        ("Late.", 2.5, 3.0),
        (None, 3.0, 3.5),
    ]
    first, second, *_ = found
    assert (first.language, first.speaker.id.value, first.speaker.gender.value) == ("en", "7", "female")
    assert first.speaker.accent.value == "scotland"
    assert second.words == (Word("one", 0.5, 0.75, -0.5), Word("two", 0.75, 1.25))
    assert second.id == records.utterance_id("c", "wavs/a.wav", None, 1.5, 3.0)


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    two = {"type": "file", "channels": [0, 1], "source": "b.wav"}
    path = lines(
        tmp_path / "cuts.jsonl",
        cut(recording("a.wav"), 0.0, 4.0, said("Fine.")),
        cut(recording(f"touch {tmp_path}/ran", kind="command"), 0.0, 4.0, said("x")),
        cut(recording("", kind="memory"), 0.0, 4.0, said("x")),
        cut(recording("a.wav"), type="MixedCut"),
        cut(recording("a.wav"), type="MultiCut"),
        cut(None, type="PaddingCut"),
        cut(None, 0.0, 4.0, said("x"), features={"type": "fbank"}),
        cut(recording("a.wav", transforms=[{"name": "Speed", "kwargs": {"factor": 0.9}}])),
        cut(recording("a.wav"), 0.0, 4.0, said("x", 5.0, 1.0)),
        cut(recording("a.wav"), "soon", 4.0),
        cut(recording("bucket://a.wav"), 0.0, 4.0),
        cut(recording("a.wav"), 0.0, 4.0, said("x", alignment={"word": [["x", "y", 1]]})),
        cut(recording("b.wav", sources=[two]), 0.0, 4.0, said("Left."), channel=1),
        cut(recording("b.wav", sources=[two]), 0.0, 4.0, said("Left."), channel=2),
    )
    with open(path, "ab") as file:
        file.write(b"{broken\n")
    found = utterances(path)
    assert [(u.text, u.source.channel) for u in found if not u.failure] == [("Fine.", None), ("Left.", 1)]
    lines_of = sorted(int(place.partition("cuts.jsonl:")[2]) for place in failures(found, tmp_path))
    assert lines_of == [*range(2, 13), 14, 15]
    text = " ".join(u.failure.detail for u in found if u.failure)
    for expected in ("type command, and no command", "type memory", "MixedCut", "MultiCut", "PaddingCut", "Speed"):
        assert expected in text
    assert "features alone" in text
    assert not (tmp_path / "ran").exists()


def test_recordings_and_supervisions_are_joined(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(64_000), 16_000)
    lines(
        tmp_path / "set_recordings_dev.jsonl.gz",
        *(recording(f"{name}.wav", id=f"rec-{name}") for name in "abca"),
    )
    supervisions = lines(
        tmp_path / "set_supervisions_dev.jsonl.gz",
        said("B.", recording_id="rec-b"),
        said("A.", 1.0, 2.0, recording_id="rec-a", alignment={"word": [["A.", 1.5, 0.5]]}),
        said("Nobody.", recording_id="rec-z"),
    )
    notes: Counter[str] = Counter()
    for source in (tmp_path, supervisions, tmp_path / "set_recordings_dev.jsonl.gz"):
        assert layout_of(source) == "lhotse"
    found = utterances(tmp_path, notes)
    assert [(u.text, u.source.start_s) for u in found if not u.failure] == [("A.", 1.0), ("B.", None)]
    assert found[0].words == (Word("A.", 0.5, 1.0),)
    assert failures(found, tmp_path) == [
        "bad_row set_recordings_dev.jsonl.gz:4",
        "bad_row set_supervisions_dev.jsonl.gz:3",
    ]
    assert notes["recordings of set_recordings_dev.jsonl.gz without a supervision"] == 1


# Shar


def shar(folder: Path, clips: list[Clip]) -> Path:
    """Two items and a placeholder, as Lhotse writes them."""
    one, two = (clip.path.read_bytes() for clip in clips[:2])
    seconds = [soundfile.info(str(clip.path)).duration for clip in clips[:2]]
    rows = [
        {**cut(recording("", kind="shar"), 1.5, seconds[0], said("One.", 0.0, seconds[0])), "id": "a/1.0"},
        {**cut(recording("", kind="shar"), 0.0, seconds[1], said("Two.", 0.25, 0.5)), "id": "b"},
        {**cut(recording("", kind="shar")), "id": "gone"},
        {**cut(recording("", kind="shar")), "id": "nowhere"},
    ]
    lines(folder / "cuts.000000.jsonl.gz", *rows)
    members = [("a/1.0.wav", one), ("a/1.0.json", b"{}"), ("b.wav", two), ("b.json", b"{}")]
    (folder / "recording.000000.tar").write_bytes(packed([*members, ("gone.nodata", b""), ("gone.nometa", b"")]))
    lines(folder / "cuts.000001.jsonl.gz", {**cut(recording("", kind="shar")), "id": "z"})
    (folder / "features.000000.tar").write_bytes(packed([]))
    return folder


def test_shar(tmp_path: Path, clips: list[Clip]) -> None:
    folder = shar(tmp_path / "set", clips)
    assert layout_of(folder) == "shar"
    notes: Counter[str] = Counter()
    found = utterances(folder, notes)
    fine = [(u.text, u.source.member, u.source.start_s, u.source.end_s) for u in found if not u.failure]
    assert fine == [("One.", "a/1.0.wav", None, None), ("Two.", "b.wav", 0.25, 0.75)]
    assert failures(found, folder) == [
        "missing cuts.000000.jsonl.gz:3",
        "missing cuts.000000.jsonl.gz:4",
        "missing cuts.000001.jsonl.gz",
    ]
    assert notes["not read: another field of a Shar: features.000000.tar"] == 1
    uri = str(folder / "recording.000000.tar")
    assert np.array_equal(audio.decode(uri, "a/1.0.wav")[0], audio.decode(str(clips[0].path))[0])
    assert records.utterance_id("c", "recording.000000.tar", "a/1.0.wav") in {u.id for u in found}


# Written


def with_words(sounded: SoundedSample) -> SoundedSample:
    (one,) = sounded.sample.audios
    words = (Word("first", 0.0, 0.125, -0.25), Word("second", 0.25, 0.5))
    return replace(sounded, sample=replace(sounded.sample, audios=(replace(one, words=words),)))


@pytest.mark.parametrize("layout", ["lhotse", "shar"])
def test_what_is_written_is_read_again(tmp_path: Path, clips: list[Clip], layout: str) -> None:
    samples = [with_words(spoken(clip, number)) for number, clip in enumerate(clips[:5])]
    write_set(LAYOUTS[layout], samples, tmp_path / "once")
    write_set(LAYOUTS[layout], samples, tmp_path / "again")
    for path in (tmp_path / "once").rglob("*.*"):
        assert (
            path.is_dir()
            or path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "once")).read_bytes()
        )
    source = tmp_path / "once" / "cuts.jsonl.gz" if layout == "lhotse" else tmp_path / "once"
    assert layout_of(source) == layout
    found = {u.text: u for u in utterances(source)}
    for sounded in samples:
        (given,) = sounded.sample.audios
        back = found[given.text]
        for name in ("language", "speaker", "environment", "words"):
            assert getattr(back, name) == getattr(given, name), name
        pcm, _ = audio.decode(back.source.uri, back.source.member, back.source.start_s, back.source.end_s)
        assert np.array_equal(pcm, audio.decode(given.source.uri)[0])


# Beside Lhotse


def test_lhotse_reads_what_is_written(tmp_path: Path, clips: list[Clip]) -> None:
    lhotse = pytest.importorskip("lhotse")
    samples = [with_words(spoken(clip, number)) for number, clip in enumerate(clips[:4])]
    span = replace(samples[0], key="span", sounds=(pointed(clips[0].path, 0.25, 0.5),))
    write_set(LAYOUTS["lhotse"], samples, tmp_path / "cuts")
    write_set(LAYOUTS["lhotse"], [span], tmp_path / "span", parts=1)
    write_set(LAYOUTS["shar"], samples, tmp_path / "shar")
    sets = {
        "cuts": lhotse.CutSet.from_file(tmp_path / "cuts" / "cuts.jsonl.gz").with_recording_path_prefix(
            tmp_path / "cuts"
        ),
        "shar": lhotse.CutSet.from_shar(in_dir=str(tmp_path / "shar" / "shar")),
    }
    for cuts in sets.values():
        by_id = {one.id: one for one in cuts}
        assert len(by_id) == 4
        for sounded in samples:
            (given,) = sounded.sample.audios
            one = by_id[sounded.key]
            lhotse.validate(one)
            (supervision,) = one.supervisions
            assert (supervision.text, supervision.language) == (given.text, given.language)
            assert (supervision.speaker, supervision.gender) == (given.speaker.id.value, given.speaker.gender.value)
            assert [item.symbol for item in supervision.alignment["word"]] == ["first", "second"]
            expected, _ = soundfile.read(given.source.uri, dtype="float32")
            assert np.array_equal(one.load_audio()[0], expected)
    (one,) = lhotse.CutSet.from_file(tmp_path / "span" / "cuts.jsonl.gz")
    (back,) = utterances(tmp_path / "span" / "cuts.jsonl.gz")
    assert back.words == span.sample.audios[0].words
    assert (back.source.start_s, back.source.end_s) == (0.25, 0.75)
    expected, _ = soundfile.read(str(clips[0].path), dtype="float32")
    rate = one.sampling_rate
    assert np.array_equal(one.load_audio()[0], expected[round(0.25 * rate) : round(0.75 * rate)])


def test_what_lhotse_writes_is_read(tmp_path: Path, clips: list[Clip]) -> None:
    lhotse = pytest.importorskip("lhotse")
    from lhotse.supervision import AlignmentItem

    stereo = tmp_path / "stereo.wav"
    left, rate = soundfile.read(str(clips[0].path), dtype="int16")
    soundfile.write(stereo, np.stack([left, left // 2], axis=1), rate)
    of_file = lhotse.Recording.from_file(clips[1].path, recording_id="mono")
    of_two = lhotse.Recording.from_file(stereo, recording_id="stereo")
    words = {"word": [AlignmentItem("a", 0.5, 0.25, 0.9)]}
    supervisions = [
        lhotse.SupervisionSegment("s1", "mono", 0.25, 0.5, text="A.", speaker="x", language="en", alignment=words),
        lhotse.SupervisionSegment("s2", "stereo", 0.0, of_two.duration, channel=1, text="B."),
    ]
    recordings = lhotse.RecordingSet.from_recordings([of_file, of_two])
    segments = lhotse.SupervisionSet.from_segments(supervisions)
    pair = tmp_path / "pair"
    pair.mkdir()
    recordings.to_file(pair / "recordings.jsonl.gz")
    segments.to_file(pair / "supervisions.jsonl.gz")
    mono, stereo_cut = of_file.to_cut(), lhotse.MonoCut("right", 0.0, of_two.duration, 1, recording=of_two)
    mono.supervisions, stereo_cut.supervisions = [supervisions[0]], [supervisions[1]]
    cuts = lhotse.CutSet.from_cuts([mono, stereo_cut]).trim_to_supervisions().to_eager()
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    (tmp_path / "shar").mkdir()
    cuts.to_shar(str(tmp_path / "shar"), fields={"recording": "flac"}, shard_size=1)
    for source, layout in ((pair, "lhotse"), (tmp_path / "cuts.jsonl.gz", "lhotse"), (tmp_path / "shar", "shar")):
        assert layout_of(source) == layout
        found = {u.text: u for u in utterances(source)}
        assert set(found) == {"A.", "B."}, [u.failure for u in utterances(source)]
        for one in cuts:
            (supervision,) = one.supervisions
            back = found[supervision.text]
            channels = None if back.source.channel is None else (back.source.channel,)
            pcm, _ = audio.decode(
                back.source.uri, back.source.member, back.source.start_s, back.source.end_s, None, channels
            )
            assert np.array_equal(pcm, np.round(one.load_audio()[0] * 32768).astype(np.int16))
        assert found["A."].speaker.id.value == "x"
        # A Shar forgets where its cuts began, and the words count from there.
        assert found["A."].words == ((Word("a", 0.25, 0.5, 0.9),) if layout == "lhotse" else ())


# Lhotse's recipes


def test_a_folder_is_read_by_a_recipe_of_lhotse(tmp_path: Path, clips: list[Clip]) -> None:
    pytest.importorskip("lhotse")
    folder = tmp_path / "LJSpeech-1.1"
    (folder / "wavs").mkdir(parents=True)
    english = [clip for clip in clips if clip.language == "en"][:2]
    for clip in english:
        (folder / "wavs" / clip.path.name).write_bytes(clip.path.read_bytes())
    table = "".join(f"{clip.path.stem}|{clip.text}|{clip.text}\n" for clip in english)
    (folder / "metadata.csv").write_text(table)
    found = utterances(folder, type="lhotse:ljspeech")
    assert sorted((u.text, u.source.uri) for u in found if not u.failure) == sorted(
        (clip.text, str(folder / "wavs" / clip.path.name)) for clip in english
    )
    assert {u.language for u in found} == {"en"}
    assert {u.id for u in found} == {records.utterance_id("c", f"wavs/{clip.path.name}") for clip in english}


def test_a_recipe_that_there_is_not_is_refused_with_the_choices(tmp_path: Path) -> None:
    pytest.importorskip("lhotse")
    with pytest.raises(LLaSOError, match=r"lhotse:nobody: 'nobody' is no recipe of Lhotse's; those .*librispeech"):
        utterances(tmp_path, type="lhotse:nobody")
    with pytest.raises(LLaSOError, match="needs more than one folder"):
        utterances(tmp_path, type="lhotse:heroico")
    command = ["convert", str(tmp_path), "--from", "lhotse:nobody", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and "'nobody' is no recipe of Lhotse's" in done.output
    with pytest.raises(LLaSOError, match="there is no layout 'folder:x'"):
        utterances(tmp_path, type="folder:x")
    with pytest.raises(LLaSOError, match="Lhotse's recipe ljspeech cannot read it"):
        utterances(tmp_path, type="lhotse:ljspeech")
