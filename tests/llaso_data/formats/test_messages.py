"""Messages with audios in the columns and spellings in use: read, recognised, counted, written and read again."""

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
from llaso_data.formats.messages import LAYOUT
from llaso_data.formats.writing.writer import SoundedSample
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Message, Provenance, Sample
from tests.conftest import Clip
from tests.support.written_layouts import spoken, write_set

ASKED = Message.of("user", 0, "What is said?")
ANSWER = Message.of("assistant", "Hello.")
PLAIN = (ASKED, ANSWER)


@pytest.fixture
def folder(tmp_path: Path, clips: Sequence[Clip]) -> Path:
    for name, clip in zip(("a.wav", "b.wav"), clips, strict=False):
        shutil.copyfile(clip.path, tmp_path / name)
    return tmp_path


def write_rows(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, **spec: Any) -> list[Any]:
    source = SourceSpec(path=str(path), **spec)
    return [one if isinstance(one, Failure) else one.sample for one in formats.read_samples(source)]


def said(user: Any, assistant: Any = "Hello.") -> list[dict[str, Any]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


AUDIO = {"type": "text", "text": "What is said?"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": said("<audio>What is said?"), "audios": ["a.wav"]},
        {"messages": said("<|AUDIO|>What is said?"), "audios": ["a.wav"]},
        {"messages": said("<AUDIO>What is said?"), "audios": "a.wav"},
        {"messages": said("What is said?"), "audios": [{"path": "a.wav", "bytes": None}]},
        {"messages": said([{"type": "audio", "audio": "a.wav"}, AUDIO])},
        {"messages": said([{"type": "audio", "audio_url": "a.wav"}, AUDIO], [{"type": "text", "text": "Hello."}])},
        {"messages": said([{"type": "audio_url", "audio_url": {"url": "a.wav"}}, AUDIO])},
        {"messages": said([{"type": "input_audio", "input_audio": {"data": "a.wav", "format": "wav"}}, AUDIO])},
        {"messages": said([{"type": "audio"}, AUDIO]), "audios": ["a.wav"]},
        {"query": "<audio>What is said?", "response": "Hello.", "audios": ["a.wav"]},
        {"instruction": "What is said?", "input": "", "output": "Hello.", "audios": ["a.wav"]},
        {
            "conversations": [{"from": "human", "value": "<audio>What is said?"}, {"from": "gpt", "value": "Hello."}],
            "audios": ["a.wav"],
        },
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_every_spelling_gives_the_same_sample(folder: Path, row: dict[str, Any], form: str) -> None:
    path = folder / f"data.{form}"
    path.write_text(json.dumps([row], indent=2) if form == "json" else json.dumps(row))
    assert formats.recognise(SourceSpec(path=str(path))).layout.name == "messages"
    assert formats.recognise(SourceSpec(path=str(folder))).layout.name == "messages"
    (sample,) = read(path)
    assert sample.messages == PLAIN
    assert [audio.source.uri for audio in sample.audios] == [f"{folder}/a.wav"]
    assert (sample.task, sample.provenance) == ("conversation", Provenance(layout="messages", file=path.name, row=1))


def test_history_system_and_what_is_known_of_audios(folder: Path) -> None:
    row = {
        "system": "Be brief.",
        "history": [["<audio>Who?", "She."]],
        "query": "And here: <audio>",
        "response": "He.",
        "audios": ["a.wav", "b.wav"],
        "audio_info": [{"speaker": "s1", "gender": "F", "start": 0.1, "end": 0.5}, {"language": "de"}],
        "task": "speaker",
        "language": "en",
        "split": "test",
        "id": "x1",
    }
    (sample,) = read(write_rows(folder / "q.jsonl", row))
    assert [(message.role, [part.text for part in message.content]) for message in sample.messages] == [
        ("system", ["Be brief."]),
        ("user", [None, "Who?"]),
        ("assistant", ["She."]),
        ("user", ["And here: ", None]),
        ("assistant", ["He."]),
    ]
    first, second = sample.audios
    assert (first.speaker.id.value, first.speaker.gender.value, first.language) == ("s1", "female", "en")
    assert (first.source.start_s, first.source.end_s, second.language) == (0.1, 0.5, "de")
    assert (sample.task, sample.language, sample.split, sample.provenance.kept) == (
        "speaker",
        "en",
        "test",
        {"id": "x1"},
    )


def test_dataset_info_says_which_columns_and_tags(folder: Path) -> None:
    described = {
        "mine": {
            "file_name": "mine.json",
            "formatting": "sharegpt",
            "columns": {"messages": "talk", "audios": "sounds", "system": "rule"},
            "tags": {"role_tag": "by", "content_tag": "text", "user_tag": "caller", "assistant_tag": "agent"},
        },
        "flat": {"file_name": "flat.json", "columns": {"prompt": "ask", "response": "reply", "audios": "sounds"}},
        "elsewhere": {"hf_hub_url": "someone/something"},
        "gone": {"file_name": "gone.json"},
    }
    (folder / "dataset_info.json").write_text(json.dumps(described))
    talk = [{"by": "caller", "text": "<audio>What is said?"}, {"by": "agent", "text": "Hello."}]
    (folder / "mine.json").write_text(json.dumps([{"talk": talk, "sounds": ["a.wav"], "rule": ""}]))
    (folder / "flat.json").write_text(
        json.dumps([{"ask": "<audio>What is said?", "reply": "Hello.", "sounds": ["a.wav"]}])
    )
    (folder / "not_named.json").write_text(json.dumps([{"messages": said("x")}]))
    layout, why = formats.recognise(SourceSpec(path=str(folder)))
    assert (layout.name, why) == ("messages", "its dataset_info.json names files in it")
    assert [sample.messages for sample in read(folder)] == [PLAIN, PLAIN]
    assert [sample.messages for sample in read(folder / "mine.json")] == [PLAIN]
    notes: Counter[str] = Counter()
    list(formats.read_samples(SourceSpec(path=str(folder / "dataset_info.json")), notes))
    assert notes == {
        "named by dataset_info.json and not there: gone.json": 1,
        "not read: sets of dataset_info.json that have no file here: elsewhere": 1,
    }
    assert [sample.messages for sample in read(folder / "dataset_info.json")] == [PLAIN, PLAIN]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": said("<audio> and <audio>"), "audios": ["a.wav"]}, "2 audio tags and 1 audio;"),
        ({"messages": said("no tag"), "audios": ["a.wav", "b.wav"]}, "0 audio tags and 2 audios;"),
        ({"messages": said("<audio>")}, "1 audio tag and 0 audios;"),
        (
            {"messages": [*said("<audio>"), {"role": "tool", "content": "7"}], "audios": ["a.wav"]},
            "by 'tool'; calls of",
        ),
        ({"messages": [*said("x"), {"role": "observation", "content": "7"}]}, "by 'observation'; calls of tools"),
        ({"messages": [*said("x"), {"role": "narrator", "content": "7"}]}, "by 'narrator'; roles are system"),
        ({"messages": said([{"type": "image_url", "image_url": "a.png"}])}, "type 'image_url'"),
        ({"messages": said([{"type": "audio", "audio": "data:audio/wav;base64,AAAA"}])}, "the sound itself stands in"),
        ({"messages": said([{"type": "input_audio", "input_audio": {"data": "QUJD" * 2000}}])}, "the sound itself"),
        ({"messages": said([{"type": "input_audio", "input_audio": {"data": "UklGRg=="}}])}, "the sound itself"),
        ({"messages": said("<audio>"), "audios": [{"bytes": "QUJD", "path": "a.wav"}]}, "the sound itself stands in"),
        ({"messages": said("<audio>"), "audios": ["none.wav"]}, "none.wav: no such audio"),
        ({"messages": said("<audio>"), "audios": [""]}, "named by its path"),
        ({"messages": said("<audio>"), "audios": ["zip::s3://b/a.wav"]}, "address of addresses"),
        ({"messages": said("<audio>"), "audios": ["a.wav"], "audio_info": []}, None),
        ({"messages": said("<audio>"), "audios": ["a.wav"], "audio_info": [{}, {}]}, "an object for each of the 1"),
        (
            {"messages": said("<audio>"), "audios": ["a.wav"], "audio_info": [{"start": "soon"}]},
            "not a number of seconds",
        ),
        ({"messages": said("<audio>"), "audios": ["a.wav"], "language": "xx1"}, "is no language"),
        ({"messages": said("<audio>"), "audios": ["a.wav"], "split": "dev"}, "none of train, validation, test"),
        ({"messages": said("a \ud800")}, "half a surrogate pair"),
        ({"messages": []}, "neither `messages`"),
        ({"messages": said(7)}, "a text or a list of parts"),
        ([1, 2], "not a JSON object"),
    ],
)
def test_a_broken_row_is_counted_with_file_and_line(folder: Path, row: Any, message: str | None) -> None:
    good = {"messages": said("<audio>What is said?"), "audios": ["a.wav"]}
    path = write_rows(folder / "data.jsonl", good, row, good)
    first, broken, last = read(path)
    assert first.messages == last.messages == PLAIN
    if message is None:
        assert isinstance(broken, Sample)
        return
    assert isinstance(broken, Failure)
    assert message in broken.detail and broken.detail.startswith(f"{path}:2: ")


def test_a_tag_in_an_answer_is_text_where_the_question_has_the_audio(folder: Path) -> None:
    row = {"messages": said("<audio>What is said?", "Write <audio>."), "audios": ["a.wav"]}
    (sample,) = read(write_rows(folder / "data.jsonl", row))
    assert sample.messages == (ASKED, Message.of("assistant", "Write <audio>."))
    spoken_answer = {"messages": said("<audio>What is said?", "<audio>"), "audios": ["a.wav", "b.wav"]}
    (sample,) = read(write_rows(folder / "data.jsonl", spoken_answer))
    assert sample.messages == (ASKED, Message.of("assistant", 1))


def test_other_json_is_not_taken_for_messages(folder: Path) -> None:
    for row in (
        {"audio": "a.wav", "text": "x"},
        {"conversations": [{"from": "User", "value": "a.wav", "type": "audio"}]},
    ):
        path = write_rows(folder / "other.jsonl", row)
        assert formats.recognise(SourceSpec(path=str(path))).layout.name != "messages"


def test_what_is_written_holds_what_it_says(clips: Sequence[Clip], tmp_path: Path) -> None:
    samples = [spoken(clip, number) for number, clip in enumerate(clips[:3])]
    two = replace(
        samples[0].sample,
        task="compare",
        split=None,
        messages=(
            Message.of("system", "Be brief."),
            Message.of("user", "Is ", 0, " like ", 1, "?"),
            Message.of("assistant", "Yes."),
            Message.of("user", "Say it."),
            Message.of("assistant", 2),
        ),
        audios=tuple(samples[number].sample.audios[0] for number in (0, 1, 2)),
        provenance=Provenance(kept={"id": 7, "note": {"a": [1, None]}}),
    )
    talk = SoundedSample(key="talk", sample=two, sounds=tuple(sample.sounds[0] for sample in samples))
    text = replace(two, messages=(Message.of("user", "Hi"), Message.of("assistant", "Ho")), audios=(), task="chat")
    alone = SoundedSample(key="alone", sample=text, sounds=())
    out = tmp_path / "out"
    write_set(LAYOUT, [*samples, talk, alone], out)
    assert json.loads((out / "dataset_info.json").read_text())["data"]["file_name"] == "data.jsonl"
    assert len({tuple(json.loads(line)) for line in (out / "data.jsonl").read_text().splitlines()}) == 1
    back = read(out)
    for sounded, one in zip((*samples, talk, alone), back, strict=True):
        sample = sounded.sample
        assert (one.task, one.split, one.language) == (sample.task, sample.split, sample.language)
        assert one.messages == sample.messages
        for audio, other, sound in zip(one.audios, sample.audios, sounded.sounds, strict=True):
            assert (audio.text, audio.language, audio.speaker) == (other.text, other.language, other.speaker)
            assert audio.environment == other.environment
            assert Path(audio.source.uri).read_bytes() == sound.data
        assert (one.provenance.kept or {}) == ((sample.provenance and sample.provenance.kept) or {})


def test_the_table_is_one_that_datasets_reads(clips: Sequence[Clip], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    samples = [spoken(clip, number) for number, clip in enumerate(clips[:2])]
    write_set(LAYOUT, samples, tmp_path / "out")
    path = str(tmp_path / "out" / "data.jsonl")
    table = datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["messages"][1]["content"] for row in table] == [sample.sample.audios[0].text for sample in samples]
    assert [row["audios"] for row in table] == [
        [sample.audios[0].source.uri.removeprefix(f"{tmp_path}/out/")] for sample in read(tmp_path / "out")
    ]


def test_a_text_with_a_tag_is_refused_by_name(clips: Sequence[Clip]) -> None:
    sample = replace(spoken(clips[0]).sample, messages=(ASKED, Message.of("assistant", "Write <|AUDIO|>.")))
    assert LAYOUT.writer is not None
    assert "a text holds <|AUDIO|>" in str(LAYOUT.writer.refuses(sample))
    assert LAYOUT.writer.refuses(replace(sample, messages=PLAIN)) is None
