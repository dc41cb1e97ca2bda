"""``llaso-model evaluate``: the same answers however they are batched, killed or dealt, and nothing left out unsaid."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result

from llaso import LLaSOModel, LLaSOProcessor
from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, storage
from llaso_data.shards import reader
from llaso_data.stream.budget import Budget
from llaso_data.stream.fetch import BadSample
from llaso_model.cli import main
from llaso_model.conversations import question_of
from llaso_model.evaluate import conditions as noise
from llaso_model.evaluate.datasets import tasks
from llaso_model.evaluate.datasets.eval_samples import EvalSample, resolve_sets
from llaso_model.evaluate.datasets.open_samples import open_samples
from llaso_model.evaluate.predict import predict
from llaso_model.evaluate.report.scores_page import _curves
from llaso_model.generation import answers
from tests.conftest import Clip
from tests.support import processes
from tests.support.bad_samples import write_tar
from tests.support.object_stores import BUCKET
from tests.support.training_fixtures import made_model, write_speech

TASKS = tasks.load()
ASKED = ("--task", "asr", "--budget", "12s", "--max-new-tokens", "6")
COUNT = 14  # of the shards' 27 clips; the others are of a task that is not declared


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices: threads that wait for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def speech(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_speech(folder, clips, longest_s=4.0)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    return made_model(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def undisturbed(model: Path, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    evaluated(model, "--data", speech, "--out", out, *ASKED)
    return out


def evaluated(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["evaluate", *map(str, words)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def parts(out: Path) -> dict[str, int]:
    """Every part by name, with the time at which it was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "predictions").glob("part-*.jsonl")}


def test_every_sample_is_answered_once_and_as_if_it_were_asked_alone(model, speech, undisturbed):
    found = {line["id"]: line for line in lines(undisturbed)}
    assert len(lines(undisturbed)) == len(found) == COUNT
    loaded, processor = LLaSOModel.from_pretrained(model).eval(), LLaSOProcessor.from_pretrained(model)
    questions = open_samples(str(speech), TASKS, ["asr"])
    for one in questions.read(range(COUNT)):
        assert isinstance(one, EvalSample)
        (said,) = answers(loaded, processor, [one.messages], max_new_tokens=6)
        assert found[one.id]["answer"] == said
    contents = {key: json.loads(sample["json"]) for key, sample in reader.iterate(str(speech))}
    for key, line in found.items():
        (asked, said) = contents[key]["messages"]
        assert line["prompt"] == asked["content"][0]["text"]
        assert line["reference"] == said["content"][0]["text"]
        assert line["set"] == "ASR" and line["system"].startswith("small")
    scores = json.loads((undisturbed / "scores.json").read_text())
    assert scores["rows"] == COUNT and scores["skipped"] == []


def test_a_question_is_what_stands_before_the_last_answer():
    turns = [("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", "2"), ("user", "Thanks")]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    assert question_of(messages) == (messages[:3], "2")
    assert question_of(messages[:2]) == (messages[:1], "1")
    assert question_of(messages[1:2]) is None and question_of(messages[:1]) is None


def test_a_question_that_the_chat_template_refuses_is_skipped_with_its_reason(model, tmp_path):
    refusing = shutil.copytree(model, tmp_path / "model")
    template = next(refusing.glob("chat_template.jinja"))
    clause = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    template.write_text(clause + template.read_text())
    (refusing / "checksums.json").unlink()

    def parts(number: int) -> dict[str, bytes]:
        said = [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "yes"}]
        said = [{"role": "system", "content": "Be kind."}, *said] if number == 1 else said
        return {"json": json.dumps({"task": "asr", "messages": said}).encode()}

    folder = write_tar(tmp_path / "set", parts, 3)
    evaluated(refusing, "--data", folder, "--out", tmp_path / "out", *ASKED, code=1)
    assert sorted(line["id"] for line in lines(tmp_path / "out")) == ["k000", "k002"]
    (skipped,) = json.loads((tmp_path / "out" / "scores.json").read_text())["skipped"]
    assert skipped.startswith("k001: ") and "refuses it: no system here" in skipped


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(model, speech, tmp_path):
    asked = ("--data", speech, "--task", "asr", "--batch-size", 1, "--max-new-tokens", 48)
    evaluated(model, *asked, "--out", tmp_path / "whole")
    out = tmp_path / "killed"
    run = processes.llaso_model("evaluate", model, *asked, "--out", out, log=tmp_path / "log")
    deadline = time.monotonic() + 120
    while len(parts(out)) < 3:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    run.kill()
    there = parts(out)
    assert 3 <= len(there) < COUNT and not (out / "predictions.jsonl").exists()
    evaluated(model, *asked, "--out", out)
    assert (out / "predictions.jsonl").read_bytes() == (tmp_path / "whole" / "predictions.jsonl").read_bytes()
    assert there.items() <= parts(out).items()  # what was there was not made again


def test_two_ranks_end_with_the_bytes_of_one(model, speech, undisturbed, tmp_path):
    words = ("evaluate", model, "--data", speech, "--out", tmp_path / "out", *ASKED)
    processes.llaso_model(*words, log=tmp_path / "log", ranks=2).succeed()
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()
    assert (tmp_path / "out" / "scores.json").exists()


@pytest.mark.slow
def test_ray_workers_end_with_the_bytes_of_one(model, speech, undisturbed, tmp_path):
    words = ("evaluate", model, "--data", speech, "--out", tmp_path / "out", *ASKED, "--launcher", "ray")
    processes.llaso_model(*words, "--num-workers", 2, log=tmp_path / "log").succeed()
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()


def test_what_it_leaves_is_scored_again_as_a_folder(undisturbed, tmp_path):
    CliRunner().invoke(main, ["score", str(undisturbed), "--out", str(tmp_path)], catch_exceptions=False)
    first, again = (json.loads((folder / "scores.json").read_text()) for folder in (undisturbed, tmp_path))
    assert again["rows"] == first["rows"] and again["systems"] == first["systems"]


def test_answers_and_scores_lie_on_a_store_as_on_a_disk(
    model, speech, undisturbed, server, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """On S3, a killed run's parts too; and neither leaves a folder ``s3:`` here."""
    monkeypatch.chdir(tmp_path)
    here, there = undisturbed, f"{BUCKET}/eval"
    for name in ("run.json", "predictions/part-00000.jsonl"):
        storage.write_bytes(f"{there}/{name}", (here / name).read_bytes())
    made = storage.stat(f"{there}/predictions/part-00000.jsonl")
    evaluated(model, "--data", speech, "--out", there, *ASKED)
    assert storage.stat(f"{there}/predictions/part-00000.jsonl") == made
    for name in ("run.json", "predictions.jsonl", "rows.parquet"):
        assert storage.read_bytes(f"{there}/{name}") == (here / name).read_bytes()
    for words in (
        ("score", f"{there}/predictions.jsonl", "--out", f"{BUCKET}/scores"),
        ("report", f"{BUCKET}/scores", "--out", f"{BUCKET}/report"),
        ("report", there),
    ):
        CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    for name in ("scores/scores.json", "report/report.html", "eval/report.html"):
        assert storage.exists(f"{BUCKET}/{name}")
    assert storage.read_json(f"{BUCKET}/scores/scores.json")["rows"] == COUNT
    storage.write_bytes(f"{BUCKET}/theirs/predictions.jsonl", b'{"id": "a"}')
    assert "was not written by" in evaluated(model, "--data", speech, "--out", f"{BUCKET}/theirs", code=2).output
    assert os.listdir(tmp_path) == []


def test_another_model_or_other_options_in_the_same_folder_are_refused(model, speech, undisturbed, tmp_path):
    other = tmp_path / "other" / "model"
    shutil.copytree(model, other)
    path = other / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    asked = ("--data", speech, "--out", undisturbed, "--system", "small", *ASKED)
    assert "model.safetensors is damaged or was changed" in evaluated(other, *asked, code=2).output
    checksums.note_folder(other)  # another model, then
    said = evaluated(other, *asked, code=2)
    assert "predictions of another run" in said.output and "model" in said.output
    said = evaluated(model, "--data", speech, "--out", undisturbed, *ASKED, "--num-beams", 2, code=2)
    assert "options differ" in said.output and "--out" in said.output


def test_a_sweep_asks_all_again_at_each_level_and_leaves_the_score_of_clean_speech(
    model, speech, undisturbed, tmp_path
):
    evaluated(model, "--data", speech, "--out", tmp_path, *ASKED, "--noise-sweep", "0:10:10", "--variants")
    found = lines(tmp_path)
    tags = [tag for line in found for tag in line.get("tags", [])]
    levels = ["snr:0", "snr:10", "speed:0.8", "speed:1.25", "reverberation:0.4", "reverberation:0.9"]
    assert sorted(set(tags)) == sorted([*levels, "band:300-3400"])
    assert all(tags.count(tag) == COUNT for tag in tags) and len(found) == 8 * COUNT
    assert [line for line in found if "tags" not in line] == lines(undisturbed)
    scores, clean = (json.loads((out / "scores.json").read_text()) for out in (tmp_path, undisturbed))
    assert scores["tasks"] == clean["tasks"]
    (curve,) = _curves(scores)
    assert sorted(point["snr_db"] for point in curve["points"]) == [0, 10]
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 0 and (tmp_path / "report.html").exists()


def test_what_is_heard_has_the_level_that_its_tag_says_in_any_batch(speech):
    questions = open_samples(str(speech), TASKS, ["asr"])
    conditions = {one.tag: one for one in noise.noise_sweep("-5:15:10")}
    plan = predict.plan_batches(questions, Budget.of("12s"), conditions)
    assert sorted(n for work in plan for n in work.numbers) == sorted(list(range(COUNT)) * 4)
    measured = 0
    for work in plan:
        for one in questions.read(work.numbers):
            assert isinstance(one, EvalSample)
            clean = one.messages[0]["content"][1]["audio"]
            changed = predict.apply_condition(work.condition, one)
            mixture = changed.messages[0]["content"][1]["audio"]
            if work.condition is None:
                assert changed is one
            elif np.abs(mixture).max() < 1:  # else it was made softer, and speech is no longer what it was
                level = float(work.condition.tag.removeprefix("snr:"))
                assert abs(noise.snr_db(clean, mixture - clean) - level) <= 0.1
                assert changed.id == f"{one.id}@{work.condition.tag}"
                measured += 1
    assert measured > 2 * COUNT


def test_recorded_noise_is_mixed_in(model, speech, clips, tmp_path):
    words = ("--data", speech, *ASKED, "--noise-sweep", "5", "--noise")
    evaluated(model, *words, clips[0].path.parent, "--out", tmp_path / "recorded")
    assert sum("tags" in line for line in lines(tmp_path / "recorded")) == COUNT
    said = evaluated(model, *words, tmp_path / "nothing", "--out", tmp_path / "refused", code=2)
    assert "neither one of white, pink, speech nor a file or folder of audio" in said.output


def test_a_damaged_sample_is_named_and_replaced_by_none(model, speech, undisturbed, tmp_path):
    shards = tmp_path / "shards"
    shutil.copytree(speech, shards)
    index = reader.open_index(str(shards))
    row = next(row for row in map(index.row, range(len(index))) if row["task"] == "asr")
    with open(index.shards[row["shard"]], "r+b") as file:
        file.seek(row["parts"][0]["offset"] + 100)
        file.write(b"damage")
    said = evaluated(model, "--data", shards, "--out", tmp_path / "out", *ASKED, code=1)
    assert row["key"] in said.stdout and "CRC-32" in said.stdout
    expected = {line["id"]: line["answer"] for line in lines(undisturbed)}
    del expected[row["key"]]
    assert {line["id"]: line["answer"] for line in lines(tmp_path / "out")} == expected
    (skipped,) = json.loads((tmp_path / "out" / "scores.json").read_text())["skipped"]
    assert row["key"] in skipped


def test_tasks_are_chosen_by_name_and_unknown_ones_refused(model, speech, tmp_path):
    said = evaluated(model, "--data", speech, "--out", tmp_path, "--task", "gender", code=2)
    assert "--task gender: the data has no such task; it has ASR, asr, dictation" in said.output
    said = evaluated(model, "--data", speech, "--out", tmp_path, "--task", "all", code=2)
    assert "dictation is no declared set" in said.output and "--task" in said.output
    assert len(open_samples(str(speech), TASKS, ["ASR"])) == COUNT


def test_tasks_whose_answers_are_speech_are_left_out_unless_they_are_named():
    assert resolve_sets(["asr", "text_to_speech"], TASKS, ()) == {"asr": "ASR"}
    with pytest.raises(LLaSOError, match="text_to_speech: the answers of this task are speech"):
        resolve_sets(["asr", "text_to_speech"], TASKS, ("text_to_speech",))


def test_what_scoring_needs_is_missed_before_any_question(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    result = CliRunner().invoke(main, ["evaluate", "model", "--data", "nowhere", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and "pip install 'llaso[evaluate]'" in result.output
    assert not (tmp_path / "out").exists()


def test_the_options_that_users_know(model, speech, tmp_path):
    words = ("--model-path", model, "--eval-data-dir", speech, "--output-dir", tmp_path, "--batch-size", 5)
    evaluated(*words, "--task", "asr", "--max-new-tokens", 2, "--precision", "bf16", "--num-beams", 2)
    assert len(parts(tmp_path)) == 3 and len(lines(tmp_path)) == COUNT
    assert json.loads((tmp_path / "run.json").read_text())["options"]["precision"] == "bf16"
    assert "name the model once" in evaluated("--data", speech, "--out", tmp_path, code=2).output


def test_a_folder_with_transcripts_is_a_transcription(model, clips, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for clip in clips[:4]:
        shutil.copy(clip.path, folder / f"{clip.language}-{clip.path.name}")
        (folder / f"{clip.language}-{clip.path.name}").with_suffix(".txt").write_text(clip.text, encoding="utf-8")
    shutil.copy(clips[4].path, folder / "silent.wav")
    words = ("--data", folder, "--out", tmp_path / "out", "--max-new-tokens", 4, "--language", "de")
    said = evaluated(model, *words, code=1)
    assert "silent.wav: no transcript" in " ".join(said.stdout.split())
    found = {line["audio"][0]: line for line in lines(tmp_path / "out")}
    for clip in clips[:4]:
        line = found[f"{clip.language}-{clip.path.name}"]
        assert (line["reference"], line["language"], line["set"]) == (clip.text, "de", "ASR")
        assert line["prompt"] == TASKS.instruction("ASR")
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, wanted in (("notes.md", "Evaluated are shards"), ("train.parquet", "not a readable Parquet file")):
        (empty / name).write_bytes(b"")
        assert wanted in evaluated(model, "--data", empty, "--out", tmp_path / "none", code=2).output


def test_a_dataset_that_holds_its_audio_in_parquet_is_a_transcription(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path / "cache"))
    some = [clip for clip in clips if clip.language == "en"]
    rows = [
        {
            "audio": {"bytes": clip.path.read_bytes(), "path": clip.path.name},
            "sentence": clip.text,
            "client_id": f"speaker {number}",
            "gender": "female",
        }
        for number, clip in enumerate(some)
    ]
    rows[1]["audio"] = None
    data = tmp_path / "dataset" / "data"
    data.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), data / "test-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), data / "train-00000-of-00001.parquet")
    questions = open_samples(str(tmp_path / "dataset"), tasks.load(), (), "en")
    read = questions.read(range(len(questions)))
    bad = [one for one in read if isinstance(one, BadSample)]
    asked = {one.line["reference"]: one for one in read if isinstance(one, EvalSample)}
    assert len(bad) == 1 and "`audio` is missing" in bad[0].reason
    assert set(asked) == {clip.text for number, clip in enumerate(some) if number != 1}
    first = asked[some[0].text]
    assert np.array_equal(
        first.messages[0]["content"][1]["audio"], audio.to_float32(audio.decode(str(some[0].path))[0])
    )
    assert first.line["speaker"] == "speaker 0" and first.line["groups"] == {"gender": "female"}
    assert first.line["audio"] == ["audio.tar!00000000.wav"]


def test_the_published_layout_is_asked_as_it_says(model, clips, tmp_path):
    (tmp_path / "wav").mkdir()
    shutil.copy(clips[0].path, tmp_path / "wav" / "p225_001.wav")
    asked = "<audio>\nWhat is the speaker's gender?"
    row = {"voice": ["wav\\p225_001.wav"], "metadata": {"age": "23"}}
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": "female"}]
    path = tmp_path / "vctk_gender_classification_test.json"
    path.write_text(json.dumps([{**row, "conversations": turns}, {**row, "voice": [], "conversations": turns}]))
    said = evaluated(model, "--data", tmp_path, "--out", tmp_path / "out", "--max-new-tokens", 4, code=1)
    assert "1 <audio> in the question, 0 in voice" in " ".join(said.stdout.split())
    (line,) = lines(tmp_path / "out")
    assert line["set"] == "vctk_gender_classification" and line["reference"] == "female"
    assert line["prompt"] == "What is the speaker's gender?"
    assert (line["audio"], line["speaker"], line["groups"]) == (["wav/p225_001.wav"], "p225", {"age": "23"})
    only = open_samples(str(path), TASKS, ["gender"]).read([0])
    assert isinstance(only[0], EvalSample) and only[0].messages[0]["content"][0]["type"] == "audio"


def test_clips_of_the_published_layout_may_be_in_their_zips(clips, tmp_path):
    """The questions have the same ids; a clip of another folder is not taken for its name alone."""
    turns = [{"from": "human", "value": "<audio>Which gender?"}, {"from": "gpt", "value": "female"}]
    voices = ("wav/p225\\001.wav", "wav/p226\\001.wav")
    path = tmp_path / "text_audio" / "vctk_gender_classification_test.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{"voice": [voice], "conversations": turns} for voice in voices]))
    missing = open_samples(str(path), TASKS, audio_root=str(tmp_path)).read([0, 1])
    with zipfile.ZipFile(tmp_path / "LLaSO-Eval-audio.part1.zip", "w") as archive:
        archive.write(clips[0].path, "LLaSO-Eval/wav/p225/001.wav")
    first, second = open_samples(str(path), TASKS, audio_root=str(tmp_path)).read([0, 1])
    assert isinstance(first, EvalSample)
    heard = first.messages[0]["content"][0]["audio"]
    assert np.array_equal(heard, audio.to_float32(audio.decode(str(clips[0].path))[0]))
    assert first.line["audio"] == ["LLaSO-Eval-audio.part1.zip!LLaSO-Eval/wav/p225/001.wav"]
    assert [one.key for one in missing] == [first.id, second.key]
    assert second.reason.startswith(f"{tmp_path}/wav/p226/001.wav: no such file")
