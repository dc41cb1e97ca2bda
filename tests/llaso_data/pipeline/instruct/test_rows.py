"""Rows that instruction data are built of, from sources of every kind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llaso_data.audio import open_audio
from llaso_data.errors import LLaSOError
from llaso_data.formats import read
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import all_tasks
from llaso_data.pipeline.convert.samples import samples_of
from llaso_data.pipeline.instruct.rows import open_rows, rows_of
from llaso_data.pipeline.instruct.sample_rows import sample_rows
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Failure, Provenance
from tests.support.fuzz_targets import GOLDEN, make_align

TASKS = all_tasks()


def found(path: Path, **spec: Any) -> tuple[list[InstructRow], list[Failure], Counter[str]]:
    notes: Counter[str] = Counter()
    rows = list(rows_of(SourceSpec(path=str(path), **spec), TASKS, notes))
    return (
        [row for row in rows if isinstance(row, InstructRow)],
        [row for row in rows if isinstance(row, Failure)],
        notes,
    )


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def moods(tmp_path: Path) -> Path:
    """A table with labels, whose recordings nobody opens."""
    scores = [{"word": "hi", "accuracy": 9}]
    return lines(
        tmp_path / "moods.jsonl",
        {"audio": "a.wav", "text": "hi", "emotion": "happy", "pitch": 60.0, "word_scores": scores, "who": "ann"},
        {"audio": "b.wav", "text": "ho", "emotion": "", "label": "sad"},
    )


def test_columns_that_are_called_as_fields_of_tasks_are_labels(moods: Path) -> None:
    rows, failures, notes = found(moods)
    assert [dict(row.labels) for row in rows] == [
        {"emotion": "happy", "pitch": 60, "word_scores": [{"word": "hi", "accuracy": 9}]},
        {},
    ]
    assert rows[0].fields()["text"] == "hi" and not failures
    assert any("labels by the names of columns: emotion, pitch, word_scores" in note for note in notes)
    assert any("not used of moods.jsonl: who, label" in note for note in notes)


@pytest.mark.parametrize(
    ("template", "values", "remark"),
    [
        ("label", [None, "sad"], "emotion is the column 'label'"),
        ("{who}", ["ann", None], None),
        ("calm", ["calm", "calm"], "emotion is 'calm' in every row"),
        ("{text|upper}", ["HI", "HO"], None),
    ],
)
def test_a_map_makes_a_label_of_a_column_or_of_a_text(
    moods: Path, template: str, values: list[str | None], remark: str | None
) -> None:
    rows, failures, notes = found(moods, map={"emotion": template})
    assert [row.labels.get("emotion") for row in rows] + [None] * len(failures) == values
    assert [note for note in notes if "map: " in note] == ([] if remark is None else [f"{moods}: map: {remark}"])


def test_other_commands_refuse_labels_as_targets(moods: Path) -> None:
    with pytest.raises(LLaSOError, match="no target 'emotion'"):
        list(read(SourceSpec(path=str(moods), map={"emotion": "{label}"})))


def test_another_recording_is_named_relative_to_the_table(moods: Path) -> None:
    lines(moods, {"audio": "a.wav", "target_audio": "new/a.wav", "audio_2": "b.wav"}, {"audio": "b.wav", "audio_2": 3})
    rows, failures, _ = found(moods)
    assert rows[0].target is not None and rows[0].target.source.uri == str(moods.parent / "new" / "a.wav")
    assert rows[0].second is not None and rows[0].second.source.uri == str(moods.parent / "b.wav")
    assert [(one.reason, "moods.jsonl:2" in one.detail) for one in failures] == [("bad_row", True)]


TALK = (("gpt", "Hi"), ("human", "Why?"), ("gpt", "So."))
ALPACA = {"instruction": "Say it again.", "input": "Good morning.", "output": "Good morning!"}


@pytest.mark.parametrize(
    ("row", "labels", "language"),
    [
        (ALPACA, [{"instruction": "Say it again.", "context": "Good morning.", "output": "Good morning!"}], None),
        ({**ALPACA, "input": ""}, [{"instruction": "Say it again.", "output": "Good morning!"}], None),
        ({"question": "Who?", "answer": "Ann."}, [{"question": "Who?", "answer": "Ann."}], None),
        (
            {"context": "Ann came.", "question": "Who?", "answers": {"text": ["Ann"], "answer_start": [0]}},
            [{"instruction": "Who?", "context": "Ann came.", "output": "Ann"}],
            None,
        ),
        (
            {"id": 7, "translation": {"en": "Hello", "fr": "Bonjour"}},
            [
                {"text": "Hello", "translation": "Bonjour", "target_language": "fr"},
                {"text": "Bonjour", "translation": "Hello", "target_language": "en"},
            ],
            "en",
        ),
        (
            {"source": "Hallo", "target": "Hello", "source_language": "German", "target_language": "en"},
            [{"text": "Hallo", "translation": "Hello", "target_language": "en"}],
            "de",
        ),
        (
            {"id": 1, "en": "Hello", "zh": "你好"},
            [
                {"text": "Hello", "translation": "你好", "target_language": "zh"},
                {"text": "你好", "translation": "Hello", "target_language": "en"},
            ],
            "en",
        ),
        ({"document": "Long.", "summary": "Short."}, [{"text": "Long.", "summary": "Short."}], None),
        (
            {
                "conversations": [
                    {"from": "gpt", "value": "Hi"},
                    {"from": "human", "value": "Why?"},
                    {"from": "gpt", "value": "So."},
                ]
            },
            [{"question": "Why?", "answer": "So."}],
            None,
        ),
        (
            {"messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One."}]},
            [{"instruction": "Count.", "output": "One."}],
            None,
        ),
    ],
)
def test_texts_without_audio_give_the_fields_of_tasks(
    tmp_path: Path, row: dict[str, Any], labels: list[dict[str, Any]], language: str | None
) -> None:
    rows, failures, _ = found(lines(tmp_path / "texts.jsonl", row))
    assert sorted((dict(one.labels) for one in rows), key=str) == sorted(labels, key=str) and not failures
    assert language in {one.language for one in rows}
    assert all(one.audio is None and one.where.endswith("texts.jsonl:1") for one in rows)


def test_the_split_of_a_row_is_that_of_its_column_else_of_its_file(tmp_path: Path) -> None:
    texts = lines(tmp_path / "sets/dev.jsonl", {**ALPACA, "split": "train"}, {"instruction": "Go.", "output": "Yes."})
    rows, _, notes = found(texts.parent)
    assert [row.split for row in rows] == ["train", "validation"] and "split" not in rows[0].labels
    spoken = [{"audio": f"{name}.wav", "split": name} for name in ("eval", "fold3")]
    rows, _, notes = found(lines(tmp_path / "spoken.jsonl", *spoken))
    assert [row.split for row in rows] == ["test", None]
    assert "splits that are none of train, validation, test: fold3" in notes


def test_a_text_that_comes_twice_is_a_duplicate(tmp_path: Path) -> None:
    rows, failures, _ = found(lines(tmp_path / "texts.jsonl", ALPACA, ALPACA, {**ALPACA, "output": ""}))
    assert len(rows) == 1
    assert [(one.reason, one.detail.rpartition("/")[2]) for one in failures] == [
        ("duplicate", "texts.jsonl:2: the source has this row already"),
        ("bad_row", "texts.jsonl:3: `output` is empty"),
    ]


def test_texts_are_refused_where_audio_is_needed(tmp_path: Path) -> None:
    path = lines(tmp_path / "texts.jsonl", ALPACA)
    assert open_rows(SourceSpec(path=str(path)), TASKS, Counter()).layout == "texts"
    with pytest.raises(LLaSOError, match="hold texts and no audio; `llaso-data build-instruct`"):
        list(read(SourceSpec(path=str(path))))


def talk(question: str, answer: str, task: str, audio: str | None = "a.wav", **more: Any) -> dict[str, Any]:
    said = question if audio is None else f"<audio>{question}"
    messages = [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "audios": [] if audio is None else [audio], "task": task, **more}


def test_samples_of_an_utterance_are_one_row_with_what_all_of_them_say(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    path = lines(
        tmp_path / "data.jsonl",
        talk("How does she feel?", "Happy.", "emotion", split="train", intent="play_music"),
        talk("What is said?", "Good morning.", "asr", audio="b.wav"),
        talk("Which pitch?", "60", "NSynth_pitch_recognition", split="train"),
        talk("How does she feel?", "Like a fish.", "emotion"),
        talk("Anything?", "Yes.", "chat"),
        talk("Count.", "One.", "chat", audio=None),
    )
    rows, failures, _ = found(path)
    with_audio = {row.audio.source.uri.rpartition("/")[2]: row for row in rows if row.audio is not None}
    assert dict(with_audio["a.wav"].labels) == {"emotion": "Happy", "pitch": "60", "intent": "play_music"}
    assert with_audio["a.wav"].split == "train" and with_audio["b.wav"].fields()["text"] == "Good morning."
    assert [dict(row.labels) for row in rows if row.audio is None] == [{"instruction": "Count.", "output": "One."}]
    assert [(one.reason, one.detail.partition(": ")[0]) for one in failures] == [
        ("not_a_row", "data.jsonl:4"),
        ("not_a_row", "data.jsonl:5"),
    ]


def test_the_order_of_rows_of_samples_does_not_depend_on_how_many_are_sorted_at_once(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    said = [talk("Say.", f"{number}", "asr", audio=f"{'abc'[number % 3]}.wav") for number in range(9)]
    source = open_rows(SourceSpec(path=str(lines(tmp_path / "data.jsonl", *said))), TASKS, Counter())

    def rows(run_rows: int) -> list[InstructRow | Failure]:
        return list(sample_rows(samples_of(source.opened, Convert()), "c", TASKS, Counter(), run_rows))

    assert rows(100) == rows(2) and len(rows(2)) == 3


def test_folders_without_tables_have_their_names_as_label(tmp_path: Path) -> None:
    for name in ("yes/1.wav", "no/1.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"RIFF")
    rows, _, notes = found(tmp_path, map={"command": "label"})
    assert [row.labels for row in rows] == [{"command": "no"}, {"command": "yes"}]
    assert f"{tmp_path}: map: command is the column 'label'" in notes


def test_what_build_align_accepted_is_rows(tmp_path: Path) -> None:
    make_align(tmp_path)
    rows, failures, _ = found(tmp_path)
    assert [(row.fields()["text"], row.audio_version == row.audio.audio_id) for row in rows if row.audio] == [
        ("hello", True)
    ] * 3
    assert not failures and rows[0].provenance == Provenance(layout="align")


def test_utterances_of_shards_are_rows_with_their_sound_in_the_shard() -> None:
    rows, failures, _ = found(GOLDEN)
    audios = [row.audio for row in rows if row.audio is not None]
    assert len(audios) == len(rows) == len({row.id for row in rows}) and not failures
    for one in audios:
        with open_audio(one.source.uri, one.source.member) as file:
            assert file.read(4) in (b"fLaC", b"OggS", b"RIFF")
    assert "The north wind blew." in {row.fields().get("text") for row in rows}


def test_a_sound_beside_the_first_in_a_table_is_the_other_recording(tmp_path: Path) -> None:
    sound = {"bytes": b"RIFF", "path": None}
    table = pa.table({"audio": [sound, sound], "target_audio": [sound, None], "style": ["sad", "sad"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    rows, failures, notes = found(tmp_path / "pairs.parquet")
    assert [row.target and row.target.source.member for row in rows] == ["target_audio/00000000", None]
    assert rows[0].fields()["style"] == "sad" and not failures
    assert not any("not read" in note for note in notes)


def test_json_of_scores_in_a_cell_is_read_and_words_that_say_nothing_are_no_labels(tmp_path: Path) -> None:
    scores = '"{""accuracy"": 8, ""prosody"": 7, ""fluency"": 8, ""total"": 8}"'
    table = f"audio;emotion;velocity;sentence_scores\na.wav;n/a;NaN;{scores}\nb.wav;neutral;60;\n"
    (tmp_path / "labels.csv").write_text("\ufeff" + table)
    rows, failures, _ = found(tmp_path / "labels.csv")
    assert [dict(row.labels) for row in rows] == [
        {"sentence_scores": {"accuracy": 8, "prosody": 7, "fluency": 8, "total": 8}},
        {"emotion": "neutral", "velocity": "60"},
    ]
    assert not failures


@pytest.mark.parametrize("text", ["a\ud800b", "a\x00b"])
def test_labels_that_no_file_can_hold_fail_by_name(tmp_path: Path, text: str) -> None:
    for name, row in (("a.jsonl", {"audio": "a.wav", "intent": [text]}), ("b.jsonl", {**ALPACA, "input": text})):
        rows, failures, _ = found(lines(tmp_path / name, row))
        assert not rows
        assert [(one.reason, f"{tmp_path / name}:1: " in one.detail) for one in failures] == [("bad_text", True)]
