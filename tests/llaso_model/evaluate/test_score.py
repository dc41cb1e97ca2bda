"""``llaso-model score``: the layouts that it reads, what it writes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llaso_data.errors import LLaSOError
from llaso_model.cli import COMMANDS, main
from llaso_model.evaluate import score, store
from llaso_model.evaluate.datasets import layouts, tasks
from llaso_model.evaluate.rows import score_rows
from tests.llaso_model.evaluate.report.test_scores_page import lines
from tests.support.evaluation import ROWS, SHARED, TASKS, prediction

HEAVY = (
    "torch", "transformers", "pyarrow", "pydantic", "numpy", "jiwer", "sacrebleu", "scipy", "rich", "jinja2",
    "uvicorn",
)  # fmt: skip


def llaso(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def published(
    answer_key: str = "answer", voice: Any = ("vctk/wav48/p283\\p283_171_mic2.flac",), **more: Any
) -> dict[str, Any]:
    return {
        "voice": list(voice) if isinstance(voice, tuple) else voice,
        "conversations": [{"from": "human", "value": "Which?<audio>"}, {"from": "gpt", "value": "Female."}],
        answer_key: "female",
        **more,
    }  # fmt: skip


def read_one(tmp_path: Path, text: str, name: str = "vctk_gender_classification_test.json") -> list[layouts.Prediction]:
    folder = tmp_path / "System"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return layouts.read_predictions([str(folder)], TASKS).predictions


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    code = f"import sys\nfrom llaso_model.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n" \
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)"  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 0.5 or os.getloadavg()[0] > 1.5
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("key", layouts.ANSWER_KEYS)
def test_answers_are_under_any_of_three_keys(tmp_path: Path, key: str) -> None:
    (one,) = read_one(tmp_path, json.dumps([published(key)]))
    assert (one.answer, one.reference, one.prompt, one.system) == ("female", "Female.", "Which?", "System")
    assert one.audio == ("vctk/wav48/p283/p283_171_mic2.flac",) and one.speaker == "p283"


def test_arrays_lines_and_strings_are_read_alike(tmp_path: Path) -> None:
    rows = [published(), published(voice="a\\b.wav", metadata={"gender": "Female", "age": 24}, speaker_id="7")]
    array = read_one(tmp_path, json.dumps(rows))
    as_lines = read_one(tmp_path, "\n".join(map(json.dumps, rows)) + "\n\n")
    assert [one.id for one in array] == [one.id for one in as_lines] and len({one.id for one in array}) == 2
    assert array[1].speaker == "7" and array[1].groups == {"gender": "Female", "age": "24"}


def test_line_breaks_within_strings_are_read(tmp_path: Path) -> None:
    """As in Typhoon-Audio/gpt_result/1M_GPT4_end_test.jsonl."""
    (one,) = read_one(tmp_path, json.dumps([published()]).replace("Which?", "Which\none?"))
    assert one.prompt == "Which\none?"


def test_modalities_follow_the_published_names(tmp_path: Path) -> None:
    turned = published()
    turned["conversations"][0]["value"] = "<audio>Some text"
    for name, wanted, row in (
        ("dolly_input_1_test.json", "text instruction + audio", published()),
        ("dolly_instruction_0_test.json", "audio instruction + text", turned),
        ("alpaca_gpt4_end_test.json", "audio", published()),
    ):
        found = {one.set: one.modality for one in read_one(tmp_path, json.dumps([row]), name)}
        assert found[name.removesuffix("_test.json")] == wanted


def test_published_judgements_find_their_rows(tmp_path: Path) -> None:
    folder = tmp_path / "System" / "gpt_result"
    folder.mkdir(parents=True)
    said = {"file": "dolly_input_1_test.json", "index": 0, "evaluation": "Score: 4\nExplanation: fine"}
    (folder / "dolly_input_1_test.jsonl").write_text(json.dumps(said))
    (tmp_path / "System" / "dolly_input_1_test.json").write_text(json.dumps([published()]))
    read = layouts.read_predictions([str(tmp_path)], TASKS)
    (rows,) = [score_rows("dolly_input_1", read.predictions, TASKS, read.judgements["System", "dolly_input_1"])]
    assert rows[0].stats["judge"] == (4.0, 1.0)


def test_a_tar_a_folder_and_a_named_source_are_one(tmp_path: Path) -> None:
    read_one(tmp_path, json.dumps([published()]))
    with tarfile.open(tmp_path / "all.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "System", "System")
    ids = [
        [(one.system, one.id) for one in layouts.read_predictions([str(source)], TASKS).predictions]
        for source in (tmp_path / "System", tmp_path / "all.tar.xz")
    ]
    assert ids[0] == ids[1]
    assert layouts.read_predictions([f"Mine={tmp_path / 'System'}"], TASKS).predictions[0].system == "Mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{]", r"vctk_gender_classification_test\.json:1: not JSON"),
        ('{"conversations": []}', r"row 1: conversations needs a human and a gpt turn"),
        (
            '[{"set": "vctk_gender_classification", "reference": "Male"}]',
            "row 1: no answer; it is under one of answer, result, prediction",
        ),
        ('[{"set": "other", "answer": "a"}]', "row 1: set is 'other'; it is one of ASR"),
        ('[{"set": "ASR", "answer": "a"}]', "row 1: reference is missing"),
        ('["text"]', "row 1 is str, not an object"),
        ("[]", "no declared set|no predictions"),
    ],
)
def test_bad_input_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LLaSOError, match=message):
        read_one(tmp_path, text)


def test_a_reference_that_is_no_label_is_an_error() -> None:
    with pytest.raises(LLaSOError, match="'Maybe' is no label of vctk_gender_classification; they are male, female"):
        score_rows("vctk_gender_classification", [prediction("vctk_gender_classification", "a", "Maybe")], TASKS)


def test_a_question_answered_twice_is_an_error(tmp_path: Path) -> None:
    rows = [{"set": "ASR", "id": "1", "reference": "a", "answer": "a"}] * 2
    with pytest.raises(LLaSOError, match="answers 1 of ASR twice"):
        read_one(tmp_path, json.dumps(rows), "mine.jsonl")


def test_the_command_writes_scores_and_rows_that_read_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines("mine", 30)), encoding="utf-8")
    shown = llaso("score", path, "--out", tmp_path / "out", "--workers", 1)
    assert "Speaker gender" in shown.output and "closed answers: refusal" in shown.output
    said = score.read_scores(str(tmp_path / "out"))
    assert said["systems"] == ["mine"] and said["rows"] == 53
    rows = store.read(str(tmp_path / "out" / "rows.parquet"))
    assert sorted(row.prediction.id for row in rows) == sorted(line["id"] for line in lines("mine", 30))
    again = llaso("score", path, "--out", tmp_path / "again", "--workers", 1)
    assert again.exit_code == 0
    first, second = ((tmp_path / name / "scores.json").read_bytes() for name in ("out", "again"))
    assert first == second
    assert "no such file" in llaso("score", tmp_path / "missing", "--out", tmp_path / "x", code=2).output
    assert "no scores.json" in llaso("report", tmp_path, code=2).output
    assert llaso("report", tmp_path / "out").output.split()[0].endswith("report.html")


def test_one_process_and_two_give_the_same(tmp_path: Path) -> None:
    rows = [{**row, "id": f"{row['id']}-{i}"} for i in range(45) for row in lines("mine", 30)]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for workers in (1, 2):
        score.score([str(path)], str(tmp_path / str(workers)), workers=workers)
    assert (tmp_path / "1" / "scores.json").read_bytes() == (tmp_path / "2" / "scores.json").read_bytes()


def test_tasks_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(
        "tasks: {mood: {title: Mood, short: M, group: speaker}}\n"
        "labels: {moods: {good: [fine], bad: []}}\n"
        "sets: {mood: {task: mood, kind: label, labels: moods}}\n"
    )
    rows = [
        {"set": "mood", "reference": "good", "answer": "I feel fine"},
        {"set": "vctk_gender_classification", "reference": "female", "answer": "a woman"},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    shown = llaso("score", tmp_path / "mine.jsonl", "--out", tmp_path / "out", "--tasks", tmp_path / "tasks.yaml")
    assert "Mood" in shown.output and "Overall, 2 common tasks" in shown.output and "100.0" in shown.output
    (tmp_path / "wrong.yaml").write_text("sets: {mood: {task: mood, kind: label, labels: moods}}\n")
    with pytest.raises(LLaSOError, match="no task mood"):
        tasks.load(str(tmp_path / "wrong.yaml"))


def test_every_task_whose_answers_are_text_is_scored() -> None:
    assert set(TASKS.tasks) - {one.task for one in TASKS.sets.values()} == {"text_to_speech", "style_transfer"}
    assert TASKS.set_of("ASR_test") == "ASR" and TASKS.set_of("asr") == "ASR"
    assert all(TASKS.set_of(name) == build.scored_as or build.scored_as is None for name, build in TASKS.build.items())
    for name in TASKS.sets:
        asked = TASKS.instruction(name)
        assert asked and "{" not in asked
    assert TASKS.instruction("vctk_gender_classification").endswith("Answer with one of: male, female.")
    assert TASKS.instruction("vctk_age_classification").endswith("Answer with one of: 15-19, 20-24, 25-29, 30+.")
    assert TASKS.instruction("vocalsound_age_prediction").endswith("Answer with a whole number from 18 to 80.")
    assert len((ROWS / "faults.jsonl").read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_six_systems_are_scored(tmp_path: Path) -> None:
    said = score.score([str(SHARED)], str(tmp_path))
    assert said["rows"] == 49_932 and len(said["systems"]) == 6 and len(said["sets"]) == 44
    assert not said["missing"]
    assert sum(one["rows"] for one in said["sets"]) == 10_605
