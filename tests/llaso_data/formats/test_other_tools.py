"""Corpora that other tools write are read, and they read ours: Lhotse and kaldiio for Kaldi, webdataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llaso_data import audio, formats
from llaso_data.formats import LAYOUTS
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip
from tests.support.corpora import louder
from tests.support.written_layouts import pointed, spoken, write_set


def utterances(path: Path, **spec: Any) -> list[Utterance]:
    found = [one.utterance for one in formats.read(SourceSpec(path=str(path), **spec))]
    assert [one.failure for one in found] == [None] * len(found)
    return found


def decoded(one: Utterance) -> audio.Pcm:
    source = one.source
    return audio.decode(source.uri, source.member, source.start_s, source.end_s)[0]


def plain(clips: list[Clip], folder: Path) -> list[Clip]:
    """Two clips as Kaldi's tools take them: WAV of 16 bits."""
    return [replace(clip, path=louder(clip.path, folder / clip.path.name, 1.0)) for clip in clips[:2]]


def test_kaldi_folders_of_lhotse(tmp_path: Path, clips: list[Clip]) -> None:
    lhotse = pytest.importorskip("lhotse")
    from lhotse.kaldi import export_to_kaldi

    recordings = [lhotse.Recording.from_file(clip.path, recording_id=clip.path.stem) for clip in clips[:3]]
    said = [
        lhotse.SupervisionSegment(
            f"s-{number}", one.id, 0.1, one.duration - 0.2, text=clip.text, speaker="s", language=clip.language
        )
        for number, (one, clip) in enumerate(zip(recordings, clips, strict=False))
    ]
    export_to_kaldi(
        lhotse.RecordingSet.from_recordings(recordings), lhotse.SupervisionSet.from_segments(said), tmp_path / "data"
    )
    by_uri = {one.source.uri: one for one in utterances(tmp_path / "data")}
    for clip, segment in zip(clips[:3], said, strict=True):
        one = by_uri[str(clip.path)]
        assert (one.text, one.language, one.speaker.id.value) == (clip.text, clip.language, "s")
        span = decoded(one)  # Lhotse writes times to the millisecond
        assert abs(len(span) - segment.duration * 16000) <= 16
        assert np.array_equal(span, audio.decode(str(clip.path))[0][1600 : 1600 + len(span)])


@pytest.mark.parametrize("start_s", [None, 0.25])
def test_lhotse_reads_our_kaldi_folders(tmp_path: Path, clips: list[Clip], start_s: float | None) -> None:
    """Whole files and spans; an utterance whose language nobody says stands beside others."""
    pytest.importorskip("lhotse")
    from lhotse import CutSet
    from lhotse.kaldi import load_kaldi_data_dir

    chosen = plain(clips, tmp_path / "wavs")
    samples = [replace(spoken(clip, n), sounds=(pointed(clip.path),)) for n, clip in enumerate(chosen)]
    if start_s is not None:
        samples[0] = replace(samples[0], sounds=(pointed(chosen[0].path, start_s, 0.5),))
    mute = replace(samples[1].sample.audios[0], language=None)
    samples[1] = replace(samples[1], sample=replace(samples[1].sample, audios=(mute,), language=None))
    write_set(LAYOUTS["kaldi"], samples, tmp_path / "set")
    recordings, supervisions, _ = load_kaldi_data_dir(tmp_path / "set", 16000)
    cuts = CutSet.from_manifests(recordings, supervisions).trim_to_supervisions()
    assert supervisions is not None
    found = {segment.text: (segment.language, cut) for cut in cuts for segment in cut.supervisions}
    for number, (clip, sounded) in enumerate(zip(chosen, samples, strict=True)):
        language, cut = found[clip.text]
        assert language == (clip.language if number == 0 else "und")
        sound = sounded.sounds[0]
        first = round((sound.start_s or 0.0) * 16000)
        heard = np.round(cut.load_audio()[0] * 32768).astype(np.int16)
        assert abs(len(heard) - sound.duration_s * 16000) <= 16  # Lhotse takes durations to the millisecond
        assert np.array_equal(heard, audio.decode(str(clip.path))[0][first : first + len(heard)])


def test_kaldiio_reads_our_kaldi_folders(tmp_path: Path, clips: list[Clip]) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    chosen = plain(clips, tmp_path / "wavs")
    write_set(LAYOUTS["kaldi"], [spoken(clip, number) for number, clip in enumerate(chosen)], tmp_path)
    lines = [line.split(maxsplit=1) for line in (tmp_path / "wav.scp").read_text().splitlines()]
    (tmp_path / "wav.scp").write_text("".join(f"{key} {tmp_path}/{path}\n" for key, path in lines))  # as run there
    texts = dict(line.split(maxsplit=1) for line in (tmp_path / "text").read_text().splitlines())
    for key, (rate, samples) in kaldiio.load_scp(str(tmp_path / "wav.scp")).items():
        (clip,) = [clip for clip in chosen if clip.text == texts[key]]
        assert rate == 16000 and np.array_equal(samples, audio.decode(str(clip.path))[0])


def test_tars_of_webdataset_and_ours_by_webdataset(tmp_path: Path, clips: list[Clip]) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "theirs-%03d.tar"), maxcount=2, verbose=0) as sink:
        for number, clip in enumerate(clips[:3]):
            said = {"text": clip.text, "language": clip.language, "speaker": f"s{number}"}
            sink.write({"__key__": f"{number:03d}", "wav": clip.path.read_bytes(), "json": said})
    found = utterances(tmp_path / "theirs-{000..001}.tar")
    assert [(one.text, one.language) for one in found] == [(clip.text, clip.language) for clip in clips[:3]]
    assert all(
        np.array_equal(decoded(one), audio.decode(str(clip.path))[0]) for one, clip in zip(found, clips, strict=False)
    )

    write_set(LAYOUTS["webdataset"], [spoken(clip, number) for number, clip in enumerate(clips[:3])], tmp_path / "ours")
    tars = [str(path) for path in sorted((tmp_path / "ours").glob("*.tar"))]
    rows = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert sorted(row["json"]["text"] for row in rows) == sorted(clip.text for clip in clips[:3])
    sounds = {clip.text: clip.path.read_bytes() for clip in clips[:3]}
    for row in rows:
        raw = next(one for one in webdataset.WebDataset(tars, shardshuffle=False) if one["__key__"] == row["__key__"])
        assert raw["wav"] == sounds[row["json"]["text"]]
