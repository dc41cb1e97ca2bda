"""A row's channel is the one that is heard, and channels that cancel do not silence each other."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from numpy.typing import NDArray

from llaso_data import audio, formats
from llaso_data.audio import decode_worker, limited
from llaso_data.errors import AudioError
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from llaso_data.shards import reader
from tests.conftest import Clip
from tests.support.asr_fixtures import named, pcm
from tests.support.corpora import observed, recipe


def written(path: Path, *channels: NDArray[Any], rate_hz: int = 16_000) -> Path:
    length = min(map(len, channels))
    samples = np.stack([np.asarray(one[:length], np.int16) for one in channels], axis=1)
    soundfile.write(str(path), samples, rate_hz, subtype="PCM_16")
    return path


@pytest.fixture
def call(clips: list[Clip], tmp_path: Path) -> tuple[Path, list[Clip], list[NDArray[np.int16]]]:
    """A telephone call: one speaker on each channel, of the same length."""
    both = named(clips, "en/hello_world", "en/quick_brown_fox")
    length = max(len(pcm(clip.path)) for clip in both)
    sides = [np.pad(pcm(clip.path), (0, length - len(pcm(clip.path)))) for clip in both]
    return written(tmp_path / "call.wav", *sides), both, sides


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        names = list(rows[0])
        lines = [names, *([json.dumps(v) if isinstance(v, list) else str(v) for v in row.values()] for row in rows)]
        path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[Utterance]:
    return [item.utterance for item in formats.read(SourceSpec(path=str(path)))]


@pytest.mark.parametrize("kind", ["jsonl", "tsv", "parquet"])
@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("channel", [0, 1]),
        ("channel", ["A", "B"]),
        ("channel", ["left", "right"]),
        ("channel", [[0], [1]]),
        ("channels", [[0], [1]]),
    ],
)
def test_each_row_is_its_own_channel(
    call: tuple[Path, list[Clip], list[NDArray[np.int16]]], tmp_path: Path, kind: str, name: str, pair: list[Any]
) -> None:
    path, _, sides = call
    manifest = table(tmp_path / f"m.{kind}", [{"audio": path.name, name: value} for value in pair])
    found = read(manifest)
    assert [u.failure for u in found] == [None, None] and len({u.id for u in found}) == 2
    assert [u.source.channel for u in found] == [0, 1]
    for utterance, side in zip(found, sides, strict=True):
        assert np.array_equal(limited.decode_source(utterance.source), side)


def test_a_list_of_several_is_averaged_and_a_number_counts(
    call: tuple[Path, list[Clip], list[NDArray[np.int16]]], tmp_path: Path
) -> None:
    _, _, sides = call
    three = written(tmp_path / "three.wav", *sides, np.zeros_like(sides[0]))
    said = [{"channels": [0, 2]}, {"channels": 3}, {"num_channels": 3.0, "channel": 1}, {"channels": "stereo"}]
    rows = [{"audio": three.name, "start": 0.0, "end": 0.5 + 0.1 * n, **row} for n, row in enumerate(said)]
    averaged, counted, one, stereo = read(table(tmp_path / "m.jsonl", rows))
    assert (averaged.source.averaged, averaged.source.channel) == ((0, 2), None)
    half = np.rint(sides[0][:8000].astype(np.float32) / 2)
    assert np.abs(limited.decode_source(averaged.source) - half).max() <= 1
    assert (counted.source.chosen, counted.source.channels) == (None, 3)
    assert (one.source.channel, one.source.channels, stereo.source.channels) == (1, 3, 2)


def test_what_is_no_channel_is_a_bad_row(tmp_path: Path) -> None:
    wrong = [{"channel": -1}, {"channel": 0.5}, {"channel": "front"}, {"channel": True}, {"channels": 0}]
    wrong += [{"channel": 0, "channels": [1]}, {"channels": [0, None]}]
    found = read(table(tmp_path / "m.jsonl", [{"audio": "a.wav", **row} for row in wrong]))
    assert [u.failure and u.failure.reason for u in found] == ["bad_row"] * len(wrong)


def test_a_sample_of_a_tar_says_its_channel(
    call: tuple[Path, list[Clip], list[NDArray[np.int16]]], tmp_path: Path
) -> None:
    path, _, sides = call
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("c.wav", path.read_bytes()), ("c.json", b'{"channels": [1], "text": "x"}')):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (found,) = read(tmp_path / "a.tar")
    assert found.source.channel == 1 and np.array_equal(limited.decode_source(found.source), sides[1])


def test_both_sides_of_a_call_are_judged_on_their_own(
    call: tuple[Path, list[Clip], list[NDArray[np.int16]]], tiny_en: Path, tmp_path: Path
) -> None:
    path, both, sides = call
    rows = [{"audio": path.name, "text": clip.text, "channel": side} for clip, side in zip(both, "AB", strict=True)]
    rows += [{"audio": path.name, "channel": 2}, {"audio": path.name, "start": 0.1, "channels": 4}]
    out = tmp_path / "out"
    summary = build_align(recipe(tiny_en, out, table(tmp_path / "m.jsonl", rows), judge__max_failures=1.0))
    assert summary.counts["accepted"] == 2 and summary.rules == {"failed.bad_channel": 2}
    found = {u.source.channel: u for u in observed(out)}
    assert [found[side].audio_id for side in (0, 1)] == [audio.audio_id(side) for side in sides]
    details = [u.failure.detail for u in observed(out) if u.failure]
    assert any("no channel 2 in it: it has 2 channels, 0 to 1" in detail for detail in details)
    assert any("states 4 channels, the file has 2" in detail for detail in details)
    made = recipe(tiny_en, out)
    shard_dataset(str(out), str(tmp_path / "shards"), made.shard, made.run)
    shards = reader.open_index(str(tmp_path / "shards"))
    assert shards.table.num_rows == 2


def against(kind: str, speech: NDArray[np.int16], noise: NDArray[np.int16]) -> list[NDArray[np.int16]]:
    other = np.roll(speech, len(speech) // 2)
    return {
        "antiphase": [speech, -speech],
        "three ways": [speech, other, -(speech // 2 + other // 2) * 2],
        "four": [speech, -speech, other, -other],
        "two of three": [speech, -speech, noise // 8],
        "in noise": [speech // 2 + noise // 16, -(speech // 2) + noise // 16],
        "the second louder": [speech // 2, -speech],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "taken", "rate_hz"),
    [
        *((kind, 0, 16_000) for kind in ("antiphase", "in noise")),
        *(pytest.param(kind, 0, 16_000, marks=pytest.mark.slow) for kind in ("four", "two of three")),
        ("three ways", None, 44_100),
        pytest.param("three ways", None, 16_000, marks=pytest.mark.slow),
        *(
            pytest.param(kind, 0, 44_100, marks=pytest.mark.slow)
            for kind in ("antiphase", "four", "two of three", "in noise")
        ),
    ],
)
def test_channels_that_cancel_are_heard_by_one(
    clips: list[Clip], tmp_path: Path, kind: str, taken: int | None, rate_hz: int
) -> None:
    (clip,) = named(clips, "en/quick_brown_fox")
    noise = (np.random.default_rng(0).standard_normal(len(pcm(clip.path))) * 2000).astype(np.int16)
    channels = against(kind, pcm(clip.path) // 2, noise)
    path = written(tmp_path / "a.wav", *channels, rate_hz=rate_hz)
    for decode in (audio.decode, limited.decode):
        found, probe = decode(str(path))
        number = probe.taken[0]
        assert number is not None and (taken is None or number == taken)
        alone, _ = audio.decode(str(written(tmp_path / "one.wav", channels[number], rate_hz=rate_hz)))
        assert np.array_equal(found, alone)
    again, _ = decode_worker.decode_spans(str(path), None, [(None, None)], stall_s=20, memory_mb=512, as_mixed=True)
    assert not isinstance(again[0], AudioError) and audio.level(again[0])[0] < audio.level(found)[0] - 3


def test_channels_that_do_not_cancel_are_averaged(clips: list[Clip], tmp_path: Path) -> None:
    one, two = (pcm(clip.path) for clip in named(clips, "en/quick_brown_fox", "en/hello_world"))
    silence = np.zeros_like(one)
    for channels in ([one, one], [one, two], [one, silence], [one, silence, silence, silence], [one, np.roll(one, 3)]):
        _, probe = audio.decode(str(written(tmp_path / "a.wav", *channels)))
        assert probe.taken == ()


def test_only_the_span_that_cancels_is_heard_by_one(clips: list[Clip], tmp_path: Path) -> None:
    speech = pcm(named(clips, "en/quick_brown_fox")[0].path)
    path = written(tmp_path / "a.wav", np.r_[speech, speech], np.r_[speech, -speech])
    half_s = len(speech) / 16_000
    (first, second), probe = audio.decode_spans(str(path), None, [(0.0, half_s), (half_s, 2 * half_s)])
    assert probe.taken == (None, 0)
    assert np.array_equal(first, speech) and np.array_equal(second, speech)


def test_the_record_says_which_channel_was_taken(clips: list[Clip], tiny_en: Path, tmp_path: Path) -> None:
    (clip,) = named(clips, "en/quick_brown_fox")
    (tmp_path / "c").mkdir()
    speech = pcm(clip.path)
    written(tmp_path / "c" / "a.wav", speech // 2, -speech)
    summary = build_align(recipe(tiny_en, tmp_path / "out", tmp_path / "c"))
    (found,) = observed(tmp_path / "out")
    assert (found.source.taken, found.source.channels, found.audio_id) == (1, 2, audio.audio_id(-speech))
    assert summary.notes["heard by one channel, because the channels cancel"] == 1
    assert summary.counts["accepted"] == 1
    made = recipe(tiny_en, tmp_path / "out")
    shard_dataset(str(tmp_path / "out"), str(tmp_path / "shards"), made.shard, made.run)
    assert reader.open_index(str(tmp_path / "shards")).table.num_rows == 1
