"""What people hear of a row is what the system heard: the same samples, noise, rooms and spans included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_model.evaluate import conditions as noise
from llaso_model.evaluate.datasets import layouts, tasks
from llaso_model.evaluate.datasets.eval_samples import EvalSample
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.datasets.open_samples import open_samples
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.predict import predict
from llaso_model.evaluate.predict import recordings as sounds
from llaso_model.evaluate.rate.server import MAX_CLIP_S
from llaso_model.evaluate.rows import score_rows
from tests.conftest import Clip
from tests.support.evaluation import TASKS
from tests.support.training_fixtures import write_speech


def asked(data: Path, conditions: list[noise.Condition]) -> Iterator[tuple[Prediction, audio.Pcm]]:
    """Every question in each condition: the row that reads its line, and what the model would hear."""
    questions = open_samples(str(data), tasks.load(), ["asr"], "en")
    lines: list[dict[str, Any]] = []
    heard = []
    for one in questions.read(range(len(questions))):
        assert isinstance(one, EvalSample)
        for condition in (None, *conditions):
            changed = predict.apply_condition(condition, one)
            lines.append({**predict._prediction_line(changed), "system": "s", "answer": "x"})
            parts = [part for message in changed.messages for part in message["content"] if part["type"] == "audio"]
            heard.append(audio.to_int16(parts[0]["audio"]))
    path = data.with_suffix(".answers.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    yield from zip(layouts.read_predictions([str(path)], TASKS).predictions, heard, strict=True)


@pytest.fixture(scope="module")
def recordings(clips: list[Clip]) -> list[noise.Samples]:
    return [audio.to_float32(audio.decode(str(clip.path))[0])[:8000] for clip in clips[5:7]]


def test_shards_sound_as_they_were_heard_in_every_condition(
    clips: list[Clip], recordings: list[noise.Samples], tmp_path: Path
) -> None:
    noises = sounds.Recordings.of(recordings)
    write_speech(tmp_path / "shards", clips[:4], longest_s=4.0)
    conditions = [
        *noise.noise_sweep("-5:5:10", "speech", seed=3),
        *noise.noise_sweep("12", "pink", seed=3),
        *noise.noise_sweep("0.5", recordings, seed=4),
        *noise.variants(seed=5),
    ]
    tags = []
    for row, heard in asked(tmp_path / "shards", conditions):
        found = sounds.conditioned_clip(str(tmp_path / "shards"), row, MAX_CLIP_S, noises)
        assert found is not None and not found.cut and sounds.missing_condition(row, noises) is None
        assert np.array_equal(found.pcm, heard)
        tags.append(sounds.condition_tag(row))
        short = sounds.conditioned_clip(str(tmp_path / "shards"), row, 0.5, noises)
        assert short is not None and short.cut and np.array_equal(short.pcm, heard[:8000])
    assert len(tags) >= 10 and set(tags) == {None, *(one.tag for one in conditions)}


def test_a_span_of_a_file_is_heard_and_not_the_file(clips: list[Clip], tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "long.flac").write_bytes(audio.encode(audio.decode(str(clips[0].path))[0], "flac"))
    spans = [{"offset": 0.25, "duration": 0.75}, {"offset": 1.0, "duration": 0.5}]
    rows = [{"audio_filepath": "long.flac", "text": f"words {n}", **span} for n, span in enumerate(spans)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(asked(folder / "manifest.jsonl", noise.noise_sweep("5", "white")))
    assert {row.span_s for row, _ in found} == {(0.25, 1.0), (1.0, 1.5)} and len(found) == 4
    for row, heard in found:
        sound = sounds.conditioned_clip(str(folder), row, MAX_CLIP_S)
        assert sound is not None and np.array_equal(sound.pcm, heard)
    assert sounds.audio_label(found[1][0]) == "long.flac, 0.25–1 s, snr:5"


def scored(**more: Any) -> Row:
    one = Prediction("s", "ASR", "a@snr:5", "", "x", "x", "here", audio=("a.wav",), tags=("snr:5",), **more)
    return score_rows("ASR", [one], TASKS)[0]


def test_what_cannot_be_made_again_is_said(recordings: list[noise.Samples], tmp_path: Path) -> None:
    name = noise.noise_name(recordings)
    for more, given, why in (
        ({}, [], "does not say how"),
        ({"seed": 0, "noise": name}, [], "name the recordings with --noise"),
        ({"seed": 0, "noise": name}, recordings[:1], "name the recordings with --noise"),
        ({"seed": 0, "noise": name}, recordings, None),
        ({"seed": 0, "noise": "speech"}, [], None),
    ):
        said = sounds.missing_condition(scored(**more).prediction, sounds.Recordings.of(given) if given else None)
        assert (said is None) == (why is None) and (why or "") in (said or "")
    for number, one in enumerate(recordings):
        (tmp_path / f"{number}.wav").write_bytes(audio.encode(audio.to_int16(one), "wav"))
    found = sounds.load_recordings(str(tmp_path), [scored(noise=name)])
    assert found.name == noise.noise_name(found.samples) == name
    for path in (str(tmp_path), "white"):
        with pytest.raises(LLaSOError, match="none of these answers was made with these recordings"):
            sounds.load_recordings(path, [scored(noise="speech")])


def test_tags_that_are_no_condition_make_none() -> None:
    for tag in (
        "speed:nan",
        "speed:0",
        "speed:1e9",
        "reverberation:1e9",
        "band:5",
        "band:0-9000",
        "snr:loud",
        "x:1",
        "",
    ):
        assert noise.condition_of_tag(tag, 0, "white") is None
