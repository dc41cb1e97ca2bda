"""The demo's recordings: which prompts are speech, which are drawn, and what is used where apt is missing."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from llaso_data.demo import assets
from tests.conftest import obtained

TEXT = """; Core Asterisk Sounds in English

activated: Activated.
beep: [this is a simple beep tone]
confbridge-join: <beep ascending>
letters/at: at [@]
note: press 1: then 2
silence/1: silence
"""


def test_transcripts_are_read_as_they_are() -> None:
    texts = assets.transcripts(TEXT)
    assert texts["note"] == "press 1: then 2"
    assert texts["letters/at"] == "at [@]"
    assert [name for name in texts if assets.spoken(texts, name)] == ["activated", "letters/at", "note"]


def test_a_larger_draw_keeps_the_smaller_one() -> None:
    names = [f"prompt-{i}" for i in range(100)]
    small, large = assets.draw(names, 10, "es"), assets.draw(names[::-1], 30, "es")
    assert len(small) == 10 and set(small) < set(large)
    assert small == sorted(small)
    assert small != assets.draw(names, 10, "it")


def test_the_corpus_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    obtained(assets.prompts)
    corpus = assets.demo_corpus(english=12, others=3)
    assert corpus.languages == ("en", "es", "fr", "it", "ru")
    counts = [len(list(folder.rglob("*.g722"))) for folder in corpus.folders]
    assert counts == [12, 3, 3, 3, 3]
    english = sorted(corpus.folders[0].rglob("*.g722"))
    assert all(path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in english)
    assert not list(corpus.root.rglob("silence"))
    source = corpus.sources()[3]
    assert (source.path, source.language, source.gender) == (str(corpus.root / "it"), "it", "male")
    before = [path.stat().st_ino for path in english]
    monkeypatch.setenv("PATH", "")  # neither apt nor pip can be found any more
    assert assets.demo_corpus(english=12, others=3) == corpus
    assert [path.stat().st_ino for path in english] == before


def test_without_apt_other_clips_are_used_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = obtained(assets.clips)
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path))
    shutil.copytree(kept, tmp_path / kept.name)
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        corpus = assets.demo_corpus()
    assert "no apt-get" in caplog.text and "pytest-audioeval" in caplog.text
    assert corpus.languages == ("en", "es", "fr", "it")
    assert all(len(list(folder.glob("*.wav"))) == 3 for folder in corpus.folders)
    assert [source.speaker for source in corpus.sources()] == [None] * 4
