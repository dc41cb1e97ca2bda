"""The corpora of ``bench/filters.py``: real prompts, clean and with faults in the audio, heard packed and alone.

What was heard is kept in a folder (encoder states: some gigabytes), because scoring ten wrong texts of a clip over its
states takes seconds and encoding it again would take hours.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from faults import cut

from llaso_data import audio
from llaso_data.align.scorer import Scorer
from llaso_data.asr.transcribe import Transcriber
from llaso_data.asr.window_decoder import Transcription
from llaso_data.audio import Pcm
from llaso_data.demo import assets
from llaso_data.filters.border_level import border_level, border_levels
from llaso_data.filters.planting import AUDIO_FAULTS, CLEAN, seeded
from llaso_data.io import storage
from llaso_data.recipe import Align, Asr
from llaso_data.records import GIVEN, Source, Utterance
from llaso_data.text.markup import clean
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.load import Whisper
from llaso_data.whisper.windows import WINDOW_SAMPLES

_SHARE = 0.15  # of the clips in a packed round that have a cut in their audio
FOREIGN = 6  # clips per language and round whose audio is in another language

EXCLUDED: dict[str, str] = {
    "conf-adminmenu-menu8": "misspelt: umute",
    "digits/h-40": "misspelt: fourtieth",
    "letters/exclaimation-point": "misspelt: exclaimation",
    "pbx-invalid": "but is said before that's (tiny.en and base)",
    "pbx-invalidpark": "but is said before there is no call (tiny.en hears it; base was not asked)",
    "queue-periodic-announce": "misspelt: represenatives",
    "spy-iax2": 'a note that nobody says: (note: does not say "2")',
    "unidentified-no-callback": "misspelt: indentified, witheld",
    "vm-forwardoptions": "the message is said, not a message (tiny.en and base)",
    "vm-savefolder": "this message is said, not the message (tiny.en and base)",
}
"""Prompts whose transcript is not what is said, by name, with the reason: they are faults, not clean pairs."""

SAME_ABROAD = ("spy-local", "spy-mgcp", "phonetic/")
"""Beginnings of prompts that are the same word in another language, letters of about the same names, or *uniform*."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A clip and the text that it is given; ``name`` is the prompt's."""

    name: str
    text: str
    pcm: Pcm
    fault: str = CLEAN


@dataclass(frozen=True, slots=True)
class Case:
    """A pair as it was heard: the forward direction's record and the states that a text is scored over."""

    pair: Pair
    utterance: Utterance
    context: EncoderStates
    run: str  # packed-0, packed-1, ... or solo: how its corpus was heard; ``utterance.decoding`` says it of the clip


@functools.cache
def english() -> list[Pair]:
    """The English prompts that fit a window, with transcripts without markup, in the order of their names."""
    folder = assets.demo_corpus(600, 60).root / "en"
    pairs = []
    for path in sorted(folder.rglob("*.g722")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        text = clean(" ".join(path.with_suffix(".txt").read_text(encoding="utf-8").split())).text
        pcm, _ = audio.decode(str(path))
        if len(pcm) <= WINDOW_SAMPLES:
            pairs.append(Pair(name, text, pcm))
    return pairs


def foreign(pairs: Sequence[Pair], number: int, count: int) -> list[Pair]:
    """The same prompts as other voices say them in Spanish, French, Italian and Russian, with the English text.

    ``count`` of each language; another ``number`` gives others.
    """
    sounds = assets.prompts() / "usr/share/asterisk/sounds"
    texts = {pair.name: pair.text for pair in pairs}
    found = []
    for code in ("es", "fr", "it", "ru"):
        folder = sounds / assets.VOICES[code].folder
        paths = {name: folder / f"{name}.g722" for name in texts}
        names = [name for name, path in paths.items() if path.exists() and path.stat().st_size > 2 * assets.MIN_BYTES]
        for name in by_hash(names, code)[number * count : (number + 1) * count]:
            found.append(Pair(name, texts[name], audio.decode(str(paths[name]))[0], AUDIO_FAULTS[2]))
    return found


def by_hash(names: Iterable[str], salt: str) -> list[str]:
    """The names in an order that looks like chance and that further names do not change."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())


def hear_all(
    whisper: Whisper, asr: Asr, folder: Path, pairs: Sequence[Pair], rounds: int, abroad: int = FOREIGN
) -> Iterator[tuple[str, list[Case]]]:
    """Every case of the pairs, run by run: (the run's name, its cases).

    The clean clips one per window; `rounds` of the packed corpus, each with other faults; the same faults alone.
    """

    def heard(name: str, pairs: Sequence[Pair], pack: bool, words: bool = False) -> list[Case]:
        path = folder / f"{name}.pt"
        if not path.exists():
            listen = _Keep(whisper, asr.model_copy(update={"pack": pack}), Align(), words)
            with storage.whole(str(path)) as written:
                torch.save(listen.cases(pairs, name), written)
            print(f"heard {path}", flush=True)
        cases: list[Case] = torch.load(path, weights_only=False)
        return [
            case
            for case in cases
            if case.pair.name not in EXCLUDED
            and not (case.pair.fault == AUDIO_FAULTS[2] and case.pair.name.startswith(SAME_ABROAD))
        ]

    yield "solo", (cases := heard("solo", pairs, False, words=True))
    cuts = {(c.pair.name, end): pcm for c in cases for end in (False, True) if (pcm := _cut(c, end)) is not None}
    order = by_hash({name for name, _ in cuts}, "cut")
    share = round(_SHARE * len(pairs))
    for number in range(rounds):
        ends = {name: k % 2 == 1 for k, name in enumerate(order[number * share : (number + 1) * share])}
        mixed, faulty = [], foreign(pairs, number, abroad)
        for pair in pairs:
            end = ends.get(pair.name, False)
            pcm = cuts.get((pair.name, end)) if pair.name in ends else None
            if pcm is not None:
                pair = dataclasses.replace(pair, pcm=pcm, fault=AUDIO_FAULTS[int(end)])
                faulty.append(pair)
            mixed.append(pair)
        for pair in faulty:
            if pair.fault == AUDIO_FAULTS[2]:
                mixed.insert(seeded(pair.name, number).randrange(len(mixed)), pair)
        yield f"packed-{number}", heard(f"packed-{number}", mixed, True)
        yield f"solo-faulty-{number}", heard(f"solo-faulty-{number}", faulty, False)


def _cut(case: Case, at_end: bool) -> Pcm | None:
    return cut(case.pair.name, case.pair.pcm, case.utterance.words, at_end)


class _Keep(Transcriber):
    """Transcribes, and keeps each clip's states instead of scoring a text over them."""

    def __init__(self, whisper: Whisper, asr: Asr, align: Align, words: bool) -> None:
        super().__init__(whisper, asr, Scorer(whisper.decoder, align))
        self._words = words
        self._contexts: dict[int, EncoderStates] = {}

    def cases(self, pairs: Sequence[Pair], run: str) -> list[Case]:
        heard = self([_utterance(pair) for pair in pairs], [pair.pcm for pair in pairs])
        return [
            Case(pair, utterance, self._contexts[i], run)
            for i, (pair, utterance) in enumerate(zip(pairs, heard, strict=True))
        ]

    def _backward(
        self,
        results: list[Utterance],
        clips: Sequence[int],
        audio: Mapping[int, Pcm],
        transcriptions: Mapping[int, Transcription],
    ) -> None:
        self._contexts.update({i: transcriptions[i].context.without_projections() for i in clips})
        if self._words:
            super()._backward(results, clips, audio, transcriptions)


def _utterance(pair: Pair) -> Utterance:
    rms_dbfs, clipped_ratio = audio.level(pair.pcm)
    levels = border_levels(pair.pcm)
    plain = Utterance(
        id=hashlib.sha256(f"{pair.name}/{pair.fault}".encode()).hexdigest()[:32],
        recording="",
        source=Source(corpus="prompts", uri=pair.name),
        duration_s=len(pair.pcm) / audio.SAMPLE_RATE_HZ,
        language="en",
        language_origin=GIVEN,
        text=pair.text,
        text_origin=GIVEN,
    )
    scores = dataclasses.replace(
        plain.scores,
        rms_dbfs=rms_dbfs,
        clipped_ratio=clipped_ratio,
        language_prob=1.0,
        border_db=None if levels is None else border_level(levels),  # words are not known here
    )
    return dataclasses.replace(plain, recording=plain.id, scores=scores)
