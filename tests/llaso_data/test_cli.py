"""The command as a user types it: what it prints, its exit codes, and that it goes on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import llaso_data
from llaso_data.cli import main
from llaso_data.pipeline.progress import Progress
from tests.conftest import Clip
from tests.support.corpora import copy, english, files, observed

HEAVY = (
    "torch", "ray", "transformers", "pyarrow", "pydantic", "numpy", "fsspec", "rich", "ctranslate2", "openvino",
    "numba", "uvicorn",
)  # fmt: skip
CODE = str(Path(llaso_data.__file__).parents[1])


def llaso(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def script(folder: Path) -> list[str]:
    """The command in a process of its own, started as the installed script is."""
    path = folder / "bin" / "llaso-data"
    path.parent.mkdir(exist_ok=True)
    path.write_text("from llaso_data.cli import main\nmain()\n")
    return [sys.executable, str(path)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": CODE, "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def spoken(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return english(tmp_path_factory.mktemp("spoken"), clips, (0.7,))


@pytest.fixture(scope="module")
def options(tiny_en: Path) -> list[str]:
    return [
        "--asr",
        str(tiny_en),
        "--engine",
        "local",
        "--corpus",
        "test",
        "--language",
        "en",
        "--set",
        "blocks.clips=2",
    ]


@pytest.fixture(scope="module")
def out(spoken: Path, options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """build-align's output of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    result = llaso("build-align", spoken, "--out", folder, *options)
    assert "accepted" in result.stdout and f"written to {folder}" in result.stdout
    return folder


def test_importing_the_command_imports_nothing_heavy() -> None:
    check = f"import sys, llaso_data.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", check], env=environment(), capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_command_explains_itself() -> None:
    assert set(main.commands) >= {"build-align", "shard", "validate", "stats", "index", "demo"}
    assert "build-align" in llaso("--help").output
    for name in main.commands:
        assert "Usage:" in llaso(name, "--help").output


# From sound to shards


def test_from_recordings_to_valid_shards(out: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    written = llaso("shard", out, "--out", shards, "--samples-per-shard", 2, "--engine", "local").output
    accepted = json.loads((out / "manifest.json").read_text())["counts"]["accepted"]
    assert f"written to {shards}" in written
    assert "no problems" in llaso("validate", shards).output
    stats = json.loads(llaso("stats", shards, "--json").output)
    assert stats["samples"] == accepted and stats["languages"]["en"]["samples"] == accepted
    assert str(accepted) in llaso("stats", shards).output
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for tar in shards.glob("*.tar"):
        shutil.copy(tar, foreign)
    llaso("index", foreign)
    assert json.loads(llaso("stats", foreign, "--json").output)["samples"] == accepted


def test_damaged_shards_are_not_valid(out: Path, tmp_path: Path) -> None:
    llaso("shard", out, "--out", tmp_path / "s", "--engine", "local")
    tar = next((tmp_path / "s").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 0xFF
    tar.write_bytes(data)
    assert "problem" in llaso("validate", tmp_path / "s", code=1).output


def test_a_rerun_says_that_nothing_was_done(out: Path, spoken: Path, options: list[str]) -> None:
    output = llaso("build-align", spoken, "--out", out, *options).output
    rows = {line[:22].strip(): line[22:].split() for line in output.splitlines()}
    assert rows["models loaded"] == rows["windows encoded"] == ["0"]
    assert "already there" in output


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(out: Path, spoken: Path, options: list[str], tmp_path: Path) -> None:
    target = tmp_path / "killed"
    words = ["build-align", str(spoken), "--out", str(target), *options]
    process = subprocess.Popen([*script(tmp_path), *words], env=environment(), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list(target.glob("observations/*.parquet")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    left = len(list(target.glob("observations/*.parquet")))
    assert not (target / "manifest.json").exists() and 1 <= left < len(list((out / "observations").iterdir()))
    llaso(*words)
    assert files(target, "recipe.yaml") == files(out, "recipe.yaml")


@pytest.mark.slow
def test_the_default_engine_runs_a_stage_from_the_users_folder(
    clips: list[Clip], tiny_en: Path, tmp_path: Path
) -> None:
    """Ray, started by the command itself; the stage's module lies where the command is run."""
    copy(clips[1], tmp_path / "speech")
    (tmp_path / "mine.py").write_text(
        "import dataclasses\n"
        "from llaso_data.records import Attribute\n"
        "class Room:\n"
        "    def __init__(self, name): self.name = name\n"
        "    def __call__(self, utterances, pcm):\n"
        "        return [dataclasses.replace(u, environment=Attribute(self.name, 'mine:Room')) for u in utterances]\n"
    )
    (tmp_path / "recipe.yaml").write_text(
        "sources: [{path: speech, language: en}]\nout: out\nrun: {device: cpu, num_workers: 1}\n"
        f"observe:\n  asr: {{model: {tiny_en}}}\n  stages: [{{stage: 'mine:Room', options: {{name: studio}}}}]\n"
    )
    words = [*script(tmp_path), "build-align", "--recipe", "recipe.yaml"]
    ran = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (found,) = observed(tmp_path / "out")
    assert (found.environment.value, found.environment.origin) == ("studio", "mine:Room")
    assert "Traceback" not in ran.stderr and "1/1 blocks" in ran.stderr


# What is wrong is said in a line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build-align", "--out", "o"], "nothing to read: name at least one source"),
        (["build-align", "{here}"], "nowhere to write: pass --out, or set `out` in the recipe"),
        (["build-align", "nowhere", "--out", "o"], "nowhere: no such file or folder; check the path of this source"),
        (["build-align", "{here}", "--out", "o", "--recipe", "no.yaml"], "no.yaml: no such recipe"),
        (["build-align", "nowhere://x", "--out", "o"], "nowhere://x: Protocol not known: nowhere"),
        (["build-align", "{here}", "--out", "o", "--language", "klingonese"], "'klingonese' is no language"),
        (["build-align", "{here}", "--out", "o", "--asr", "./absent"], "'./absent' is neither a local folder nor"),
        (["shard", "nowhere", "--out", "o"], "nowhere"),
        (["validate", "nowhere"], "nowhere"),
        (["stats", "nowhere"], "nowhere"),
        (["index", "nowhere"], "nowhere"),
    ],
)
def test_an_error_is_one_line(
    words: list[str], said: str, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = llaso(*(word.format(here=clips[0].path.parent) for word in words), code=2)
    assert said in result.stderr and result.stderr.startswith("llaso-data: ") and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert not (tmp_path / "o").exists()


def test_an_output_that_cannot_be_written_is_one_line(spoken: Path, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = llaso("build-align", spoken, "--out", tmp_path / "file", *options, code=2)
    assert f"{tmp_path}/file" in result.stderr and "Traceback" not in result.stderr


def test_a_wrong_recipe_is_said_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("out: o\nobserve:\n  asr:\n    beam: 5\njudge:\n  audit:\n    items: many\n")
    lines = llaso("build-align", "--recipe", path, code=2).stderr.splitlines()
    assert lines[0].startswith(
        f"llaso-data: {path}:4: observe.asr.beam: unknown key; did you mean beam_size? allowed: "
    )
    assert lines[1] == f"{path}:7: judge.audit.items: must be an integer, got 'many'"
    assert "such as observe.asr.beam_size=5" in llaso("build-align", "--set", "nonsense", code=2).stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    words = [*script(tmp_path), "--debug", "build-align", "nowhere", "--out", "o"]
    ran = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert "Traceback" in ran.stderr and "LLaSOError: nowhere" in ran.stderr and ran.returncode != 0


def test_too_many_failures_decide_the_exit_code(clips: list[Clip], options: list[str], tmp_path: Path) -> None:
    copy(clips[1], tmp_path / "c")
    (tmp_path / "c" / "broken.wav").write_text("no audio")
    words = ["build-align", tmp_path / "c", "--out", tmp_path / "out", *options]
    result = llaso(*words, code=1)
    assert "1 of 2 inputs failed, more than --max-failures 10%; the output is complete" in result.stderr
    assert "failed.unreadable" in result.stdout and (tmp_path / "out" / "manifest.json").exists()
    llaso(*words, "--set", "judge.max_failures=0.5")


def test_progress_counts_and_shows_nothing_of_a_run_that_did_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="at once"), Progress():
        raise ValueError("at once")
    with pytest.raises(ValueError, match="later"), Progress() as progress:
        progress.block_done(inputs=3, failed=0, audio_s=1.0, skipped=False)
        raise ValueError("later")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "3 observed" in lines[0]
