"""Every layout that is written gives back what it holds: the sound bit for bit, texts, speakers, languages, times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.formats import LAYOUTS
from llaso_data.pipeline.convert.carried import says
from llaso_data.records import GIVEN, Attribute, Message, Sample, Source, Speaker, Utterance, Word, utterance_id
from llaso_data.shards import reader
from tests.conftest import Clip
from tests.support import corpora
from tests.support.conversions import run
from tests.support.sample_sets import write_samples

WRITTEN = sorted(name for name in LAYOUTS if LAYOUTS[name].writer is not None)
TRANSCRIPTS = [name for name in WRITTEN if (writer := LAYOUTS[name].writer) and "text" in writer.holds]


def given(value: str) -> Attribute:
    return Attribute(value, GIVEN)


def utterance(path: Path, text: str, number: int, span: tuple[float, float] | None = None) -> Utterance:
    """An utterance of which everything is said that a corpus can say."""
    start_s, end_s = span or (None, None)
    id = utterance_id("trip", path.name, None, start_s, end_s)
    return Utterance(
        id=id,
        recording=id,
        source=Source(corpus="trip", uri=str(path), start_s=start_s, end_s=end_s, license="cc0-1.0"),
        language="en",
        language_origin=GIVEN,
        text=text,
        text_origin=GIVEN,
        words=(Word(text.split()[0], 0.1, 0.25), Word(text.split()[-1], 0.3, 0.352)),
        speaker=Speaker(
            id=given(f"speaker-{number}"), gender=given("female"), age_range=given("30-39"), accent=given("england")
        ),
        environment=given("studio"),
    )


@pytest.fixture(scope="module")
def recordings(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [corpora.copy(clip, folder, text=False) for clip in clips if clip.language == "en"][:3]


@pytest.fixture(scope="module")
def transcripts(recordings: list[Path]) -> list[Sample]:
    """Whole recordings and a span of one, with texts that formats of lines and cells find hard."""
    texts = ["Hello world, she said.", 'A "quoted" text | with a pipe', "Ünïcode, naïve café 世界", "plain words"]
    spans = [None, None, None, (0.25, 0.9)]
    paths = [*recordings, recordings[0]]
    return [
        Sample(
            task="asr",
            messages=(Message.of("user", "Transcribe.", 0), Message.of("assistant", text)),
            audios=(utterance(path, text, number, span),),
            language="en",
            split="train",
        )
        for number, (path, text, span) in enumerate(zip(paths, texts, spans, strict=True))
    ]


@pytest.fixture(scope="module")
def conversations(recordings: list[Path]) -> list[Sample]:
    """Two turns, two audios, an audio as the answer, no audio."""
    bare = [replace(utterance(path, "what is said", number), words=()) for number, path in enumerate(recordings)]
    return [
        Sample(
            task="chat",
            messages=(
                Message.of("system", "Be brief."),
                Message.of("user", "Who speaks?", 0),
                Message.of("assistant", "Ann."),
                Message.of("user", "And here?", 1),
                Message.of("assistant", 'Bob: <b> & "c"\n.'),
            ),
            audios=(bare[0], bare[1]),
            language="en",
        ),
        Sample(task="speak", messages=(Message.of("user", 0), Message.of("assistant", 1)), audios=(bare[1], bare[2])),
        Sample(task="text", messages=(Message.of("user", "One and one?"), Message.of("assistant", "Two."))),
    ]


def pcm_of(sample: Sample, sounds: dict[str, bytes] | None = None) -> list[bytes]:
    if sounds is not None:
        return [audio.decode_bytes(data).tobytes() for data in sounds.values()]
    return [
        audio.decode(one.source.uri, one.source.member, one.source.start_s, one.source.end_s)[0].tobytes()
        for one in sample.audios
    ]


def by_sound(pairs: list[tuple[Sample, dict[str, bytes] | None]]) -> dict[tuple[bytes, ...], Sample]:
    return {tuple(pcm_of(sample, sounds)): sample for sample, sounds in pairs}


def there_and_back(made: list[Sample], to: str, folder: Path, **options: Any) -> dict[tuple[bytes, ...], Sample]:
    """The samples that are read back of what was written in a layout, by their sound."""
    write_samples(made, folder / "set")
    there = run(folder / to, folder / "set", to=to, **options)
    assert there.rows == len(made)
    run(folder / "back", folder / to)
    return by_sound([*reader.samples(str(folder / "back"))])


FIELDS: dict[str, Callable[[Utterance], Any]] = {
    "text": lambda one: one.text,
    "language": lambda one: one.language,
    "speaker": lambda one: one.speaker.id.value,
    "gender": lambda one: one.speaker.gender.value,
    "age": lambda one: one.speaker.age_range.value,
    "accent": lambda one: one.speaker.accent.value,
    "environment": lambda one: one.environment.value,
    "license": lambda one: one.source.license,
    "words": lambda one: [(word.text, round(word.start_s, 3), round(word.end_s, 3)) for word in one.words],
}


@pytest.mark.parametrize("to", TRANSCRIPTS)
@pytest.mark.parametrize("kept", [None, "flac"])
def test_transcripts_come_back_with_all_that_the_layout_holds(
    transcripts: list[Sample], tmp_path: Path, to: str, kept: str | None
) -> None:
    writer = LAYOUTS[to].writer
    assert writer is not None
    back = there_and_back(transcripts, to, tmp_path, **({} if kept is None else {"audio": kept}))
    before = by_sound([(sample, None) for sample in transcripts])
    assert back.keys() == before.keys()
    for sound, sample in before.items():
        same = back[sound]
        assert same.messages[-1] == sample.messages[-1]
        for name in sorted(FIELDS.keys() & writer.holds):
            assert FIELDS[name](same.audios[0]) == FIELDS[name](sample.audios[0]), name
        assert says(same) <= says(sample) | {"kept", "source"}, "the layout invents something"


CONVERSATIONS = [name for name in WRITTEN if (writer := LAYOUTS[name].writer) and "conversation" in writer.holds]


@pytest.mark.parametrize("to", CONVERSATIONS)
def test_conversations_come_back_turn_by_turn_or_are_refused_by_name(
    conversations: list[Sample], tmp_path: Path, to: str
) -> None:
    writer = LAYOUTS[to].writer
    assert writer is not None
    held = [sample for sample in conversations if writer.refuses(sample) is None]
    assert held, "it holds none of them"
    write_samples(conversations, tmp_path / "set")
    there = run(tmp_path / to, tmp_path / "set", to=to)
    assert (there.samples, there.problems.get("not_held", 0)) == (len(held), len(conversations) - len(held))
    run(tmp_path / "back", tmp_path / to)
    back = by_sound([*reader.samples(str(tmp_path / "back"))])
    before = by_sound([(sample, None) for sample in held])
    assert back.keys() == before.keys()
    for sound, sample in before.items():
        assert back[sound].messages == sample.messages
        if "task" in writer.holds:
            assert back[sound].task == sample.task


@pytest.mark.parametrize("to", [name for name in TRANSCRIPTS if name not in CONVERSATIONS])
def test_layouts_of_transcripts_refuse_conversations_by_name(
    conversations: list[Sample], transcripts: list[Sample], tmp_path: Path, to: str
) -> None:
    write_samples([*conversations, *transcripts[:1]], tmp_path / "set")
    summary = run(tmp_path / "out", tmp_path / "set", to=to)
    assert (summary.samples, summary.problems) == (1, {"not_held": 3})


def test_numbers_of_sound_are_those_of_the_recordings(transcripts: list[Sample]) -> None:
    assert all(len(np.frombuffer(sound[0], np.int16)) > 1000 for sound in by_sound([(s, None) for s in transcripts]))
