"""``llaso-data leakage`` on sets as they lie: a corpus against shards in Opus, and what leaks taken out of shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
from click.testing import CliRunner, Result

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.cli import main
from llaso_data.pipeline import leakage
from tests.conftest import Clip
from tests.support import conversions


def llaso(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture(scope="module")
def sets(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards of five clips, and Opus shards of two of them, one shorter at its beginning and said to be another."""
    folder = tmp_path_factory.mktemp("sets")
    for name, chosen, first, text in (
        ("train", range(0, 25, 5), 0, "training number {}"),
        ("test", (0, 5, 26), SAMPLE_RATE_HZ // 5, "what is asked in test number {}"),
    ):
        (folder / name).mkdir()
        for number in chosen:
            pcm = audio.decode(str(clips[number].path))[0]
            soundfile.write(folder / name / f"{number}.flac", pcm[first:], SAMPLE_RATE_HZ)
            (folder / name / f"{number}.txt").write_text(text.format(number))
    conversions.run(folder / "shards", {"path": str(folder / "train"), "language": "en"})
    conversions.run(folder / "opus", {"path": str(folder / "test"), "language": "en"}, audio="opus")
    return folder / "shards", folder / "opus"


def test_what_leaks_is_found_refused_and_removed(sets: tuple[Path, Path], tmp_path: Path) -> None:
    shards, opus = sets
    names = tmp_path / "leaks.txt"
    found = json.loads(llaso("leakage", shards, "--against", opus, "--list", names, "--json").stdout)
    assert found["counts"] == {str(opus): {"sample": 0, "audio": 0, "sound": 2, "text": 0, "near_text": 0}}
    assert (found["samples"], found["leaked"], found["other_samples"]) == (5, 2, {str(opus): 3})
    refused = llaso("leakage", shards, "--against", opus, "--kind", "sound", "--refuse", code=1)
    assert "2 of 5 samples leak" in refused.output
    llaso("leakage", shards, "--against", opus, "--kind", "text", "--refuse")

    llaso("remove", shards, "--list", names)
    assert json.loads(llaso("leakage", shards, "--against", opus, "--refuse", "--json").stdout)["samples"] == 3


def test_what_was_heard_before_gives_the_same(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("leakage", sets[0], "--against", sets[1], "--json")
    found = llaso(*asked, "--num-workers", 1).stdout
    monkeypatch.setattr(leakage, "_SAMPLES_OF_A_BLOCK", 2)
    assert llaso(*asked, "--num-workers", 1, "--work", tmp_path / "work").stdout == found
    blocks = len(list((tmp_path / "work/heard").iterdir()))
    assert blocks > 3
    again = llaso(*asked, "--num-workers", 1, "--work", tmp_path / "work")
    assert (again.stdout, len(list((tmp_path / "work/heard").iterdir()))) == (found, blocks)
    assert "0 recordings heard" in again.stderr
    assert f"{blocks} blocks already there" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("engine", [("--num-workers", 2), ("--engine", "ray")])
def test_engines_find_the_same(
    engine: tuple[Any, ...], sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("leakage", sets[0], "--against", sets[1], "--json")
    found = llaso(*asked, "--num-workers", 1).stdout
    monkeypatch.setattr(leakage, "_SAMPLES_OF_A_BLOCK", 2)
    assert llaso(*asked, *engine).stdout == found


def test_a_list_of_somebody_elses_stays(sets: tuple[Path, Path], tmp_path: Path) -> None:
    mine = tmp_path / "list.txt"
    mine.write_text("mine\n")
    assert "was not written by" in llaso("leakage", sets[0], "--against", sets[1], "--list", mine, code=2).output
    assert mine.read_text() == "mine\n"


def test_what_cannot_be_heard_is_said(sets: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_bytes(b"no sound at all")
    (tmp_path / "bad" / "a.txt").write_text("what is asked in test number 5")
    found = json.loads(llaso("leakage", tmp_path / "bad", "--against", sets[1], "--json").stdout)
    assert found["not_compared"] == {str(tmp_path / "bad"): {"unreadable": 1}}
    assert found["counts"][str(sets[1])]["text"] == 1


def test_a_set_is_not_compared_with_itself(sets: tuple[Path, Path]) -> None:
    assert "must be different sets" in llaso("leakage", sets[0], "--against", sets[0], code=2).output
