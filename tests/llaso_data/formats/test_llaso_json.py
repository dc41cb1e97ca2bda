"""LLaSO's JSON as it is published, with real speech: read, recognised, counted, written and read again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llaso_data import formats
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.suffixes import SuffixIndex
from llaso_data.formats.llaso_json import LAYOUT
from llaso_data.formats.writing.writer import SoundedSample
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Message, Provenance, Sample
from tests.conftest import Clip
from tests.support.written_layouts import spoken, write_set

pytest.importorskip("msgspec")


def row(voice: str, asked: str, said: str, /, **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
    return {"voice": [voice], "conversations": turns, **more}


ROWS = {
    "text_audio/ASR_stage1_train.json": [
        row("mls/test_16000\\a.wav", "Transcribe.<audio>", "one two", index=0, speaker_id="10226", book_id="7"),
        row("mls/test_16000\\gone.wav", "Transcribe.<audio>", "three", index=1, speaker_id="10226"),
    ],
    "text_audio/CREMAD_ER_classification_test.json": [
        row("CremaD/Audio\\1067_WSI.wav", "Which emotion?<audio>", "sadnessf"),
        row("CremaD/Audio\\1067_WSI.wav", "Which emotion?<audio>", "Anger.", answer="Joy."),
    ],
    "text_audio/common-voice_age_classification_test.json": [
        row("cv/data\\b.wav", "Age?<audio>", "Fourties", metadata={"gender": "male", "sentence": "Hi.", "accents": ""}),
    ],
    "text_audio/vocalsound_gender_classification_test.json": [
        row("cv/data\\b.wav", "Gender?<audio>", "Female", metadata={"spk_id": "f2", "label": "f2", "speaker_age": 34}),
    ],
    "audio_text/dolly_instruction_0_train.json": [
        row("dolly\\c.wav", "<audio>Read <this>.", "<audio> is a tag", id="5")
    ],
    "pure_audio/1M_GPT4_end_train.json": [
        row("gpt4\\d.wav", "Listen to the audio and respond accordingly.<audio>", "Yes.", new_field={"a": [1]}),
    ],
}


@pytest.fixture
def corpus(tmp_path: Path, clips: Sequence[Clip]) -> Path:
    """The published tree, with archives unpacked into folders of other names."""
    root = tmp_path / "LLaSO"
    for path, rows in ROWS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    audio = (
        "mls/test_16000/a.wav",
        "Audio/1067_WSI.wav",
        "cv/data/b.wav",
        "dolly/c.wav",
        "gpt4/d.wav",
        "other/data/b.wav",
    )
    for number, path in enumerate(audio):
        target = root / f"part{number}" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips[number].path, target)
    return root


def read(path: Path, **spec: Any) -> list[Any]:
    return [
        one if isinstance(one, Failure) else one.sample
        for one in formats.read_samples(SourceSpec(path=str(path), **spec))
    ]


def test_the_published_tree_is_recognised_and_read(corpus: Path) -> None:
    layout, why = formats.recognise(SourceSpec(path=str(corpus)))
    assert (layout.name, why) == (
        "llaso_json",
        "the first row of audio_text/dolly_instruction_0_train.json has `voice` and `conversations`",
    )
    dolly, gpt4, asr, missing, sad, angry, age, gender = read(corpus, corpus="LLaSO", language="en")
    assert isinstance(missing, Failure)
    assert (missing.reason, missing.detail.partition(": ")[0]) == (
        "missing",
        f"{corpus}/text_audio/ASR_stage1_train.json:2",
    )
    assert (asr.task, asr.split, asr.language, asr.modality) == ("asr", "train", "en", "text+audio")
    assert asr.messages == (Message.of("user", "Transcribe.", 0), Message.of("assistant", "one two"))
    (audio,) = asr.audios
    assert (audio.text, audio.speaker.id.value) == ("one two", "10226")
    assert audio.source.uri == f"{corpus}/part0/mls/test_16000/a.wav"
    assert asr.provenance == Provenance(
        layout="llaso_json",
        file="text_audio/ASR_stage1_train.json",
        row=1,
        kept={"index": 0, "book_id": "7", "derived": {"modality": "text_audio"}},
    )
    assert [one.provenance.kept["derived"] for one in (sad, angry, age, gender)] == [
        {"modality": "text_audio", "label": label} for label in ("sadness", "anger", "forties", "female")
    ]
    assert sad.messages[-1] == Message.of("assistant", "sadnessf")  # as it is written
    assert angry.provenance.kept["answer"] == "Joy."
    assert (sad.task, sad.audios[0].speaker.id.value, angry.audios[0].id) == ("emotion", "1067", sad.audios[0].id)
    assert age.audios[0].source.uri.endswith("part2/cv/data/b.wav")  # not the other b.wav
    assert (age.audios[0].text, age.audios[0].speaker.gender.value) == ("Hi.", "male")
    assert (gender.audios[0].speaker.id.value, gender.audios[0].speaker.age_range.value) == ("f2", "30-39")
    assert dolly.messages == (Message.of("user", 0, "Read <this>."), Message.of("assistant", "<audio> is a tag"))
    assert (dolly.task, dolly.provenance.kept) == ("aqa", {"id": "5", "derived": {"modality": "audio_text"}})
    assert gpt4.messages[0] == Message.of("user", "Listen to the audio and respond accordingly.", 0)
    assert gpt4.provenance.kept == {
        "new_field": {"a": [1]},
        "derived": {"modality": "pure_audio", "carrier": True},
    }


@pytest.mark.parametrize(
    ("name", "stated", "license"),
    [
        ("LLaSO-Instruct", None, "cc-by-nc-4.0"),
        ("LLaSO-Eval", None, "cc-by-nc-4.0"),
        ("LLaSO-Instruct", "ours", "ours"),
        ("LLaSO-Align", None, None),
        ("mine", None, None),
    ],
)
def test_the_published_sets_carry_their_licence(
    corpus: Path, name: str, stated: str | None, license: str | None
) -> None:
    rows = [one for one in read(corpus, corpus=name, license=stated) if isinstance(one, Sample)]
    assert {audio.source.license for sample in rows for audio in sample.audios} == {license}


def test_one_file_is_read_as_in_its_tree_and_ids_depend_on_neither(corpus: Path) -> None:
    shutil.copytree(corpus / "part0", corpus, dirs_exist_ok=True)
    path = corpus / "text_audio" / "ASR_stage1_train.json"
    assert formats.recognise(SourceSpec(path=str(path))).layout.name == "llaso_json"
    one, missing = read(path, corpus="LLaSO")
    assert (one.task, one.provenance.kept["derived"]) == ("asr", {"modality": "text_audio"})
    assert missing.reason == "missing"
    (in_tree,) = (s for s in read(corpus, corpus="LLaSO") if not isinstance(s, Failure) and s.task == "asr")
    assert in_tree.id == one.id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conversations": [{"from": "human", "value": "<audio> or <audio>?"}]}, "2 audio tags and 1 audio;"),
        ({"conversations": [{"from": "tool", "value": "<audio>"}]}, "a turn is by 'tool'"),
        ({"conversations": []}, "there is no message"),
        ({"conversations": [{"from": "human"}]}, "other types"),
        ({"conversations": "none"}, "other types"),
        ({"voice": 7}, "other types"),
        ({"voice": ["s3://user:pass@bucket/a.wav"]}, "holds a user's name or password"),
        ({"voice": ["simplecache::s3://b/a.wav"]}, "address of addresses"),
        ({"voice": ["../../etc/passwd"]}, "no such audio"),
        ({"voice": [""]}, "no such audio"),
        ({"metadata": {"x": "\ud800"}}, "cannot be kept as JSON"),
    ],
)
def test_a_broken_row_is_counted_with_file_and_row(corpus: Path, change: dict[str, Any], message: str) -> None:
    good = ROWS["text_audio/ASR_stage1_train.json"][0]
    path = corpus / "text_audio" / "ASR_stage1_train.json"
    path.write_text(json.dumps([good, {**good, **change}, good], indent=2))
    first, broken, last = read(corpus, pattern="text_audio/ASR*")
    assert first.messages == last.messages
    assert isinstance(broken, Failure)
    assert message in broken.detail and broken.detail.startswith(f"{path}:2: ")
    assert "pass@" not in broken.detail


def test_numbers_that_json_has_not_become_null(corpus: Path) -> None:
    path = corpus / "text_audio" / "ASR_stage1_train.json"
    good = ROWS["text_audio/ASR_stage1_train.json"][0]
    path.write_text(json.dumps([{**good, "metadata": {"wer": float("nan")}}], indent=2))
    (sample,) = read(corpus, pattern="text_audio/ASR*")
    assert sample.provenance.kept["metadata"] == {"wer": None}


def test_files_that_are_something_else_are_named(corpus: Path) -> None:
    (corpus / "gpt_result").mkdir()
    (corpus / "gpt_result" / "a.jsonl").write_text('{"index": 0}\n')
    notes: Counter[str] = Counter()
    assert len(list(formats.read_samples(SourceSpec(path=str(corpus)), notes))) == 8
    assert notes == {"not read: JSON without `voice` and `conversations`: gpt_result/a.jsonl": 1}
    with pytest.raises(LLaSOError, match="hold conversations, and no corpus to transcribe"):
        formats.read(SourceSpec(path=str(corpus)))


def test_the_longest_common_end_decides_and_then_the_shortest_path() -> None:
    names = ["a/b/x.wav", "c/x.wav", "p/c/b/x.wav", "q/long/x.wav", "x.wav"]
    index = SuffixIndex(lambda: names, len(names), names.__getitem__)
    for path, found in {
        "c/x.wav": "c/x.wav",
        "z/c/b/x.wav": "p/c/b/x.wav",
        "b/x.wav": "a/b/x.wav",
        "none/x.wav": "x.wav",
        "none/y.wav": None,
        "": None,
    }.items():
        match = index.find(path)
        assert (None if match is None else names[match[0]]) == found


def test_what_is_written_holds_what_it_says(clips: Sequence[Clip], tmp_path: Path) -> None:
    samples = [spoken(clip, number) for number, clip in enumerate(clips[:3])]
    two = replace(
        samples[0].sample,
        task="compare",
        split=None,
        messages=(
            Message.of("system", "Be brief."),
            Message.of("user", "Is ", 0, " like ", 1, "?"),
            Message.of("assistant", "A tag is <audio>."),
            Message.of("user", "Why?"),
            Message.of("assistant", "It is."),
        ),
        audios=(samples[0].sample.audios[0], samples[1].sample.audios[0]),
        provenance=Provenance(kept={"id": 7, "note": {"a": [1, None]}, "metadata": {"x": 1}}),
    )
    both = SoundedSample(key="both", sample=two, sounds=(samples[0].sounds[0], samples[1].sounds[0]))
    write_set(LAYOUT, [*samples, both], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "text_audio").iterdir()} == {"asr_train.json", "compare.json"}
    assert formats.recognise(SourceSpec(path=str(tmp_path / "out"))).layout is LAYOUT
    back = read(tmp_path / "out")
    expected = [one.sample for one in (*samples, both)]
    for one, other in zip(back, expected, strict=True):
        assert (one.task, one.split, one.language) == (other.task, other.split, other.language)
        assert one.messages == other.messages
        assert [audio.speaker for audio in one.audios] == [audio.speaker for audio in other.audios]
    assert {name: back[-1].provenance.kept[name] for name in ("id", "note", "metadata")} == two.provenance.kept  # type: ignore[union-attr]
    for sounded, sample in zip((*samples, both), back, strict=True):
        for sound, audio in zip(sounded.sounds, sample.audios, strict=True):
            assert Path(audio.source.uri).read_bytes() == sound.data


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((Message.of("user", "a <audio>", 0), Message.of("assistant", "x")), "holds <audio>"),
        ((Message.of("user", "x"), Message.of("assistant", 0)), "an answer is spoken"),
        ((Message.of("user", "x", "y", 0),), "two texts"),
    ],
)
def test_what_it_cannot_hold_is_refused(clips: Sequence[Clip], messages: tuple[Message, ...], why: str) -> None:
    sample: Sample = replace(spoken(clips[0]).sample, messages=messages)
    assert LAYOUT.writer is not None
    assert why in str(LAYOUT.writer.refuses(sample))
