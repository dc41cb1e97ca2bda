"""What voices say of the project's own instructions, and what Whisper hears of it.

    .venv/bin/python bench/voices.py --engine hibari --engine espeak-ng --texts 20

Instructions of every task are spoken by the voices that each engine has, at most --voices of a language, drawn evenly
from its list. They are then transcribed in packed windows by Whisper base (or --asr). A line is one voice: words wrong
after normalisation (characters for Mandarin), lines above the bound of listening back, and the speed, in seconds of
speech for one second of a core (without a cache of an earlier run), and core seconds of listening. The last line has
the texts that were refused, by reason.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Sequence

from llaso_data.audio.mixing import SAMPLE_RATE_HZ, Pcm
from llaso_data.demo.weights import whisper_base
from llaso_data.instruct import listing
from llaso_data.instruct.tasks import all_tasks
from llaso_data.instruct.voices import SpeechError, VoiceEngine, engine
from llaso_data.instruct.voices.cache import Line, VoiceCache
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.pipeline.listen_back import Transcribe, listen_back, tallies
from llaso_data.pipeline.transcription import transcriber
from llaso_data.recipe import Align, Asr, Run
from llaso_data.whisper.load import load

LANGUAGES = ("en", "zh")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", required=True)
    parser.add_argument("--texts", type=int, default=20, help="texts of a voice")
    parser.add_argument("--voices", type=int, default=4, help="voices of an engine and a language")
    parser.add_argument("--voice", action="append", help="these voices instead")
    parser.add_argument("--language", action="append", choices=LANGUAGES)
    parser.add_argument("--cache", help="a folder; default: a temporary one")
    parser.add_argument("--asr", help="a Whisper checkpoint; default: base")
    args = parser.parse_args()
    texts, refused = speakable(args.texts)
    asr, run = Asr(model=args.asr or str(whisper_base())), Run()
    transcribe = transcriber(load(asr, run), asr, Align())
    print(f"{'engine':<10} {'voice':<22} {'lang':<5}{'lines':>6}{'wrong':>10}{'rejected':>9}", end="")
    print(f"{'speech s':>9}{'x real':>7}{'heard s':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.engine:
            own = engine(name)
            for language in args.language or LANGUAGES:
                known = own.voices().get(language, ())
                wanted = [voice for voice in args.voice if voice in known] if args.voice else spread(known, args.voices)
                for voice in wanted:
                    lines = [Line(text, language, voice) for text in texts[language]]
                    report(name, own, lines, VoiceCache(args.cache or folder), transcribe)
    print("refused:", ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items())) or "none")


def report(name: str, own: VoiceEngine, lines: list[Line], cache: VoiceCache, transcribe: Transcribe) -> None:
    """Speak the lines of one voice, listen, and print."""
    spoken_s, pcm = spoken(name, own, lines, cache)
    started = core_s()
    heard = listen_back(transcribe, lines, pcm)
    heard_s = core_s() - started
    (((voice, language), tally),) = tallies(heard).items()
    length_s = sum(map(len, pcm)) / SAMPLE_RATE_HZ
    wrong = f"{tally.errors}/{tally.words}"
    print(f"{name:<10} {voice:<22} {language:<5}{tally.lines:>6}{wrong:>10}{tally.rejected:>9}", end="")
    print(f"{length_s:>9.1f}{length_s / max(spoken_s, 1e-9):>7.1f}{heard_s:>9.1f}", flush=True)


def speakable(count: int) -> tuple[dict[str, list[str]], Counter[str]]:
    """Texts of instructions by language, taken from the tasks in turn, and how many were refused by reason."""
    tasks = all_tasks()
    texts: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    refused: Counter[str] = Counter()
    by_task = [list(listing.examples_of(tasks, name, 3)) for name in tasks.build]
    for number in range(max(map(len, by_task))):
        for example in (examples[number] for examples in by_task if number < len(examples)):
            language = example.language
            try:
                text = spoken_text(example.text, language)
            except SpeechError as error:
                refused[error.reason] += 1
                continue
            if len(texts[language]) < count and text not in texts[language]:
                texts[language].append(text)
    return texts, refused


def spread(voices: Sequence[str], count: int) -> list[str]:
    """At most so many of the voices, evenly from their list."""
    taken = min(count, len(voices))
    return [voices[number * len(voices) // taken] for number in range(taken)]


def spoken(name: str, own: VoiceEngine, lines: list[Line], cache: VoiceCache) -> tuple[float, list[Pcm]]:
    """The core seconds of speaking, those of commands too, and the samples at 16 kHz."""
    started = core_s()
    speeches = [cache.speak(name, own, line) for line in lines]
    return core_s() - started, [speech.at_16_khz() for speech in speeches]


def core_s() -> float:
    """Seconds of cores that this process and the commands that ended have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
