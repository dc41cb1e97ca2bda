"""``llaso-model generate``: what is asked, what is written, and what is said of what could not be answered."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from llaso import LLaSOModel, LLaSOProcessor
from llaso_data import audio
from llaso_data.formats.beside_audio.subtitles import subtitles
from llaso_data.records import Word
from llaso_model.answer.subtitles import Cue, cues_of_words, written
from llaso_model.answer.transcripts import Piece, Transcript
from llaso_model.answer.words import WordAligner
from llaso_model.cli import main
from tests.conftest import Clip
from tests.support.training_fixtures import made_model, write_speech


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    return made_model(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    """Three recordings; one of them has 12 s, with pauses."""
    folder = tmp_path_factory.mktemp("recordings")
    english = [clip for clip in clips if clip.language == "en"][:2]
    sounds = [audio.decode(str(clip.path))[0][:48_000] for clip in english]
    pause = np.zeros(24_000, np.int16)
    soundfile.write(folder / "a.wav", sounds[0], 16_000)
    soundfile.write(folder / "b.flac", sounds[1], 16_000)
    soundfile.write(folder / "long.wav", np.concatenate([sounds[0], pause, sounds[1], pause, sounds[0]]), 16_000)
    return folder


def generated(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["generate", *map(str, words)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_files_and_folders_are_answered_as_generate_answers_them(model, recordings, tmp_path):
    out = generated(model, recordings / "a.wav", recordings, "--no-cut", "--json", "--max-new-tokens", 5).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    assert [Path(row["audio"]).name for row in rows] == ["a.wav", "a.wav", "b.flac", "long.wav"]
    loaded, processor = LLaSOModel.from_pretrained(model).eval(), LLaSOProcessor.from_pretrained(model)
    for row in rows:
        tokens = loaded.generate(**processor(audio=row["audio"]), max_new_tokens=5, do_sample=False)
        assert row["text"] == processor.decode(tokens[0], skip_special_tokens=True).strip()
        assert row["segments"][0]["finish_reason"] == "length"
    file = tmp_path / "said.txt"
    generated(model, recordings / "a.wav", "--text", "Who <audio> is it?", "--max-new-tokens", 5, "--out", file)
    inputs = processor(audio=str(recordings / "a.wav"), text="Who <audio> is it?")
    asked = processor.decode(loaded.generate(**inputs, max_new_tokens=5)[0], skip_special_tokens=True)
    assert file.read_text().strip() == asked.strip()
    assert "exists" in generated(model, recordings / "a.wav", "--out", file, code=2).stderr


def test_long_audio_is_cut_at_pauses(model, recordings, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(model, short)
    (short / "checksums.json").unlink()
    changed = json.loads((short / "processor_config.json").read_text())
    (short / "processor_config.json").write_text(json.dumps({**changed, "max_audio_length": 5.0}))
    found = generated(short, recordings / "long.wav", "--json", "--max-new-tokens", 3)
    segments = json.loads(found.stdout)["segments"]
    assert len(segments) >= 3 and all(one["end_s"] - one["start_s"] <= 5.0 for one in segments)
    first, second = (soundfile.info(recordings / name).duration for name in ("a.wav", "b.flac"))
    middles = (first + 0.75, first + 1.5 + second + 0.75)  # of the pauses
    assert all(not one["start_s"] < middle < one["end_s"] for one in segments for middle in middles)
    cues = generated(short, recordings / "long.wav", "--vtt", "--max-new-tokens", 3).stdout
    assert len(subtitles(cues, "vtt").cues) == sum(bool(one["text"]) for one in segments)


def test_what_cannot_be_answered_is_named_and_the_rest_is_answered(model, recordings, tmp_path):
    shutil.copytree(recordings, tmp_path / "mixed")
    (tmp_path / "mixed" / "bad.wav").write_bytes(b"RIFF and nothing else")
    result = generated(model, tmp_path / "mixed", "--max-new-tokens", 2, code=1)
    assert len(result.stdout.splitlines()) == 3 and "bad.wav" in result.stderr
    assert "1 of 4 were not answered" in result.stderr
    assert "names no Whisper" in generated(model, recordings / "a.wav", "--words", code=2).stderr
    assert "top_p" in generated(model, recordings / "a.wav", "--top-p", 0, code=2).stderr


def test_subtitles_of_several_audios_are_files_of_a_folder(model, recordings, tmp_path):
    generated(model, recordings, "--srt", "--max-new-tokens", 4, "--out", tmp_path / "subtitles")
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == ["a.srt", "b.srt", "long.srt"]


def test_samples_of_shards_are_asked_their_own_questions(model, clips, tmp_path):
    write_speech(tmp_path / "shards", clips[:3], longest_s=2.0)
    own = generated(model, tmp_path / "shards", "--json", "--max-new-tokens", 3)
    rows = [json.loads(line) for line in own.stdout.splitlines()]
    asked = generated(model, tmp_path / "shards", "--json", "--max-new-tokens", 3, "--text", "How old?")
    others = [json.loads(line) for line in asked.stdout.splitlines()]
    assert len(rows) == 3 and [row["audio"] for row in rows] == [row["audio"] for row in others]
    assert [row["text"] for row in rows] != [row["text"] for row in others]


@pytest.mark.slow
def test_words_get_the_times_at_which_they_are_said(tiny_en, clips):
    clip = next(clip for clip in clips if clip.language == "en")
    pcm, _ = audio.decode(str(clip.path))
    pcm = pcm[: 20 * 16_000]
    silence = np.zeros(16_000, np.int16)
    aligner = WordAligner(str(tiny_en), "--whisper")
    words = aligner.words(pcm, clip.text, "en")
    later = aligner.words(np.concatenate([silence, pcm]), clip.text, None)
    assert [word.text for word in words] == [word.text for word in later] and len(words) > 3
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in pairwise(words))
    shifts = [b.start_s - a.start_s for a, b in zip(words, later, strict=True)]
    assert abs(float(np.median(shifts)) - 1.0) < 0.1
    assert aligner.words(pcm, " ", "en") == ()


def test_pieces_and_lines_have_spaces_where_their_scripts_have_them():
    spoken = [("会议现在开始。", 0.0), ("请大家安静。", 9.0), ("OK, let us go.", 20.0)]
    pieces = tuple(Piece(at, at + 5, text, "stop") for text, at in spoken)
    assert Transcript("a", 30.0, pieces=pieces).text == "会议现在开始。请大家安静。 OK, let us go."
    text = written([Cue(0, 5, "请" * 60)], "srt")
    assert f"{'请' * 30}\n{'请' * 30}\n" in text


def test_cues_end_with_sentences_and_at_pauses_and_read_back_as_they_were_written():
    text = "“Come in,” she said. The door <was> open & nobody answered for a rather long while that went on and on."
    spoken = text.replace("“", "").replace(",”", "").replace(".", "").split()
    spoken = [word for word in spoken if word != "&"]
    words = [Word(word, 0.4 * n, 0.4 * n + 0.3) for n, word in enumerate(spoken)]
    cues = cues_of_words(text, words)
    assert " ".join(cue.text for cue in cues) == text
    assert cues[0].text == "“Come in,” she said." and len(cues) > 2
    for kind in ("srt", "vtt"):
        read = subtitles(written(cues, kind), kind).cues  # type: ignore[arg-type]
        if kind == "vtt":
            assert [" ".join(cue.text.split()) for cue in read] == [cue.text for cue in cues]
        for name in ("start_s", "end_s"):
            assert [getattr(cue, name) for cue in read] == pytest.approx([getattr(cue, name) for cue in cues], abs=1e-3)
    paused = cues_of_words("one two", [Word("one", 0, 0.5), Word("two", 2, 2.5)])
    assert paused == [Cue(0, 0.5, "one"), Cue(2, 2.5, "two")]
