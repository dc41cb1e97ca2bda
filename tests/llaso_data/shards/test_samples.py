"""Samples in shards: any conversation is written with its sound, checked, streamed, and read back as a record."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from hypothesis import given, settings

from llaso_data import audio, records
from llaso_data.errors import LLaSOError
from llaso_data.records import GIVEN, Attribute, Message, Provenance, Sample, Source, Speaker, Utterance, Word
from llaso_data.shards import layout, manifest, reader, sound_spool, writer
from llaso_data.shards.sound_spool import SoundSpool
from llaso_data.shards.stats import stats
from llaso_data.shards.tar import ShardError
from llaso_data.shards.validate import validate
from llaso_data.stream import Mixture, StreamingLoader
from tests.llaso_data.records.test_samples import samples

RATE_HZ = audio.SAMPLE_RATE_HZ


def tone(path: Path, seconds: float, hz: float) -> audio.Pcm:
    pcm = np.round(8000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.int16)
    soundfile.write(path, pcm, RATE_HZ)
    return pcm


def pointer(path: Path, start_s: float | None = None, end_s: float | None = None) -> Utterance:
    """What a corpus says of a file that nobody has decoded."""
    identity = records.utterance_id("tones", path.name, None, start_s, end_s)
    source = Source(corpus="tones", uri=str(path), start_s=start_s, end_s=end_s)
    return Utterance(id=identity, recording=identity, source=source, text="a tone", text_origin=GIVEN)


def conversations(folder: Path) -> list[Sample]:
    """Every shape that a conversation has: one audio, several, none, a spoken answer, an utterance heard twice."""
    low, high, long = (folder / name for name in ("low.wav", "high.wav", "long.wav"))
    pcm = tone(low, 0.5, 220)
    tone(high, 0.75, 440)
    tone(long, 2.0, 330)
    observed = dataclasses.replace(
        pointer(low),
        audio_id=audio.audio_id(pcm),
        duration_s=0.5,
        language="en",
        words=(Word("a", 0.0, 0.2, -0.5), Word("tone", 0.2, 0.5)),
        speaker=Speaker(id=Attribute("s", GIVEN)),
    )
    first, second = pointer(long, 0.25, 1.0), pointer(long, 1.0, 2.0)
    kept = {"label": 3, "tags": ["a", {"b": None}], "naïve": "“x”"}
    return [
        Sample(
            task="asr",
            messages=(Message.of("user", "What?", 0), Message.of("assistant", "A tone.")),
            audios=(observed,),
        ),
        Sample(
            task="compare",
            messages=(
                Message.of("system", "Be brief."),
                Message.of("user", 0, "or", 1),
                Message.of("assistant", "No."),
            ),
            audios=(observed, pointer(high)),
            language="en",
            split="test",
            provenance=Provenance(layout="llaso", file="rows.json", row=7, template="compare/3", seed=5, kept=kept),
        ),
        Sample(task="chat", messages=(Message.of("user", "Hello."), Message.of("assistant", "Hello!")), split="train"),
        Sample(
            task="speak",
            messages=(
                Message.of("user", 0),
                Message.of("assistant", "Listen.", 1),
                Message.of("user", 2),
                Message.of("assistant", 3),
            ),
            audios=(pointer(high), first, second, first),
            provenance=Provenance(voice="espeak/en"),
        ),
        Sample(
            task="twice", messages=(Message.of("user", 0, 1), Message.of("assistant", "Twice.")), audios=(first,) * 2
        ),
        Sample(task="begin", messages=(Message.of("assistant", 0), Message.of("user", "Yes.")), audios=(second,)),
    ]


def write(out: Path, made: Sequence[Sample], extension: str = "flac") -> None:
    name = layout.shard_name(0)
    with SoundSpool(extension, str(out / name)) as spool:  # type: ignore[arg-type]
        assert spool.add(made) == []
        info = writer.write(str(out), name, spool.encoded(), digest="d", dataset="set")
    sidecar = str(out / layout.sidecar_name(name))
    manifest.finish(str(out), [(sidecar, info)], profile=manifest.LLASO, plan="0" * 32, options=None, source=None)


@pytest.mark.parametrize("extension", ["flac", "opus"])
def test_every_conversation_is_valid_counted_and_read_back(tmp_path: Path, extension: str) -> None:
    made, out = conversations(tmp_path), tmp_path / "out"
    write(out, made, extension)
    assert validate(str(out)).problems == ()
    assert {name: row["samples"] for name, row in stats(str(out)).modalities.items()} == {
        "text+audio": 1, "text+audio+text+audio": 1, "text": 1, "audio": 2, "unknown": 1,
    }  # fmt: skip
    found = {sample.id: (sample, sounds) for sample, sounds in reader.samples(str(out))}
    assert found.keys() == {sample.id for sample in made}
    for sample in made:
        same, sounds = found[sample.id]
        assert list(sounds) == layout.audio_parts(len(sample.audios), extension)
        audios = []
        for pointed, read, data in zip(sample.audios, same.audios, sounds.values(), strict=True):
            pcm = audio.decode(pointed.source.uri, None, pointed.source.start_s, pointed.source.end_s)[0]
            assert extension != "flac" or np.array_equal(audio.decode_bytes(data), pcm)
            assert (read.audio_id, read.duration_s) == (audio.audio_id(pcm), len(pcm) / RATE_HZ)
            decoded = dataclasses.replace(pointed.source, sampling_rate_hz=RATE_HZ, channels=1)
            audios.append(
                dataclasses.replace(pointed, source=decoded, audio_id=read.audio_id, duration_s=read.duration_s)
            )
        assert same == dataclasses.replace(sample, audios=tuple(audios))


def test_split_and_provenance_stand_in_the_json_only_where_they_say_something(tmp_path: Path) -> None:
    write(tmp_path / "out", conversations(tmp_path))
    said = {c["task"]: c for _, parts in reader.iterate(str(tmp_path / "out")) for c in [json.loads(parts["json"])]}
    assert {task for task, content in said.items() if "split" in content} == {"compare", "chat"}
    assert said["speak"]["provenance"] == {"voice": "espeak/en"}
    assert said["compare"]["provenance"]["kept"] == {"label": 3, "tags": ["a", {"b": None}], "naïve": "“x”"}
    assert "provenance" not in said["asr"] and "provenance" not in said["chat"]


def test_other_programs_and_the_loader_read_every_conversation(tmp_path: Path) -> None:
    made, out = conversations(tmp_path), tmp_path / "out"
    write(out, made)
    keys = {
        layout.key_of(sample, layout.audio_parts(len(sample.audios), "flac")): [
            len(audio.decode_bytes(data)) for data in sounds.values()
        ]
        for sample, sounds in reader.samples(str(out))
    }
    assert keys.keys() == {layout.key_of(sample, layout.audio_parts(len(sample.audios), "flac")) for sample in made}
    seen: dict[str, list[int]] = {}
    for batch in StreamingLoader(Mixture.of(str(out)), "60s"):
        assert batch.replaced == () and batch.lengths is not None and batch.audio_of is not None
        for number, sample in enumerate(batch.samples):
            seen[sample.key] = batch.lengths[batch.audio_of == number].tolist()
    assert seen == keys
    others = list(webdataset.WebDataset(str(out / layout.shard_name(0)), shardshuffle=False))
    assert {sample["__key__"]: sum(part.endswith("flac") for part in sample) for sample in others} == {
        key: len(sizes) for key, sizes in keys.items()
    }


@settings(max_examples=50, deadline=None)
@given(samples().filter(lambda sample: math.isfinite(sample.duration_s)))  # two lengths can be more than a float holds
def test_any_sample_survives_the_json_of_a_shard(made: Sample) -> None:
    sounds = dict.fromkeys(layout.audio_parts(len(made.audios), "flac"), b"")
    encoded = layout.encode_sample(made, sounds)
    assert encoded.key == layout.key_of(made, layout.audio_parts(len(made.audios), "flac"))
    content = json.loads(encoded.parts["json"])
    assert layout.canonical(content) == encoded.parts["json"]
    read = layout.decode_sample(content)
    stored = tuple(dataclasses.replace(heard, failure=None, decoding=None) for heard in made.audios)
    assert read == dataclasses.replace(made, audios=stored)
    assert (encoded.modality, layout.modality(content["messages"])) == (made.modality, made.modality)


def test_sounds_that_do_not_fit_in_memory_wait_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = conversations(tmp_path)
    write(tmp_path / "held", made)
    monkeypatch.setattr(sound_spool, "_MEMORY_BYTES", 5000)  # the first fits, and the last do not
    write(tmp_path / "filed", made)
    name = layout.shard_name(0)
    assert (tmp_path / "filed" / name).read_bytes() == (tmp_path / "held" / name).read_bytes()


def test_a_sample_whose_sound_cannot_be_had_is_one_problem_and_is_not_taken(tmp_path: Path) -> None:
    made = conversations(tmp_path)
    tone(tmp_path / "low.wav", 0.5, 225)
    (tmp_path / "high.wav").unlink()
    with SoundSpool("flac", "here") as spool:
        problems = spool.add(made)
        assert len(list(spool.encoded())) == len(made) - 3
        assert [made[number].id for number in spool.numbers()] == [sample.id for sample in spool.samples()]
    assert sorted(problem.detail.rpartition("/")[2] for problem in problems) == [
        "high.wav: no such file; correct the path or remove the entry",
        "low.wav: the audio is not the one that was observed",
        "low.wav: the audio is not the one that was observed",
    ]


def test_sounds_that_are_not_those_of_the_sample_are_refused(tmp_path: Path) -> None:
    one, two, none = conversations(tmp_path)[:3]
    wrong: list[tuple[Sample, list[str]]] = [
        (one, []), (one, ["0.flac"]), (two, ["flac", "1.flac"]), (two, ["1.flac", "0.flac"]), (none, ["flac"]),
    ]  # fmt: skip
    for sample, parts in wrong:
        with pytest.raises(ValueError, match="cannot have the audio parts"):
            layout.encode_sample(sample, dict.fromkeys(parts, b""))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "audio", "audio": "wav"}]}]},
            "names the audio 'wav'",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "neither a text nor the number"),
        ({"messages": []}, "has no messages"),
        ({"messages": 3}, "not of the form"),
        ({"audios": [{"part": "flac"}]}, "has no 'id'"),
        ({"audios": [{"part": ["flac"], "id": "x"}]}, "not of the form"),
        ({"format_version": 2}, "format version 2"),
        ({"split": "dev"}, "none of train"),
    ],
)
def test_a_json_of_another_form_is_refused_by_its_key(tmp_path: Path, change: dict[str, object], said: str) -> None:
    made = conversations(tmp_path)[0]
    encoded = layout.encode_sample(dataclasses.replace(made), {"flac": b""})
    content = {**json.loads(encoded.parts["json"]), **change}
    broken = dataclasses.replace(encoded, parts={"flac": b"", "json": layout.canonical(content)})
    info = writer.write(str(tmp_path / "out"), "shard-000000.tar", [broken], digest="d", dataset="set")
    shards = [(str(tmp_path / "out" / "shard-000000.arrow"), info)]
    manifest.finish(str(tmp_path / "out"), shards, profile="llaso", plan="0" * 32, options=None, source=None)
    with pytest.raises(ShardError, match=f"sample {encoded.key}: .*{said}"):
        list(reader.samples(str(tmp_path / "out")))


def test_a_text_of_another_program_is_one_part(tmp_path: Path) -> None:
    content = {"task": "t", "messages": [{"role": "user", "content": "Hello."}], "audios": []}
    assert layout.decode_sample(content) == Sample(task="t", messages=(Message.of("user", "Hello."),))
    with pytest.raises(LLaSOError, match="has no 'task'"):
        layout.decode_sample({"messages": [], "audios": []})
