"""NeMo's manifests, tarred sets and conversations: read as NeMo's own tools write them, and written."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llaso_data import audio, records
from llaso_data.formats import LAYOUTS, read, read_samples, recognise
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Message, Provenance, Sample, Utterance
from tests.conftest import Clip
from tests.support.tars import packed
from tests.support.written_layouts import pointed, spoken, write_set


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def utterances(path: Path | str, notes: Counter[str] | None = None, **spec: Any) -> list[Utterance]:
    return [item.utterance for item in read(SourceSpec(path=str(path), corpus="c", **spec), notes)]


def layout_of(path: Path | str) -> str:
    return recognise(SourceSpec(path=str(path))).layout.name


def failures(found: list[Utterance]) -> list[str]:
    return [f"{u.failure.reason} {u.failure.detail.rpartition('/')[2]}" for u in found if u.failure]


# Manifests


@pytest.mark.parametrize("name", ["train.json", "train.jsonl", "train.jsonl.gz"])
def test_a_manifest(tmp_path: Path, clips: list[Clip], name: str) -> None:
    clip = clips[0].path
    manifest = lines(
        tmp_path / name,
        {"audio_filepath": str(clip), "duration": 2.0, "text": "Whole.", "lang": "de", "speaker": "7"},
        {"audio_filepath": str(clip), "offset": 0.5, "duration": 0.7, "text": "A span.", "source_lang": "en-US"},
        {
            "audio_filepath": str(clip),
            "offset": 1,
            "duration": 0.5,
            "text": "Ja.",
            "source_lang": "en",
            "target_lang": "de",
        },
        {"audio_filepath": str(clip), "offset": 1.5, "duration": 0.5, "text": "No.", "_skipme": True},
        {"audio_filepath": "pipe:cat a.wav", "duration": 1.0, "text": "Never."},
    )
    notes: Counter[str] = Counter()
    found = utterances(manifest, notes)
    assert layout_of(manifest) == "nemo"
    assert [(u.text, u.language, u.source.start_s, u.source.end_s) for u in found if not u.failure] == [
        ("Whole.", "de", None, None),
        ("A span.", "en", 0.5, 1.2),
        (None, "en", 1.0, 1.5),
    ]
    assert failures(found) == [f"bad_row {name}:5: `pipe:` names a command, and no command of a corpus is run; "
                               "fetch the audio, and name the file"]  # fmt: skip
    assert notes["rows that are marked `_skipme`"] == 1
    assert notes["texts that are translations (`target_lang`), and no transcripts"] == 1


def test_ids_are_those_that_the_reader_of_manifests_gave(tmp_path: Path, clips: list[Clip]) -> None:
    rows: list[dict[str, Any]] = [
        {"audio_filepath": str(clips[0].path), "duration": 2.0, "text": "x"},
        {"audio_filepath": "a/../b.wav", "duration": 2.0, "offset": 0.25, "text": "y"},
    ]
    manifest = lines(tmp_path / "m.json", *rows)
    as_nemo, as_manifest = (utterances(manifest, type=name) for name in ("nemo", "manifest"))
    assert as_nemo == as_manifest
    assert [u.id for u in as_nemo] == [
        records.utterance_id("c", str(clips[0].path)),
        records.utterance_id("c", "b.wav", None, 0.25, 2.25),
    ]


def test_a_compressed_manifest_that_breaks_off_is_a_failure_after_its_whole_rows(tmp_path: Path) -> None:
    rows = [{"audio_filepath": f"{number}.wav", "duration": 1.0, "text": f"{number * 7919}"} for number in range(2000)]
    manifest = lines(tmp_path / "m.jsonl.gz", *rows)
    manifest.write_bytes(manifest.read_bytes()[:-2000])
    found = utterances(manifest)
    assert [u.failure.reason for u in found if u.failure] == ["bad_row"]
    assert 100 < len(found) < 2000
    assert "m.jsonl.gz:" in failures(found)[0] and "breaks off" in failures(found)[0]


def test_what_is_written_is_read_again(tmp_path: Path, clips: list[Clip]) -> None:
    samples = [spoken(clip, number) for number, clip in enumerate(clips[:5])]
    write_set(LAYOUTS["nemo"], samples, tmp_path)
    check_written(tmp_path / "manifest.jsonl", "nemo", samples)


def check_written(path: Path, layout: str, samples: list[Any]) -> None:
    """All that NeMo's manifests hold comes back: sound, text, language, speaker and surroundings."""
    assert layout_of(path) == layout
    found = {u.text: u for u in utterances(path)}
    assert len(found) == len(samples)
    for sounded in samples:
        (given,) = sounded.sample.audios
        back = found[given.text]
        assert (back.language, back.speaker, back.environment) == (given.language, given.speaker, given.environment)
        pcm, _ = audio.decode(back.source.uri, back.source.member, back.source.start_s, back.source.end_s)
        assert np.array_equal(pcm, audio.decode(given.source.uri)[0])


def test_a_span_that_is_pointed_to_has_an_offset(tmp_path: Path, clips: list[Clip]) -> None:
    sounded = replace(spoken(clips[0]), sounds=(pointed(clips[0].path, 0.25, 0.5),))
    write_set(LAYOUTS["nemo"], [sounded], tmp_path, parts=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "manifest.jsonl"]
    (back,) = utterances(tmp_path / "manifest.jsonl")
    assert (back.source.uri, back.source.start_s, back.source.end_s) == (str(clips[0].path), 0.25, 0.75)


# Tarred sets


def tarred(folder: Path, clips: list[Clip], manifest: str = "sharded_manifests/manifest_{}.json") -> Path:
    """Two shards as convert_to_tarred_audio_dataset.py writes them; in the second two spans of one recording."""
    first, second, third = (clip.path.read_bytes() for clip in clips[:3])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audio_0.tar").write_bytes(packed([("x_a.wav", first), ("x_b.wav", second)]))
    (folder / "audio_1.tar").write_bytes(packed([("long.wav", third)]))
    rows: list[dict[str, Any]] = [
        {"audio_filepath": "x_b.wav", "duration": 2.0, "text": "b", "lang": "en", "shard_id": 0},
        {"audio_filepath": "x_a.wav", "duration": 2.0, "text": "a", "lang": "en", "shard_id": 0},
        {"audio_filepath": "long.wav", "duration": 0.5, "offset": 0.0, "text": "start", "shard_id": 1},
        {"audio_filepath": "long-sub1.wav", "duration": 0.5, "offset": 0.5, "text": "rest", "shard_id": 1},
    ]
    if "{}" in manifest:
        for number in range(2):
            lines(folder / manifest.format(number), *(row for row in rows if row["shard_id"] == number))
    else:
        lines(folder / manifest, *rows)
    (folder / "metadata.yaml").write_text("version: 0\n")
    return folder


EXPECTED = [
    ("audio_0.tar", "x_a.wav", None, None, "a"),
    ("audio_0.tar", "x_b.wav", None, None, "b"),
    ("audio_1.tar", "long.wav", 0.0, 0.5, "start"),
    ("audio_1.tar", "long.wav", 0.5, 1.0, "rest"),
]


def told(found: list[Utterance]) -> list[tuple[Any, ...]]:
    return [
        (Path(u.source.uri).name, u.source.member, u.source.start_s, u.source.end_s, u.text)
        for u in found
        if not u.failure
    ]


@pytest.mark.parametrize(
    ("manifest", "source"),
    [
        ("sharded_manifests/manifest_{}.json", ""),
        ("sharded_manifests/manifest_{}.json", "sharded_manifests/manifest_{0..1}.json"),
        ("sharded_manifests/manifest_{}.json", "audio__OP_0..1_CL_.tar"),
        ("manifest_{}.jsonl", ""),
        ("manifest_{}.jsonl.gz", "manifest_{0,1}.jsonl.gz"),
        ("tarred_audio_manifest.json", ""),
        ("tarred_audio_manifest.json", "tarred_audio_manifest.json"),
    ],
)
def test_a_tarred_set(tmp_path: Path, clips: list[Clip], manifest: str, source: str) -> None:
    path = str(tarred(tmp_path / "set", clips, manifest) / source).rstrip("/")
    assert layout_of(path) == "nemo_tarred"
    found = utterances(path)
    assert not failures(found)
    assert told(found) == EXPECTED
    assert found[0].id == records.utterance_id("c", "audio_0.tar", "x_a.wav")
    whole, _ = audio.decode(str(clips[2].path))
    part, _ = audio.decode(found[3].source.uri, "long.wav", 0.5, 1.0)
    assert np.array_equal(part, whole[8000:16000])


def test_buckets_are_folders_of_one_set(tmp_path: Path, clips: list[Clip]) -> None:
    for number in (1, 2):
        tarred(tmp_path / f"bucket{number}", clips)
    assert layout_of(tmp_path) == "nemo_tarred"
    assert told(utterances(tmp_path)) == EXPECTED * 2
    part = f"{tmp_path}/bucket{{1..2}}/audio_{{1..1}}.tar"
    assert told(utterances(part)) == EXPECTED[2:] * 2


def test_what_a_tarred_set_lacks_is_counted_with_file_and_line(tmp_path: Path, clips: list[Clip]) -> None:
    folder = tarred(tmp_path, clips)
    lines(
        folder / "sharded_manifests" / "manifest_1.json",
        {"audio_filepath": "absent.wav", "duration": 1.0, "text": "x"},
        {"audio_filepath": "long.wav", "duration": "soon", "offset": 0, "text": "x"},
        {"text": "x"},
        {"audio_filepath": "pipe:cat x", "text": "x"},
        {"audio_filepath": "long.wav", "duration": 0.5, "offset": 0.25, "text": "fine"},
    )
    with open(folder / "sharded_manifests" / "manifest_1.json", "ab") as file:
        file.write(b"{broken\n[1]\n")
    lines(folder / "sharded_manifests" / "manifest_2.json", {"audio_filepath": "lost.wav", "text": "x"})
    (folder / "audio_3.tar").write_bytes(packed([("z.wav", b"")]))
    (folder / "audio_0.tar").write_bytes((folder / "audio_0.tar").read_bytes()[:2000])
    found = utterances(folder)
    assert told(found) == [("audio_1.tar", "long.wav", 0.25, 0.75, "fine")]
    said = failures(found)
    assert [line.partition(": ")[0] for line in said] == [
        "truncated manifest_0.json:2",
        "truncated manifest_0.json:1",
        "missing manifest_1.json:1",
        "bad_row audio_3.tar",
        "bad_row manifest_1.json:2",
        "bad_row manifest_1.json:3",
        "bad_row manifest_1.json:4",
        "bad_row manifest_1.json:6",
        "bad_row manifest_1.json:7",
        "missing manifest_2.json:1",
    ]


def test_a_tarred_set_that_is_written_is_read_again(tmp_path: Path, clips: list[Clip]) -> None:
    samples = [spoken(clip, number) for number, clip in enumerate(clips[:5])]
    write_set(LAYOUTS["nemo_tarred"], samples, tmp_path / "once")
    write_set(LAYOUTS["nemo_tarred"], samples, tmp_path / "again")
    check_written(tmp_path / "once", "nemo_tarred", samples)
    names = sorted(str(path.relative_to(tmp_path / "once")) for path in (tmp_path / "once").rglob("*_*.*"))
    assert names == [
        "audio_0.tar",
        "audio_1.tar",
        "sharded_manifests/manifest_0.jsonl",
        "sharded_manifests/manifest_1.jsonl",
    ]
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


# Conversations


def conversations(path: Path, notes: Counter[str] | None = None) -> list[Sample | Failure]:
    found = read_samples(SourceSpec(path=str(path), corpus="c"), notes)
    return [one if isinstance(one, Failure) else one.sample for one in found]


def turn(by: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"from": by, "value": value, "type": "text", **more}


def test_conversations(tmp_path: Path, clips: list[Clip]) -> None:
    (tmp_path / "a.tar").write_bytes(packed([("x/y.wav", clips[0].path.read_bytes())]))
    path = lines(
        tmp_path / "chat.jsonl",
        {
            "id": "one",
            "conversations": [
                turn("User", "What is said?"),
                turn("User", str(clips[1].path), type="audio", duration=9.0),
                turn("Assistant", "Hello."),
                turn("User", "a.tar/x/y.wav", type="audio", duration=0.5, offset=0.25),
                turn("Assistant", "Goodbye."),
            ],
            "lang": "en",
            "custom": {"difficulty": 3},
        },
        {"id": 2, "conversations": [turn("User", "Hi"), turn("Assistant", "Ho")], "_skipme": 1},
        {"id": 3, "conversations": [turn("System", "Be kind."), turn("User", "Hi"), turn("Assistant", "Ho")]},
    )
    assert layout_of(path) == "nemo_conversations"
    notes: Counter[str] = Counter()
    first, last = conversations(path, notes)
    assert isinstance(first, Sample) and isinstance(last, Sample)
    assert first.messages == (
        Message.of("user", "What is said?", 0),
        Message.of("assistant", "Hello."),
        Message.of("user", 1),
        Message.of("assistant", "Goodbye."),
    )
    whole, span = (one.source for one in first.audios)
    assert (whole.uri, whole.member, whole.start_s, whole.end_s) == (str(clips[1].path), None, None, None)
    assert (span.uri, span.member, span.start_s, span.end_s) == (str(tmp_path / "a.tar"), "x/y.wav", 0.25, 0.75)
    assert len(audio.decode(span.uri, span.member, span.start_s, span.end_s)[0]) == 8000
    assert first.language == "en"
    kept = {"difficulty": 3}
    assert first.provenance == Provenance(layout="nemo_conversations", file="chat.jsonl", row=1, kept=kept)
    assert [message.role for message in last.messages] == ["system", "user", "assistant"]
    assert notes["rows that are marked `_skipme`"] == 1


def test_conversations_whose_audios_lie_in_numbered_tars(tmp_path: Path, clips: list[Clip]) -> None:
    for number, clip in enumerate(clips[:2]):
        (tmp_path / f"audio_{number}.tar").write_bytes(packed([("x.wav", clip.path.read_bytes())]))
    for number in range(3):
        said = [turn("User", "x.wav", type="audio", duration=0.5), turn("Assistant", str(number))]
        lines(tmp_path / f"manifest_{number}.jsonl", {"id": number, "conversations": said})
    for source in (tmp_path, tmp_path / "manifest_{0..2}.jsonl"):
        assert layout_of(source) == "nemo_conversations"
        first, second, lost = conversations(source)
        for number, one in enumerate((first, second)):
            assert isinstance(one, Sample) and one.messages[-1] == Message.of("assistant", str(number))
            source_ = one.audios[0].source
            assert (source_.uri, source_.member) == (str(tmp_path / f"audio_{number}.tar"), "x.wav")
        assert lost == Failure("missing", f"{tmp_path}/manifest_2.jsonl:1: its tar is not there; fetch it")
    (alone,) = conversations(tmp_path / "manifest_1.jsonl")
    assert alone == second


def test_broken_conversations_are_counted_with_file_and_line(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "chat.jsonl",
        {"conversations": [turn("User", "Hi"), turn("Assistant", "Ho")]},
        {"conversations": []},
        {"conversations": [turn("Robot", "Hi")]},
        {"conversations": [turn("User", ["Hi"])]},
        {"conversations": [turn("User", "pipe:cat x", type="audio")]},
        {"conversations": [turn("User", "bucket://x.wav", type="audio")]},
        {"conversations": [turn("User", "x.wav", type="audio", offset="soon")]},
        {"conversations": [turn("User", "x.wav", type="video")]},
        {"conversations": [turn("User", "Hi")], "split": "dev"},
    )
    with open(path, "ab") as file:
        file.write(b'{"conversations": [')
    found = conversations(path)
    assert [isinstance(one, Failure) for one in found] == [False, *[True] * 9]
    for number, one in enumerate(found[1:], 2):
        assert isinstance(one, Failure) and one.detail.startswith(f"{path}:{number}: "), one


def test_conversations_that_are_written_are_read_again(tmp_path: Path, clips: list[Clip]) -> None:
    first, second = spoken(clips[0]), spoken(clips[1])
    (one,), (two,) = first.sample.audios, second.sample.audios
    chat = Sample(
        task="chat",
        messages=(
            Message.of("system", "Be kind."),
            Message.of("user", 0, "Go on."),
            Message.of("assistant", "So:", 1),
        ),
        audios=(one, two),
        language="en",
        split="validation",
        provenance=Provenance(kept={"id": "x", "n": 1}),
    )
    span = pointed(clips[1].path, 0.0, 0.5)
    samples = [first, replace(first, key="chat", sample=chat, sounds=(first.sounds[0], span))]
    write_set(LAYOUTS["nemo_conversations"], samples, tmp_path)
    found = conversations(tmp_path / "manifest.jsonl")
    assert all(isinstance(one, Sample) for one in found)
    for given, back in zip((first.sample, chat), found, strict=True):
        assert isinstance(back, Sample)
        for name in ("messages", "task", "language", "split"):
            assert getattr(back, name) == getattr(given, name), name
    back = found[1]
    assert isinstance(back, Sample) and back.provenance is not None
    assert back.provenance.kept == {"id": "x", "n": 1}
    source = back.audios[1].source
    assert (source.uri, source.start_s, source.end_s) == (str(clips[1].path), 0.0, 0.5)
    assert np.array_equal(audio.decode(back.audios[0].source.uri)[0], audio.decode(str(clips[0].path))[0])
    writer = LAYOUTS["nemo_conversations"].writer
    assert writer is not None
    again = replace(chat, messages=(Message.of("user", "Hi", 0), Message.of("user", 1), Message.of("assistant", "x")))
    assert writer.refuses(again) is not None and writer.refuses(chat) is None
