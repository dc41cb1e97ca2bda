"""Parquet and Arrow with sound inside: what Hugging Face's datasets writes is read, and it reads what is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS, holds_conversations, read, read_samples, recognise
from llaso_data.formats.rows.conversation import SourceSample
from llaso_data.formats.writing.sound_parquet import ROWS, TALKS, schema
from llaso_data.formats.writing.writer import Part, SoundedSample
from llaso_data.pipeline.convert.samples import Converted, samples
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Failure, Message, Provenance, Sample, Utterance
from tests.conftest import Clip
from tests.support.written_layouts import spoken, write_set

SOUND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def cell(clip: Clip) -> dict[str, Any]:
    return {"bytes": clip.path.read_bytes(), "path": clip.path.name}


def utterances(path: Path, notes: Counter[str] | None = None, **spec: Any) -> list[Utterance]:
    return [one.utterance for one in read(SourceSpec(path=str(path), **spec), notes)]


def failures(found: list[Utterance]) -> list[tuple[str, str]]:
    return [(u.failure.reason, u.failure.detail) for u in found if u.failure]


def heard(utterance: Utterance) -> Any:
    return limited.decode_source(utterance.source)


def is_clip(utterance: Utterance, clip: Clip) -> bool:
    return np.array_equal(heard(utterance), audio.decode(str(clip.path))[0])


def layout_of(path: Path) -> str:
    return recognise(SourceSpec(path=str(path))).layout.name


def write_parquet(path: Path, rows: list[dict[str, Any]], kinds: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(kinds.items()))), path, **options)
    return path


CORPUS = {"audio": SOUND, "text": pa.string(), "speaker_id": pa.int64(), "gender": pa.string(), "snr": pa.float32()}


def corpus(clips: list[Clip]) -> list[dict[str, Any]]:
    return [
        {"audio": cell(clip), "text": clip.text, "speaker_id": n, "gender": "F", "snr": 1.5}
        for n, clip in enumerate(clips)
    ]


def test_a_corpus_in_parquet(tmp_path: Path, clips: list[Clip]) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", corpus(clips[:12]), CORPUS, row_group_size=5)
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", corpus(clips[12:15]), CORPUS)
    pq.write_table(pa.table({"text": ["no sound"]}), tmp_path / "data" / "vocabulary.parquet")
    notes: Counter[str] = Counter()
    found = utterances(tmp_path, notes, corpus="c")
    assert layout_of(tmp_path) == "hf_parquet"
    assert [u.text for u in found] == [" ".join(clip.text.split()) for clip in clips[:15]]
    assert [u.source.member for u in found][11:13] == ["audio/00000011", "audio/00000000"]
    assert {u.speaker.gender.value for u in found} == {"female"}
    assert [u.speaker.id.value for u in found[:2]] == ["0", "1"]
    assert len({u.id for u in found}) == 15
    assert all(is_clip(found[n], clips[n]) for n in (0, 4, 5, 11, 12, 14))
    assert notes["not read: a table without sound: data/vocabulary.parquet"] == 1
    assert notes["tables with columns that are not used: snr"] == 2
    one = utterances(tmp_path / "data" / "train-00001-of-00002.parquet")
    assert [u.text for u in one] == [u.text for u in found[12:]]
    assert [u.text for u in utterances(tmp_path, pattern="**/*-00001-*")] == [u.text for u in found[12:]]


def test_the_split_of_a_corpus_is_that_of_its_file(tmp_path: Path, clips: list[Clip]) -> None:
    for name in ("default/validation/0000.parquet", "default/test-00000.parquet", "default/other.parquet"):
        write_parquet(tmp_path / name, corpus(clips[:1]), CORPUS)
    made = list(samples(SourceSpec(path=str(tmp_path)), Convert(), Counter()))
    assert [one.sample.split for one in made if isinstance(one, Converted)] == [None, "test", "validation"]


def test_a_table_that_names_files_gives_the_files(tmp_path: Path, clips: list[Clip]) -> None:
    for clip in clips[:3]:
        (tmp_path / clip.path.name).write_bytes(clip.path.read_bytes())
    rows: list[dict[str, Any]] = [
        {"audio": {"bytes": None, "path": clip.path.name}, "text": clip.text} for clip in clips[:3][::-1]
    ]
    rows += [{"audio": cell(clips[3]), "text": "inside"}, {"audio": {"bytes": None, "path": None}, "text": "nowhere"}]
    rows += [{"audio": {"bytes": None, "path": "gone.wav"}, "text": "gone"}, {"audio": None, "text": "none"}]
    rows += [{"audio": {"bytes": None, "path": "ftp://x/y.wav"}, "text": "far"}]
    table = write_parquet(tmp_path / "a.parquet", rows, {"audio": SOUND, "text": pa.string()})
    found = utterances(table)
    by_text = {u.text: u for u in found if not (u.failure and u.failure.reason == "bad_row")}
    assert all(by_text[" ".join(clip.text.split())].source.uri == str(tmp_path / clip.path.name) for clip in clips[:3])
    assert is_clip(by_text["inside"], clips[3])
    assert [detail for _, detail in failures(found)] == [
        f"{table}:5: it holds no sound, and names no file",
        f"{table}:7: it holds no sound, and names no file",
        *(detail for _, detail in failures(found) if ":8: ftp://x/y.wav: begins with ftp://" in detail),
    ]
    assert len(failures(found)) == 3


def test_what_is_broken_is_counted_with_its_file(tmp_path: Path, clips: list[Clip]) -> None:
    rows = corpus(clips[:6])
    whole = write_parquet(tmp_path / "a.parquet", rows, CORPUS, row_group_size=2, compression="none")
    data = bytearray(whole.read_bytes())
    at = data.index(clips[2].text.encode())
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "none.parquet").write_bytes(b"hello")
    talk = {"audio": SOUND, "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))}
    write_parquet(tmp_path / "talk.parquet", [{"audio": cell(clips[0]), "messages": []}], talk)
    found = utterances(tmp_path)
    assert len([u for u in found if u.failure is None]) == 6
    assert sorted(detail.split(": ")[0].rpartition("/")[2] for _, detail in failures(found)) == [
        "cut.parquet",
        "none.parquet",
        "talk.parquet",
    ]
    assert at > 0


def test_text_that_is_not_utf8_fails_alone(tmp_path: Path, clips: list[Clip]) -> None:
    kinds = {"audio": SOUND, "text": pa.binary()}
    rows = [{"audio": cell(clips[0]), "text": b"gr\xf6"}, {"audio": cell(clips[1]), "text": b"good"}]
    table = pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))
    strings = pa.StringArray.from_buffers(2, *table["text"].chunk(0).buffers()[1:])
    table = table.set_column(1, "text", strings)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        found = utterances(tmp_path / name)
        assert [u.text for u in found] == [None, "good"]
        assert failures(found)[0][0] == "bad_text"


def test_what_says_nothing_is_refused(tmp_path: Path, clips: list[Clip]) -> None:
    write_parquet(tmp_path / "empty.parquet", [], CORPUS)
    with pytest.raises(LLaSOError, match="hold no row"):
        utterances(tmp_path)
    pq.write_table(pa.table({"audio": ["a.wav"]}), tmp_path / "empty.parquet")
    assert layout_of(tmp_path / "empty.parquet") == "manifest"
    with pytest.raises(LLaSOError, match="has a column of sound"):
        utterances(tmp_path, type="hf_parquet")


def test_a_column_whose_name_is_not_utf8_is_said(tmp_path: Path, clips: list[Clip]) -> None:
    path = write_parquet(tmp_path / "a.parquet", corpus(clips[:1]), CORPUS)
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), pq.read_schema(path)) as writer:
        writer.write_table(pq.read_table(path))
    for name, layout in (("a.arrow", "hf_disk"), ("a.parquet", "hf_parquet")):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data.replace(b"speaker_id", b"speaker\xff\xfe\xff"))
        (failure,) = failures(utterances(tmp_path / name, type=layout))
        assert failure[0] == "unreadable"
        assert str(tmp_path / name) in failure[1]


# Conversations

PARTS = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string()), ("audio", SOUND)]))
INSIDE = pa.list_(pa.struct([("role", pa.string()), ("content", PARTS)]))
TEXTS = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))


def told(path: Path) -> list[SourceSample | Failure]:
    assert holds_conversations(SourceSpec(path=str(path)))
    return list(read_samples(SourceSpec(path=str(path), corpus="c")))


def talked(path: Path) -> list[Sample]:
    return [one.sample for one in told(path) if isinstance(one, SourceSample)]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said, "audio": None}


@pytest.mark.parametrize("name", ["train.parquet", "a.arrow"])
def test_conversations_with_sound_in_their_messages(tmp_path: Path, clips: list[Clip], name: str) -> None:
    spoken_parts = [{"type": "audio", "text": None, "audio": cell(clip)} for clip in clips[:3]]
    rows = [
        {
            "messages": [
                {"role": "system", "content": [text("Be brief.")]},
                {"role": "user", "content": [text("Compare"), spoken_parts[0], spoken_parts[1]]},
                {"role": "assistant", "content": [text("They differ."), spoken_parts[2]]},
            ],
            "topic": "cars",
        },
        {"messages": [{"role": "robot", "content": [text("x")]}], "topic": None},
        {"messages": [], "topic": None},
    ]
    table = pa.Table.from_pylist(rows, pa.schema([("messages", INSIDE), ("topic", pa.string())]))
    if name.endswith("parquet"):
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_stream(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    found = told(tmp_path / name)
    (sample,) = talked(tmp_path / name)
    assert sample.messages == (
        Message.of("system", "Be brief."),
        Message.of("user", "Compare", 0, 1),
        Message.of("assistant", "They differ.", 2),
    )
    assert all(is_clip(one, clip) for one, clip in zip(sample.audios, clips, strict=False))
    assert sample.provenance is not None
    assert (sample.provenance.kept, sample.provenance.row) == ({"topic": "cars"}, 1)
    assert sample.split == ("train" if name.startswith("train") else None)
    details = [one.detail for one in found if isinstance(one, Failure)]
    assert [detail.partition(f"{tmp_path}/{name}:")[2] for detail in details] == [
        "2: a message is by 'robot'; messages are by user, assistant or system",
        "3: `messages` has no message",
    ]
    with pytest.raises(LLaSOError, match="hold conversations"):
        utterances(tmp_path / name)


def test_conversations_with_tags_and_audios_beside_them(tmp_path: Path, clips: list[Clip]) -> None:
    def row(value: str, audios: list[Any], answer: str = "Yes.") -> dict[str, Any]:
        turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
        return {"conversations": turns, "audios": audios}

    rows = [
        row("Same?<audio> and <|AUDIO|>", [cell(clips[0]), cell(clips[1])]),
        row("What is said?", [cell(clips[2])]),
        row("Two <audio> here", [cell(clips[0]), cell(clips[1])]),
        row("No audio", []),
        row("<audio>", [None]),
    ]
    write_parquet(tmp_path / "a.parquet", rows, {"conversations": TEXTS, "audios": pa.list_(SOUND)})
    found = told(tmp_path / "a.parquet")
    first, second, plain = talked(tmp_path / "a.parquet")
    assert first.messages[0] == Message.of("user", "Same?", 0, " and ", 1)
    assert [one.source.member for one in first.audios] == ["audios/00000000/0", "audios/00000000/1"]
    assert is_clip(first.audios[1], clips[1])
    assert second.messages[0] == Message.of("user", 0, "What is said?")
    assert plain.audios == ()
    details = [one.detail for one in found if isinstance(one, Failure)]
    assert "a.parquet:3: 1 audio tags and 2 audios" in details[0]
    assert "a.parquet:5: an audio is empty" in details[1]


# Writing


def everything(clips: list[Clip]) -> list[SoundedSample]:
    """Transcriptions and conversations with every field that a sample has."""
    first, second, third = (spoken(clip, number) for number, clip in enumerate(clips[:3]))
    kept = {"topic": "weather", "rank": 3, "tags": ["a"]}
    told = Sample(
        task="dialogue",
        messages=(
            Message.of("system", "Be kind."),
            Message.of("user", "First ", 0, " then ", 1),
            Message.of("assistant", "Line one.\nLine two."),
            Message.of("user", "And aloud?"),
            Message.of("assistant", 2),
        ),
        audios=tuple(one.sample.audios[0] for one in (first, second, third)),
        language="en",
        split="test",
        provenance=Provenance(layout="toy", kept=kept),
    )
    plain = replace(third.sample, messages=(Message.of("user", 0), third.sample.messages[-1]), split="validation")
    described = replace(second.sample, task="asr", provenance=Provenance(kept=kept))
    return [
        first,
        replace(second, sample=described),
        replace(third, sample=plain),
        SoundedSample(key="0003-talk", sample=told, sounds=(*first.sounds, *second.sounds, *third.sounds)),
    ]


def held(sample: Sample) -> dict[str, Any]:
    """What the layout says that it holds."""
    facts = [
        (u.text, u.language, u.speaker.id, u.speaker.gender, u.speaker.age_range, u.speaker.accent, u.environment)
        for u in sample.audios
    ]
    kept = sample.provenance.kept if sample.provenance else None
    return {"messages": sample.messages, "facts": facts, "task": sample.task, "split": sample.split, "kept": kept}


def test_everything_that_is_held_comes_back(tmp_path: Path, clips: list[Clip]) -> None:
    written = everything(clips)
    write_set(LAYOUTS["hf_parquet"], written, tmp_path)
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")) == [
        "README.md",
        "conversations/test-00001.parquet",
        "data/train-00000.parquet",
        "data/validation-00001.parquet",
    ]
    assert layout_of(tmp_path) == "hf_parquet"
    found = talked(tmp_path)
    expected = [written[3].sample, written[0].sample, written[1].sample, written[2].sample]
    assert list(map(held, found)) == list(map(held, expected))
    assert [one.language for one in found] == [one.language for one in expected]
    for sample, sounded in zip(found, (written[3], *written[:3]), strict=True):
        for utterance, sound in zip(sample.audios, sounded.sounds, strict=True):
            assert np.array_equal(heard(utterance), audio.decode_bytes(sound.data or b""))


def test_a_corpus_that_was_written_is_a_corpus_again(tmp_path: Path, clips: list[Clip]) -> None:
    written = everything(clips)[:3]
    write_set(LAYOUTS["hf_parquet"], written, tmp_path)
    assert not holds_conversations(SourceSpec(path=str(tmp_path)))
    made = list(samples(SourceSpec(path=str(tmp_path)), Convert(text="given"), Counter()))
    found = [one.sample for one in made if isinstance(one, Converted)]
    by_text = {one.sample.messages[-1]: one.sample for one in written}
    assert len(found) == 3
    for sample in found:
        original = by_text[sample.messages[-1]]
        assert held(sample) | {"kept": None} == held(original) | {"kept": None}


def test_the_same_samples_give_the_same_bytes(tmp_path: Path, clips: list[Clip]) -> None:
    for out in ("a", "b"):
        write_set(LAYOUTS["hf_parquet"], everything(clips), tmp_path / out)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_row_groups_have_a_hundred_rows_and_small_pages(tmp_path: Path, clips: list[Clip]) -> None:
    shortest = min(clips, key=lambda clip: clip.path.stat().st_size)
    one = spoken(shortest)
    writer = LAYOUTS["hf_parquet"].writer
    assert writer is not None
    writer.write(Part(str(tmp_path), 7), (replace(one, key=f"{number:04d}") for number in range(230)))
    table = pq.ParquetFile(tmp_path / "data" / "train-00007.parquet")
    groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
    assert [group.num_rows for group in groups] == [100, 100, 30]
    assert groups[0].column(0).path_in_schema == "audio.bytes"
    assert groups[0].column(0).has_offset_index


def test_samples_without_audio_are_refused() -> None:
    writer = LAYOUTS["hf_parquet"].writer
    assert writer is not None
    silent = Sample(task="chat", messages=(Message.of("user", "hi"), Message.of("assistant", "hello")))
    assert writer.refuses(silent) == "it has no audio"


# Hugging Face's own library


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    library.disable_progress_bars()
    yield library


def features_of(datasets: Any) -> Any:
    return datasets.Features(
        {
            "audio": datasets.Audio(sampling_rate=16_000, decode=False),
            "sentence": datasets.Value("string"),
            "gender": datasets.ClassLabel(names=["male", "female"]),
        }
    )


def made_by_datasets(datasets: Any, clips: list[Clip]) -> Any:
    rows = [{"audio": cell(clip), "sentence": clip.text, "gender": n % 2} for n, clip in enumerate(clips)]
    table = pa.Table.from_pylist(rows, features_of(datasets).arrow_schema)  # from_list would encode, with torchcodec
    return datasets.Dataset(datasets.table.InMemoryTable(table))


def test_what_datasets_writes_is_read(datasets: Any, tmp_path: Path, clips: list[Clip]) -> None:
    dataset = made_by_datasets(datasets, clips[:5])
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    dataset.to_parquet(str(tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet"))
    dataset.save_to_disk(str(tmp_path / "one"), num_shards=2)
    splits = datasets.DatasetDict({"train": dataset, "validation": dataset.select([1])})
    splits.save_to_disk(str(tmp_path / "dict"))
    for name, layout, count in (("parquet", "hf_parquet", 5), ("one", "hf_disk", 5), ("dict", "hf_disk", 6)):
        found = utterances(tmp_path / name)
        assert layout_of(tmp_path / name) == layout
        assert len(found) == count
        assert [u.text for u in found[:5]] == [" ".join(clip.text.split()) for clip in clips[:5]]
        assert [u.speaker.gender.value for u in found[:2]] == ["male", "female"]
        assert all(is_clip(found[n], clips[n]) for n in (0, 4))
    made = list(samples(SourceSpec(path=str(tmp_path / "dict")), Convert(), Counter()))
    assert [one.sample.split for one in made if isinstance(one, Converted)] == ["train"] * 5 + ["validation"]


def test_a_state_that_lies_is_counted(datasets: Any, tmp_path: Path, clips: list[Clip]) -> None:
    made_by_datasets(datasets, clips[:4]).save_to_disk(str(tmp_path / "d"), num_shards=2)
    state = tmp_path / "d" / "state.json"
    stated = json.loads(state.read_text())
    names = [one["filename"] for one in stated["_data_files"]]
    for listed, why in (
        ([names[0], "data-gone.arrow"], "state.json names it, and it is not there"),
        (["../x.arrow"], "is no name of a file beside it"),
    ):
        state.write_text(json.dumps({**stated, "_data_files": [{"filename": name} for name in listed]}))
        notes: Counter[str] = Counter()
        found = utterances(tmp_path / "d", notes)
        assert why in failures(found)[0][1]
    state.write_text(json.dumps({**stated, "_data_files": [{"filename": names[0]}]}))
    notes = Counter()
    assert len(utterances(tmp_path / "d", notes)) == 2
    assert notes[f"not read: a table that its state.json does not name: {names[1]}"] == 1


def test_datasets_reads_what_is_written(datasets: Any, tmp_path: Path, clips: list[Clip]) -> None:
    written = everything(clips)
    write_set(LAYOUTS["hf_parquet"], written, tmp_path / "set")
    rows = datasets.load_dataset(str(tmp_path / "set"))
    assert {split: len(part) for split, part in rows.items()} == {"train": 2, "validation": 1}
    train = rows["train"].cast_column("audio", datasets.Audio(decode=False))
    assert rows["train"].features["audio"] == datasets.Audio(sampling_rate=16_000)
    assert train[0]["audio"]["bytes"] == written[0].sounds[0].data
    assert train[0]["text"] == written[0].sample.messages[-1].content[0].text
    assert train[0]["instruction"] == "What is said?"
    talks = datasets.load_dataset(str(tmp_path / "set"), "conversations", split="test")
    assert talks.features["audios"] == datasets.List(datasets.Audio(sampling_rate=16_000))
    talks = talks.cast_column("audios", datasets.List(datasets.Audio(decode=False)))
    assert [one["bytes"] for one in talks[0]["audios"]] == [sound.data for sound in written[3].sounds]
    assert talks[0]["messages"][1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "First ", "audio": None},
            {"type": "audio", "text": None, "audio": 0},
            {"type": "text", "text": " then ", "audio": None},
            {"type": "audio", "text": None, "audio": 1},
        ],
    }


def test_the_features_are_those_that_datasets_infers_itself(datasets: Any) -> None:
    for folder in (ROWS, TALKS):
        known = datasets.Features.from_arrow_schema(schema(folder))
        assert known.arrow_schema.remove_metadata() == schema(folder).remove_metadata()
