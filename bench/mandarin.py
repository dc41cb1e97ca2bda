"""How many lines of Mandarin pass when they are compared by characters, by syllables, or by both, and which voices.

    .venv/bin/python bench/mandarin.py --lines 48 --cache /tmp/mandarin

Instructions of the tasks in Chinese, at most 60 characters long, are spoken by Kokoro: each line by the next of its
fifteen voices, at speeds from 0.85 to 1.1. Whisper base (or --asr) transcribes them in packed windows. The table has
the lines up to each bound by the error rate of characters, of syllables with tones, of both syllable rates' mean (what
``voices.max_error`` is compared with), and of syllables without tones. Then each style of voice, alone or mixed with
another: its lines, and those that pass at 0.1. A line takes 14 core seconds without a cache. At the end come the clips
of the tests in Chinese with the same four rates.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections import defaultdict

from llaso_data.audio import Pcm, decode
from llaso_data.demo import assets
from llaso_data.demo.weights import whisper_base
from llaso_data.instruct import listing
from llaso_data.instruct.tasks import all_tasks
from llaso_data.instruct.voices import SpeechError, engine
from llaso_data.instruct.voices.cache import Line, VoiceCache
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.pipeline.listen_back import MAX_CER, Heard, listen_back
from llaso_data.pipeline.transcription import transcriber
from llaso_data.recipe import Align, Asr, Run
from llaso_data.text import pinyin
from llaso_data.whisper.load import load

BOUNDS = (0.05, 0.1, 0.15, 0.2, 0.3)
SPEEDS = (0.85, 0.95, 1.0, 1.1)
LONGEST = 60  # characters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=48)
    parser.add_argument("--cache", help="a folder; default: a temporary one")
    parser.add_argument("--asr", help="a Whisper checkpoint; default: base")
    args = parser.parse_args()
    assert pinyin.version() is not None, "pip install 'llaso[kokoro]'"
    kokoro = engine("kokoro")
    voices = kokoro.voices()["zh"]
    lines = [
        Line(text, "zh", voices[number % len(voices)], SPEEDS[number % len(SPEEDS)])
        for number, text in enumerate(texts(args.lines))
    ]
    asr = Asr(model=args.asr or str(whisper_base()))
    started = core_s()
    with tempfile.TemporaryDirectory() as folder:
        cache = VoiceCache(args.cache or folder)
        pcm = [cache.speak("kokoro", kokoro, line).at_16_khz() for line in lines]
    spoken_s, started = core_s() - started, core_s()
    transcribe = transcriber(load(asr, Run(engine="local")), asr, Align())
    heard = listen_back(transcribe, lines, pcm)
    heard_s = core_s() - started
    report(heard)
    length_s = sum(map(len, pcm)) / 16_000
    print(f"{length_s:.0f} s of speech; core seconds: speaking {spoken_s:.0f}, listening {heard_s:.0f}")
    for one in listen_back(transcribe, *control()):
        print(f"{one.line.text}: {one.cer:.2f} {one.syllables:.2f} {one.error_rate:.2f} {one.toneless:.2f}")


def control() -> tuple[list[Line], list[Pcm]]:
    """The clips of the tests in Chinese."""
    paths = sorted(assets.clips().glob("zh/*.wav"))
    read = [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in paths]
    return [Line(text, "zh", "clip") for text in read], [decode(str(path))[0] for path in paths]


def texts(count: int) -> list[str]:
    """Instructions in Chinese, in an order of no meaning."""
    tasks = all_tasks()
    found = set()
    for name in tasks.build:
        for example in listing.examples_of(tasks, name, 20):
            try:
                if example.language == "zh" and len(text := spoken_text(example.text, "zh")) <= LONGEST:
                    found.add(text)
            except SpeechError:
                continue
    return sorted(found, key=lambda text: hashlib.sha1(text.encode()).digest())[:count]


def report(heard: list[Heard]) -> None:
    """Print both tables."""
    measures = {
        "characters": lambda one: one.cer,
        "with tones": lambda one: one.syllables,
        "mean": lambda one: one.error_rate,
        "without": lambda one: one.toneless,
    }
    print(f"{'bound':<8}", *(f"{name:>12}" for name in measures), f"   of {len(heard)}")
    for bound in BOUNDS:
        passed = (sum(measure(one) <= bound for one in heard) for measure in measures.values())
        print(f"{bound:<8}", *(f"{count:>12}" for count in passed))
    styles: dict[str, list[bool]] = defaultdict(list)
    for one in heard:
        for style in one.line.voice.split("+"):
            styles[style].append(one.error_rate <= MAX_CER)
    for style, passed_lines in sorted(styles.items()):
        print(f"{style:<16} {sum(passed_lines)} of {len(passed_lines)}")


def core_s() -> float:
    """Seconds of cores that this process has used."""
    return sum(os.times()[:2])


if __name__ == "__main__":
    main()
