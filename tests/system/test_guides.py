"""The guides: every command that they show is run in their order, on real speech."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from llaso_data.demo import weights
from llaso_data.formats.rows import mapping
from llaso_data.pipeline.convert import filtering
from llaso_data.pipeline.reference import with_layouts
from llaso_data.shards import reader, removal
from tests.conftest import Clip, obtained
from tests.support import corpora, pages
from tests.support.audit_fixtures import recorded, to_audit

CONVERT = pages.DOCS / "convert.md"


def english(clips: list[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.language == "en"]


@pytest.fixture
def sources(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    """What the page of conversion begins with, in the current folder; and what is made when it is first named."""
    monkeypatch.chdir(tmp_path)
    for clip in english(clips):
        corpora.copy(clip, Path("recordings"))
    corpora.copy(english(clips)[1], Path("recordings"), "noise.wav", text=False)
    for name, clip in zip("abc", english(clips), strict=True):
        corpora.louder(clip.path, Path(f"calls/{name}.wav"), 0.7)

    def more() -> None:
        corpora.english(Path("more"), english(clips)[:1], [0.5])

    def align() -> None:
        to_audit(Path("align"), recorded(english(clips)[:2], Path("spoken").absolute()), 1)

    return {"more": more, "align": align}


def test_the_page_of_conversion_does_what_it_says(sources: dict[str, Callable[[], None]], tmp_path: Path) -> None:
    outputs = pages.follow(CONVERT, sources, home="/data")
    shown = CONVERT.read_text(encoding="utf-8").partition("--out shards\n```\n\n```\n")[2].partition("```")[0]
    assert outputs[0].split() == shown.replace("/data", str(tmp_path)).split()
    assert any("user: " in output and "nothing was written" in output for output in outputs)
    known = {sample.audios[0].speaker.id.value for sample, _ in reader.samples("calls-shards")}
    assert known == {"bob"} and removal.ledger("calls-shards")
    grown = [sample.audios[0].source.uri for sample, _ in reader.samples("shards")]
    assert len(grown) == 3 and not any(uri.endswith("recordings/counting.wav") for uri in grown)
    moods = {sample.messages[-1].content[0].text for sample, _ in reader.samples("moods")}
    assert moods == {"calm", "happy"}


def test_the_page_of_conversion_lists_layouts_fields_and_targets() -> None:
    page = CONVERT.read_text(encoding="utf-8")
    command = "python -m llaso_data.pipeline.reference docs/sources.md docs/convert.md"
    assert page == with_layouts(page), f"run: {command}"
    fields = page.partition("<!-- fields of filters -->\n")[2].partition("\n\n")[0]
    assert fields.replace("`", "").split() == filtering.SCHEMA.names
    for targets in (mapping.METADATA_TARGETS, mapping.SAMPLE_TARGETS, mapping.LOCATION_TARGETS):
        assert " ".join(f"`{target}`" for target in targets) in page


@pytest.fixture
def models(whisper_base: Path, tmp_path: Path) -> Path:
    """A folder in which the ids of the hub that the guides name are folders with these models."""
    for name, model in (
        ("openai/whisper-base", whisper_base),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", obtained(weights.smollm2)),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(model)
    return tmp_path


@pytest.mark.slow
def test_the_page_of_own_data_ends_with_a_model_that_answers(clips: list[Clip], models: Path) -> None:
    for clip, name in zip(english(clips), ("counting", "hello", "fox"), strict=True):
        for gain in corpora.GAINS:
            corpora.louder(clip.path, models / f"recordings/{name}-{gain}.wav", gain)
        corpora.copy(clip, models / "chat", f"{name}.wav", text=False)
    for clip, name in zip(english(clips), "acb", strict=True):
        corpora.louder(clip.path, models / f"calls/{name}.wav", 0.6)
    outputs = pages.follow_as_written(pages.DOCS / "own-data.md", models)
    rows = [json.loads(line) for line in (models / "eval/predictions.jsonl").read_text("utf-8").splitlines()]
    assert [row["reference"] for row in rows] == ["Hello world."]
    assert json.loads((models / "eval/scores.json").read_text("utf-8"))["tasks"]
    assert any(path.suffix == ".html" for path in (models / "eval").iterdir())
    answer = rows[0]["answer"].strip()
    assert outputs[-1].strip() == answer and answer  # from Python as from the command: the same question


SETSWANA = ("Dumela lefatshe.", "Ke a leboga thata.", "Batho botlhe ba tsetswe ba gololosegile.")
VOICES = ("tn", "tn+f2", "tn+m3", "tn+f4", "tn+m7")
SPEAKERS = ("s1", "s2", "s3", "s7", "s14")
"""Three in the split for training, one in each of the others."""


def speak(clips: list[Clip], folder: Path) -> None:
    """``clips.csv``: three sentences by five speakers; Polish ones, called Setswana, where there is no espeak-ng."""
    polish = [clip for clip in clips if clip.language == "pl"]
    espeak = shutil.which("espeak-ng")
    rows = ["audio,text,speaker,license,consent"]
    (folder / "clips").mkdir()
    for number, (speaker, sentence) in enumerate(product(range(5), range(3)), 1):
        path = folder / f"clips/{number:04d}.wav"
        if espeak is not None:
            text = SETSWANA[sentence]
            subprocess.run([espeak, "-v", VOICES[speaker], "-w", str(path), text], check=True)
        else:
            text = polish[sentence].text
            corpora.louder(polish[sentence].path, path, 1 - 0.1 * speaker)
        rows.append(f'clips/{path.name},"{text}",{SPEAKERS[speaker]},cc-by-4.0,speech technology')
    (folder / "clips.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_the_page_of_a_language_that_whisper_lacks_ends_with_a_model(clips: list[Clip], models: Path) -> None:
    speak(clips, models)
    pages.follow_as_written(pages.DOCS / "low-resource.md", models)
    sets = {name: list(reader.samples(str(models / "sets" / name))) for name in ("train", "validation", "test")}
    assert {name: len(samples) for name, samples in sets.items()} == {"train": 9, "validation": 3, "test": 3}
    for sample, _ in (one for samples in sets.values() for one in samples):
        (spoken,) = sample.audios
        assert spoken.language == "tn" and len(spoken.words) == len((spoken.text or "").split())
        assert (spoken.source.license, spoken.source.consent) == ("cc-by-4.0", "speech technology")
    rows = [json.loads(line) for line in (models / "eval/predictions.jsonl").read_text("utf-8").splitlines()]
    assert {row["reference"] for row in rows} == {sample.audios[0].text for sample, _ in sets["test"]}
    metrics = [json.loads(line) for line in (models / "runs/tn/metrics.jsonl").read_text("utf-8").splitlines()]
    assert any("wer" in name for line in metrics for name in line)
