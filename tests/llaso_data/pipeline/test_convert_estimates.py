"""What a model estimated is said to be an estimate where a layout writes it like what is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.formats.registry import LAYOUTS
from llaso_data.records import ASR, ESTIMATED, Attribute, Sample
from tests.conftest import Clip
from tests.support.asr_fixtures import named
from tests.support.conversions import run, shards_of
from tests.support.sample_sets import write_samples

WRITTEN = sorted(name for name, layout in LAYOUTS.items() if layout.writer is not None)


@pytest.fixture(scope="module")
def estimated(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples: of one the speaker and the environment are estimated and Whisper heard the text, of one given."""
    folder = tmp_path_factory.mktemp("estimated")
    rows = [
        {"audio": str(clip.path), "text": clip.text, "language": "en", "speaker": "ann", "environment": "studio"}
        for clip in named(clips, "en/hello_world", "en/quick_brown_fox")
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(folder / "shards", folder / "m.jsonl")
    of_a_model, given = (sample for sample, _ in shards_of(folder / "shards"))
    return write_samples([_estimated(of_a_model), given], folder / "set")


def _estimated(sample: Sample) -> Sample:
    (audio,) = sample.audios
    audio = replace(
        audio,
        speaker=replace(audio.speaker, id=Attribute("speaker-1", ESTIMATED)),
        environment=Attribute("studio", ESTIMATED),
        text_origin=ASR,
    )
    return replace(sample, audios=(audio,))


@pytest.mark.parametrize("to", WRITTEN)
def test_a_layout_without_a_place_for_origins_says_which_fields_a_model_said(
    estimated: Path, tmp_path: Path, to: str
) -> None:
    words = ["convert", str(estimated), "--out", str(tmp_path / "out"), "--to", to, "--engine", "local"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    writer = LAYOUTS[to].writer
    assert writer is not None
    wanted = set() if "origins" in writer.holds else {"text", *({"speaker", "environment"} & writer.holds)}
    summary = json.loads((tmp_path / "out" / "convert.json").read_text())
    said = {name: count for name, count in summary["not_carried"].items() if name.endswith("_origin")}
    assert said == {f"{name}_origin": 1 for name in wanted}
    for name in wanted:
        line = f"1 samples have a {name} that a model estimated; {to} writes it like one that is given"
        assert line in done.stdout and line in done.stderr
    if not wanted:
        assert "estimated" not in done.output


def test_shards_keep_origins(estimated: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "out", estimated).not_carried == {}
    assert {sample.audios[0].speaker.id.origin for sample, _ in shards_of(tmp_path / "out")} == {"given", ESTIMATED}


def test_instruction_data_says_so_too(estimated: Path, tmp_path: Path) -> None:
    options = {"instruct.tasks": "[asr]", "instruct.modalities": "{text_audio: 1}", "instruct.leakage.kinds": "[]"}
    words = ["build-instruct", str(estimated), "--out", str(tmp_path / "out"), "--to", "messages", "--engine", "local"]
    sets = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(main, [*words, *sets])
    assert done.exit_code == 0, done.output
    assert "1 samples have a speaker that a model estimated; messages writes it like one that is given" in done.stderr
    assert "1 samples have a text that a model estimated" in done.stderr
