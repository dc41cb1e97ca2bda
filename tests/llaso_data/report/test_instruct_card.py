"""The card of an instruction set: its numbers are the summary's, its samples can be heard, and it is one inert file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import Speech
from llaso_data.instruct.voices.cache import sealed, sound_uri
from llaso_data.io import checksums, storage
from llaso_data.pipeline.instruct.speech_job import Try, write_tries
from llaso_data.report.card import write_card
from llaso_data.report.instruct_tables import known_tasks, read_summary, tasks
from llaso_data.report.spoken_lines import NOT_THERE, measured
from tests.conftest import Clip
from tests.support.browser import Browser, browser  # noqa: F401 (a fixture)
from tests.support.built_instructions import SUMMARY, asked, write_built

HOSTILE = "</script><script>hacked()</script> <img src=x onerror=hacked()> {{7*7}} &amp;"


def written(out: Path, examples: int = 10) -> str:
    return Path(write_card(str(out), examples=examples)).read_text(encoding="utf-8")


def plain(html: str) -> str:
    """What a reader sees of a page, on one line."""
    body = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    times = np.arange(16_000) / 16_000
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 220 * times), 16_000)
    return tmp_path / "tone.wav"


@pytest.fixture
def built(tmp_path: Path, sound: Path) -> Path:
    heard = asked("gender", "Man or woman?", 0, answer="female", audios=[sound], kept={"modality": "text_audio"})
    spoken = asked("gender", 0, answer="male", audios=[sound], said="Who is it?", kept={"modality": "audio"})
    answered = asked("text_to_speech", f"Say it. {HOSTILE}", answer=0, audios=[sound], kept={"modality": "text"})
    return write_built(tmp_path / "built", {"train": [spoken, answered], "test": [heard]})


def test_the_command_writes_the_card_of_an_instruction_set(built: Path) -> None:
    done = CliRunner().invoke(main, ["card", str(built)])
    assert done.exit_code == 0, done.output
    seen = plain((built / "card.html").read_text(encoding="utf-8"))
    assert "4 instructions with their answers, made of 12 rows" in seen
    assert "hibari/heart English 20 2 1.5 % 1.0 min" in seen, "the voice, with its error"
    assert "misheard 2" in seen and "kokoro/af_sky" in seen and "rows.csv:3: a.wav is not there" in seen


def test_tasks_are_counted_by_modality_language_and_split() -> None:
    gender, speech = sorted(tasks(SUMMARY, known_tasks()), key=lambda row: row.name)
    assert gender.modalities == {"text_audio": (2, "en 50% · zh 50%"), "audio": (1, "en 100%")}
    assert list(gender.splits.items()) == [("train", 2), ("test", 1)], "in the order of their use"
    assert speech.splits == {"train": 1, "test": 0}


def test_answers_of_all_languages_count_for_one_label() -> None:
    (gender,) = (row for row in tasks(SUMMARY, known_tasks()) if row.labels)
    assert [(label.name, label.number) for label in gender.labels] == [("female", 3), ("male", 1)]
    assert gender.largest == 0.75, "what a model gets right that always says female"


def test_every_sound_of_a_sample_has_a_player_and_its_bytes(built: Path) -> None:
    page = written(built)
    players = re.findall(r'data-sound="(s[\d-]+)"', page)
    assert len(players) == len(set(players)) == 3
    for name in players:
        assert re.search(rf'<script type="text/plain" id="{name}">T2dnUw', page), "Ogg, as base64"


def test_a_sound_that_is_gone_is_said_and_the_rest_is_shown(built: Path, sound: Path) -> None:
    sound.unlink()
    page = written(built)
    assert page.count("The sound cannot be heard") == 3
    assert "Man or woman?" in plain(page)


def test_a_page_without_examples_reads_no_sample(built: Path) -> None:
    (built / "train" / "samples-000000.parquet").write_bytes(b"damaged")
    assert "There is nothing to hear" in plain(written(built, examples=0))


def test_texts_of_strangers_stay_texts(built: Path) -> None:
    page = written(built)
    assert "hacked()" in page and HOSTILE not in page
    assert "<img" not in page and "{{7*7}}" in page


def test_a_damaged_or_foreign_summary_is_refused(built: Path) -> None:
    path = built / "build-instruct.json"
    path.write_text(re.sub('"rows": ?12', '"rows":13', path.read_text()))
    with pytest.raises(LLaSOError, match="checksum"):
        read_summary(str(built))
    checksums.write_json(str(path), {**SUMMARY, "format_version": 2})
    with pytest.raises(LLaSOError, match="version 2"):
        read_summary(str(built))


@pytest.mark.slow
def test_voices_are_measured_by_what_they_said_for_the_set(tmp_path: Path, clips: list[Clip]) -> None:
    work, tries = tmp_path / ".build-instruct", []
    for number, voice in enumerate(("one", "one", "other", "given up")):
        pcm, rate_hz = soundfile.read(clips[5 * number].path, dtype="int16")
        name = f"{number:032x}"
        storage.write_bytes(sound_uri(str(work / "voices"), name), sealed(Speech(pcm[: 4 * rate_hz], rate_hz)))
        reason = "misheard" if voice == "given up" else None
        text = f"Line {number}."
        tries.append(
            Try(
                number=number,
                attempt=0,
                text=text,
                language="en",
                take=0,
                engine="e",
                voice=voice,
                sound=name,
                reason=reason,
            )
        )
    write_tries(str(work), "job", tries)
    report, notes = measured(str(tmp_path), ["e/one", "e/other", "e/given up"])
    assert {name: found.lines for name, found in report.voices.items()} == {"e/one": 2, "e/other": 1}
    assert not notes or "install" in notes[0]
    report, notes = measured(str(tmp_path), ["e/other"])
    assert list(report.voices) == ["e/other"], "another run's voices are not the set's"
    assert measured(str(tmp_path / "elsewhere"), ["e/one"])[1] == [NOT_THERE]


def test_what_leaks_is_told_with_its_places(built: Path) -> None:
    seen = plain(written(built, examples=0))
    assert "1 of 11 rows is left out, because another split or a set to test on has it" in seen
    assert "a.csv:2 sound: eval e.csv:7" in seen and "short sound: 2" in seen
    write_built(built, {}, leakage={})
    assert "Leakage Not looked for." in plain(written(built, examples=0))


def test_a_browser_plays_one_sound_and_switches_tasks(built: Path, browser: Browser) -> None:  # noqa: F811
    opened = browser.open(Path(write_card(str(built))), width=420)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 420, "wide tables scroll within themselves"
    page.click("#tab2")
    page.click("#group2 .play")
    opened.until("document.querySelectorAll('#group2 .playing').length === 1", "a sound plays")
    assert not opened.errors and not opened.dialogs
    assert len(opened.requests) == 1 + sum(url.startswith("blob:") for url in opened.requests)
