"""The quality of voices: each by some of its lines; a voice is more like itself than like another."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from llaso_data.instruct.voices import engine
from llaso_data.instruct.voices.cache import Line, VoiceCache
from llaso_data.pipeline.instruct.spoken import SpeechRequest, SpokenLine
from llaso_data.pipeline.instruct.voice_quality import LINES, voice_quality

TEXTS = ("Please tell me what the speaker says in this recording.", "What emotion does the voice convey to you?")


def said(name: str, voice: str, folder: Path, text: str, take: int = 0) -> SpokenLine:
    own, line = engine(name), Line(text, "en", voice)
    cache = VoiceCache(str(folder))
    speech = cache.speak(name, own, line)
    return SpokenLine(
        request=SpeechRequest(text, "en", take),
        engine=name,
        voice=voice,
        speed=1.0,
        seed=0,
        cer=0.05,
        hypothesis=text,
        attempt=0,
        duration_s=speech.duration_s,
        uri=cache.path(name, own, line),
        licence=own.licence,
    )


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("hibari") and shutil.which("espeak-ng")), reason="hibari or espeak-ng is missing")
@pytest.mark.skipif(not (find_spec("speechmos") and find_spec("resemblyzer")), reason="an extra is missing")
def test_voices_are_measured_and_compared(tmp_path: Path) -> None:
    voices = (("hibari", "heart"), ("espeak-ng", "en-gb+m1"))
    report = voice_quality([said(*voice, tmp_path, text) for voice in voices for text in TEXTS])
    assert list(report.voices) == ["espeak-ng/en-gb+m1", "hibari/heart"] and not report.skipped
    machine, human = report.voices.values()
    assert machine.lines == human.lines == 2 and human.cer == 0.05
    assert machine.dnsmos is not None and human.dnsmos is not None and human.dnsmos > 2.5
    for one in (machine, human):
        assert one.own_cosine is not None and one.other_cosine is not None and one.own_cosine > one.other_cosine
    assert machine.other_cosine == human.other_cosine


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("hibari"), reason="hibari is not installed")
def test_what_cannot_be_measured_is_named_with_what_it_needs(tmp_path: Path) -> None:
    """In a process that finds neither package."""
    line = said("hibari", "heart", tmp_path, TEXTS[0])
    lines = [dataclasses.replace(line, request=SpeechRequest(TEXTS[0], "en", take)) for take in range(LINES + 5)]
    code = (
        "import importlib.util, pickle, sys\n"
        "there = importlib.util.find_spec\n"
        "gone = ('speechmos', 'resemblyzer')\n"
        "importlib.util.find_spec = lambda name, *a: None if name in gone else there(name, *a)\n"
        "from llaso_data.pipeline.instruct.voice_quality import voice_quality\n"
        "report = voice_quality(pickle.load(sys.stdin.buffer))\n"
        "print(sorted(report.skipped.items())); print(report.voices['hibari/heart'])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(lines), capture_output=True, check=True)
    said_of = done.stdout.decode()
    assert "llaso[quality]" in said_of and "llaso[speakers]" in said_of
    assert "lines=20" in said_of and "dnsmos=None" in said_of
