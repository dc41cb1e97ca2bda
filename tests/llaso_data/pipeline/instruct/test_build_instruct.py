"""The whole command on real recordings: what is built, that counts close, and that a rerun changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums
from llaso_data.pipeline.instruct.preview import preview
from llaso_data.pipeline.instruct.reading import asking_of
from llaso_data.pipeline.instruct.run import build_instruct
from llaso_data.pipeline.instruct.summary import InstructSummary
from llaso_data.recipe import Recipe
from llaso_data.records import Sample
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support.conversions import shards_of
from tests.support.fault_injection import processes

needs_hibari = pytest.mark.skipif(not find_spec("hibari"), reason="hibari is not installed")

WRITTEN = {"text_audio": 1.0, "text": 1.0}
EMOTIONS = ("happy", "sad", "angry", "neutral")


def corpus(folder: Path, clips: Sequence[Clip], **more: str) -> Path:
    """A table of recordings with a speaker, a gender, what is said, and an emotion that somebody wrote down."""
    folder.mkdir()
    rows = []
    for number, clip in enumerate(clips):
        path = folder / f"{clip.language}-{clip.path.name}"
        shutil.copy(clip.path, path)
        row = {"audio": path.name, "text": clip.text, "language": clip.language, "speaker": f"s{number % 6}"}
        rows.append({**row, "gender": ("female", "male")[number % 2], "emotion": EMOTIONS[number % 4], **more})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder / "rows.jsonl"


def recipe(
    *sources: Path, out: Path | str | None = None, run: Any = None, voices: Any = None, **instruct: Any
) -> Recipe:
    return Recipe.model_validate(
        {
            "sources": [{"path": str(source)} for source in sources],
            "out": None if out is None else str(out),
            "instruct": {"modalities": WRITTEN, **instruct},
            "voices": voices or {"engines": {}},
            "run": {"engine": "local", **(run or {})},
        }
    )


def files_of(out: Path) -> dict[str, bytes]:
    """All that is written for readers, by name."""
    hidden = (".convert", ".build-instruct", ".llaso")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not str(path.relative_to(out)).startswith(hidden) and ".convert" not in path.parts
    }


def samples_in(out: Path) -> list[Sample]:
    return [sample for sample, _ in shards_of(out)]


def made(summary: InstructSummary) -> dict[str, int]:
    return {
        task: sum(count for languages in modalities.values() for count in languages.values())
        for task, modalities in summary.tasks.items()
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "rows", clips[:12])


def test_every_task_that_a_row_feeds_becomes_a_sample_and_the_counts_close(tmp_path: Path, table: Path) -> None:
    summary = build_instruct(recipe(table, out=tmp_path / "out"))
    assert made(summary) == {"asr": 12, "text_to_speech": 12, "gender": 12, "emotion": 12, "speaker_verification": 12}
    assert summary.samples == summary.made == summary.candidates == 60
    assert summary.not_fed["accent"] == {"no accent": 12}
    assert validate(str(tmp_path / "out")).ok
    stated = checksums.read_json(str(tmp_path / "out" / "build-instruct.json"), "")
    assert stated["format"] == "llaso-build-instruct"
    assert stated["answers"]["gender"].keys() <= {"female", "male", "女性", "男性"}
    emotions = [sample for sample in samples_in(tmp_path / "out") if sample.task == "emotion"]
    assert {sample.provenance.kept["labels"]["emotion"] for sample in emotions} == {*EMOTIONS}  # type: ignore[index,union-attr]
    pairs = [sample for sample in samples_in(tmp_path / "out") if sample.task == "speaker_verification"]
    for pair in pairs:
        same = pair.audios[0].speaker.id == pair.audios[1].speaker.id
        assert pair.messages[-1].content[0].text in (("the same", "相同") if same else ("different", "不同"))


def test_a_rerun_goes_on_and_another_folder_gets_the_same_bytes(tmp_path: Path, table: Path) -> None:
    settings = {"split": {"train": 0.5, "test": 0.5}, "mix": "balanced"}
    first = build_instruct(recipe(table, out=tmp_path / "one", **settings))
    again = build_instruct(recipe(table, out=tmp_path / "one", **settings))
    other = build_instruct(recipe(table, out=tmp_path / "two", run={"num_workers": 2}, **settings))
    assert first.stored() == again.stored() == other.stored()
    assert again.blocks_skipped and again.parts_skipped
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    splits = {
        name: {s.audios[0].speaker.id.value for s in samples_in(tmp_path / "one" / name)} for name in first.splits
    }
    assert splits.keys() == {"train", "test"}
    assert not splits["train"] & splits["test"]


def test_another_recipe_does_not_replace_what_is_there_unless_told(tmp_path: Path, table: Path) -> None:
    out = tmp_path / "out"
    build_instruct(recipe(table, out=out, tasks=["gender"]))
    with pytest.raises(LLaSOError, match="pass --overwrite to replace it"):
        build_instruct(recipe(table, out=out, tasks=["emotion"]))
    summary = build_instruct(recipe(table, out=out, tasks=["emotion"]), overwrite=True)
    assert made(summary) == {"emotion": 12}
    assert {sample.task for sample in samples_in(out)} == {"emotion"}


def test_weights_and_a_total_decide_how_many_of_each(tmp_path: Path, table: Path) -> None:
    summary = build_instruct(recipe(table, out=tmp_path / "out", mix={"understanding": 1, "gender": 3}, samples=16))
    assert made(summary) == {"asr": 4, "gender": 12}


def test_the_same_sound_in_a_set_to_test_on_is_left_out(tmp_path: Path, clips: list[Clip], table: Path) -> None:
    tested = corpus(tmp_path / "tested", [clips[3], clips[20]])
    leakage = {"against": [str(tested)], "kinds": ["audio"]}
    summary = build_instruct(recipe(table, out=tmp_path / "out", tasks=["gender"], split={"train": 1}, leakage=leakage))
    assert made(summary) == {"gender": 11}
    assert [*summary.leakage["sounds"]["counts"].values()] == [{"audio": 1}]
    with pytest.raises(LLaSOError, match="leak"):
        build_instruct(recipe(table, out=tmp_path / "no", split={"train": 1}, leakage={**leakage, "found": "refuse"}))


def test_texts_of_the_test_split_are_not_transcribed_in_the_training_split(tmp_path: Path, clips: list[Clip]) -> None:
    one = corpus(tmp_path / "one", [clips[0]] * 6)
    rows = [json.loads(line) for line in one.read_text().splitlines()]
    for number, row in enumerate(rows):  # the same text by six speakers
        shutil.copy(clips[number].path, one.parent / f"{number}.wav")
        row |= {"audio": f"{number}.wav", "split": "test" if number < 2 else "train", "speaker": f"s{number}"}
    one.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"split": {"train": 0.5, "test": 0.5}, "leakage": {"kinds": []}, "tasks": ["asr", "gender"]}
    stated = recipe(one, out=tmp_path / "out", **settings)
    (source,) = stated.sources
    mapped = (source.model_copy(update={"map": {"split": "{split}"}}),)
    summary = build_instruct(stated.model_copy(update={"sources": mapped}))
    assert summary.splits == {"test": {"asr": 2, "gender": 2}, "train": {"gender": 4}}
    assert summary.texts_shared == 4


def test_what_is_held_out_is_not_built(tmp_path: Path, table: Path) -> None:
    hold_out = {"tasks": ["asr"], "languages": ["de"], "templates": ["gender/zh/", "gender/en/command/"]}
    summary = build_instruct(recipe(table, out=tmp_path / "out", tasks=["asr", "gender"], hold_out=hold_out))
    assert summary.tasks.keys() == {"gender"}
    assert "de" not in {sample.language for sample in samples_in(tmp_path / "out")}
    assert summary.held_out.get("language", 0) + summary.samples == 12
    assert summary.forms.keys() <= {"question", "scenario", "condition"}


def test_a_task_of_ones_own_is_a_file_beside_the_data(tmp_path: Path, table: Path) -> None:
    task = tmp_path / "mood.yaml"
    task.write_text(
        """
tasks:
  mood: {title: Mood of a caller, short: M, group: speaker}
labels:
  moods: {calm: [neutral], moved: [happy, sad, angry]}
sets:
  mood: {task: mood, kind: label, labels: moods}
build:
  mood:
    capability: paralinguistic
    needs: [emotion]
    answer: {field: emotion, form: label}
    scored_as: mood
    mentions: {en: [mood]}
    templates:
      en:
        command: |
          Name the mood of the caller in this recording: {options}.
        question: |
          What is the mood of the person who speaks in this clip, {options}?
"""
    )
    summary = build_instruct(recipe(table, out=tmp_path / "out", task_files=[str(task)], tasks=["mood"]))
    assert summary.answers == {"mood": {"calm": 3, "moved": 9}}


def test_a_recording_may_be_asked_about_in_many_rows(tmp_path: Path, table: Path, clips: list[Clip]) -> None:
    rows = [
        {"audio": str(clips[0].path), "text": clips[0].text, "question": question, "answer": answer, "language": "de"}
        for question, answer in (("Who speaks?", "A man."), ("Where?", "At home."), ("Where?", "At home."))
    ]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = build_instruct(recipe(questions, out=tmp_path / "out", tasks=["aqa", "asr"]))
    assert made(summary) == {"aqa": 2, "asr": 1}
    assert summary.problems == {"duplicate": 1}


def test_pairs_that_a_source_names_stay_in_one_split(tmp_path: Path, table: Path) -> None:
    """Every recording is named beside one of another speaker: across splits these pairs are formed anew."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        row["audio"] = str(table.parent / row["audio"])
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        row |= {"audio_2": other["audio"], "same_speaker": "different"}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"split": {"train": 0.5, "test": 0.5}, "tasks": ["asr", "speaker_verification"], "by": "speaker"}
    summary = build_instruct(recipe(pairs, out=tmp_path / "out", leakage={"kinds": ["sample", "audio"]}, **settings))
    assert made(summary) == {"asr": 12, "speaker_verification": 12}
    assert [*summary.leakage["sounds"]["leaked"].values()] == [0]
    heard = {
        split: {one.source.uri for sample in samples_in(tmp_path / "out" / split) for one in sample.audios}
        for split in ("train", "test")
    }
    speakers = {
        split: {one.speaker.id.value for sample in samples_in(tmp_path / "out" / split) for one in sample.audios}
        for split in ("train", "test")
    }
    assert not heard["train"] & heard["test"] and not speakers["train"] & speakers["test"] - {"unknown"}


def test_a_language_whose_voices_are_held_out_is_written_and_not_spoken(table: Path) -> None:
    engines = {"command": {"arguments": [sys.executable, "--version"], "voices": {"en": ["a"], "zh": ["b", "c"]}}}
    held = {"voices": ["command/a", "command/b"]}
    assert asking_of(recipe(table, voices={"engines": engines})).voiced == ("en", "zh")
    assert asking_of(recipe(table, voices={"engines": engines}, hold_out=held)).voiced == ("zh",)


def test_nothing_to_build_is_an_error_that_says_why(tmp_path: Path, clips: list[Clip], table: Path) -> None:
    with pytest.raises(LLaSOError, match=r"nothing can be built of 12 rows: age: no age in 12 rows; .* --map"):
        build_instruct(recipe(table, out=tmp_path / "out", tasks=["age"]))
    with pytest.raises(LLaSOError, match="'singing' is no task and no group of tasks"):
        build_instruct(recipe(table, out=tmp_path / "out", mix={"singing": 1.0}))
    assert not (tmp_path / "out").exists()  # so that the next command may be another one
    with pytest.raises(LLaSOError, match="there is no task 'singing'"):
        build_instruct(recipe(table, out=tmp_path / "out", tasks=["singing"]))
    with pytest.raises(LLaSOError, match="'video' is none"):
        build_instruct(recipe(table, out=tmp_path / "out", modalities={"video": 1.0}))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"templates": ["asr/en/comand"]}, "no template's id begins with 'asr/en/comand'; ids are TASK/"),
        ({"languages": ["English"]}, "hold_out.languages: 'English': write en"),
        ({"languages": ["Klingonisch"]}, "'Klingonisch': it is no language"),
        ({"tasks": ["singing"]}, "there is no task 'singing'"),
    ],
)
def test_what_is_held_out_has_to_be_something(table: Path, held: dict[str, Any], said: str) -> None:
    with pytest.raises(LLaSOError, match=said):
        preview(recipe(table, hold_out=held))


def test_a_preview_says_which_tasks_are_fed_and_shows_samples_of_each(table: Path) -> None:
    found = preview(recipe(table, split={"train": 0.5, "test": 0.5}))
    fed = {one.name: one for one in found.tasks if one.rows}
    assert fed.keys() == {"asr", "text_to_speech", "gender", "emotion", "speaker_verification"}
    assert len(fed["gender"].examples) == 10
    assert sum(fed["emotion"].samples.values()) == 12
    lacking = {one.name: one.lacks for one in found.tasks if not one.rows}
    assert lacking["age"] == {"no age": 12}


@pytest.mark.parametrize(
    ("row", "languages", "task", "why"),
    [
        ({"question": "Where?", "answer": "There."}, ["en"], "aqa", "no language is known of it (--language)"),
        ({"question": "Où ?", "answer": "Là.", "language": "fr"}, ["en"], "aqa", "no voice speaks fr"),
        ({"question": "Where?", "answer": "There.", "language": "en-GB"}, [], "aqa", "no voice that speaks it"),
        ({"text": "a", "translation": "b", "target_language": "zz"}, ["en"], "translation", "another target_language"),
    ],
)
def test_a_preview_says_why_texts_are_not_asked(
    tmp_path: Path, row: dict[str, str], languages: list[str], task: str, why: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    engines = {"command": {"arguments": [sys.executable, "--version"], "voices": {one: ["a"] for one in languages}}}
    settings = {"modalities": {"audio": 1.0, "audio_text": 1.0}, "voices": {"engines": engines if languages else {}}}
    found = preview(recipe(tmp_path / "rows.jsonl", **settings))
    assert {one.name: one.lacks for one in found.tasks}[task] == {why: 1}


def spoken_recipe(table: Path, tiny_en: Path, out: Path, **run: Any) -> Recipe:
    made = recipe(table, out=out, voices={"engines": {"hibari": {}}}, run=run, tasks=["gender", "emotion"])
    every = made.instruct.model_copy(
        update={"modalities": {"text_audio": 1.0, "audio": 2.0}, "languages": {"en": 1.0}, "turns": 2}
    )
    asr = made.observe.asr.model_copy(update={"model": str(tiny_en)})
    observe = made.observe.model_copy(update={"asr": asr})
    return made.model_copy(update={"instruct": every, "observe": observe})


@pytest.mark.slow
@needs_hibari
def test_spoken_instructions_stand_before_recordings_and_ray_gives_the_same_bytes(
    tmp_path: Path, table: Path, tiny_en: Path
) -> None:
    summary = build_instruct(spoken_recipe(table, tiny_en, tmp_path / "local"))
    assert summary.samples + sum(summary.refused.values()) == 48
    (voice,) = summary.voices
    assert voice == "hibari/heart"
    clips = [sample for sample in samples_in(tmp_path / "local") if sample.modality == "audio"]
    assert clips
    for sample in clips:
        (audio,) = sample.audios
        assert audio.source.uri.startswith("clips/")
        assert sample.provenance is not None and sample.provenance.voice == "hibari/heart"
    build_instruct(spoken_recipe(table, tiny_en, tmp_path / "ray", engine="ray", num_workers=2))
    assert files_of(tmp_path / "local") == files_of(tmp_path / "ray")


@pytest.mark.slow
@needs_hibari
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, table: Path, tiny_en: Path) -> None:
    code = (
        "import sys\nfrom llaso_data.recipe import Recipe\n"
        "from llaso_data.pipeline.instruct.run import build_instruct\n"
        "build_instruct(Recipe.model_validate_json(open(sys.argv[1]).read()))"
    )
    whole = spoken_recipe(table, tiny_en, tmp_path / "whole")
    build_instruct(whole)
    killed = spoken_recipe(table, tiny_en, tmp_path / "killed")
    (tmp_path / "recipe.json").write_text(killed.model_dump_json())
    command = [sys.executable, "-c", code, str(tmp_path / "recipe.json")]
    for seconds in (4.0, 6.0, 8.0, 11.0, 14.0, 18.0):
        run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    subprocess.run(command, check=True)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


@pytest.mark.slow
@needs_hibari
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_a_run_that_speaks_within_seconds_and_it_goes_on_to_the_same_bytes(
    tmp_path: Path, table: Path, tiny_en: Path, number: signal.Signals
) -> None:
    """A job of speech is up to 64 lines, which take minutes; the signal comes to the driver alone."""
    whole = spoken_recipe(table, tiny_en, tmp_path / "whole")
    build_instruct(whole)
    stopped = spoken_recipe(table, tiny_en, tmp_path / "stopped", num_workers=2)
    (tmp_path / "recipe.yaml").write_text(stopped.model_dump_json())
    words = ["-c", "from llaso_data.cli import main; main()", "build-instruct", "--recipe", tmp_path / "recipe.yaml"]
    command = [sys.executable, *map(str, words)]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and len(list((tmp_path / "stopped").rglob("voices/*/*.flac"))) < 2:
        time.sleep(0.02)
    begun_s = time.monotonic()
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 128 + number and time.monotonic() - begun_s < 10
    assert said.splitlines()[-1].startswith("llaso-data: stopped; what is finished is kept")
    assert [one for one in processes() if one.session == run.pid] == []
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")
