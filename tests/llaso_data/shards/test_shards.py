"""Shards: planned by arithmetic, written whole, read by anything, believed by nobody."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import audio, recipe, records
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.instruct import asr
from llaso_data.io import checksums
from llaso_data.pipeline import shard_plan
from llaso_data.pipeline.shard import ShardResult, ShardSummary, shard_dataset
from llaso_data.records import GIVEN, Attribute, Scores, Source, Speaker, Utterance, Verdict, Word
from llaso_data.shards import foreign, layout, reader, tar
from llaso_data.shards.stats import stats
from llaso_data.shards.validate import validate

RATE_HZ = 16_000
CLIPS = 9
SPANS = ((0.0, 1.5), (1.5, 2.25), (2.25, 4.0))


def backwards(function: Callable[[Any], Any], tasks: Iterable[Any], run: recipe.Run) -> Iterator[Any]:
    return map(function, reversed(list(tasks)))


def chirp(seconds: float, number: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * (200 + 40 * number + 300 * time_s) * time_s)).astype(np.int16)


def observed(
    folder: Path, name: str, pcm: np.ndarray[Any, Any], start_s: float | None, end_s: float | None
) -> Utterance:
    piece = pcm if start_s is None or end_s is None else pcm[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
    seconds = len(piece) / RATE_HZ
    return Utterance(
        id=records.utterance_id("chirps", name, None, start_s, end_s),
        recording=records.utterance_id("chirps", name),
        source=Source(corpus="chirps", uri=str(folder / name), start_s=start_s, end_s=end_s),
        audio_id=audio.audio_id(piece),
        duration_s=seconds,
        language="en",
        text=f"chirp, naïve “{name}”",
        text_origin=GIVEN,
        words=(Word("chirp,", 0.0, round(seconds / 2, 3), -0.5),),
        speaker=Speaker(id=Attribute(f"s{len(name) % 2}", GIVEN), gender=Attribute("female", GIVEN)),
        scores=Scores(avg_logprob=-0.25),
    )


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """An output of build-align: nine clips, and a recording of which three spans were cut; two rejected."""
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    utterances = []
    for number in range(CLIPS):
        pcm = chirp(0.4 + 0.1 * number, number)
        soundfile.write(sounds / f"clip{number}.wav", pcm, RATE_HZ)
        utterances.append(observed(sounds, f"clip{number}.wav", pcm, None, None))
    long = chirp(4.0, 30)
    soundfile.write(sounds / "long.wav", long, RATE_HZ)
    utterances += [observed(sounds, "long.wav", long, start_s, end_s) for start_s, end_s in SPANS]
    utterances += [dataclasses.replace(utterances[0], id=records.digest("rejected", n)) for n in range(2)]
    return build_output(tmp_path / "built", utterances)


def build_output(out: Path, utterances: list[Utterance]) -> Path:
    (out / "observations").mkdir(parents=True)
    (out / "verdicts").mkdir()
    blocks = [utterances[:5], utterances[5:]]
    names = [records.digest(*records.ids(block)) for block in blocks]
    for name, block in zip(names, blocks, strict=True):
        pq.write_table(records.to_table(block, Utterance), out / "observations" / f"{name}.parquet", compression="zstd")
    verdicts = [
        Verdict(id=u.id, verdict=records.ACCEPTED if number < CLIPS + len(SPANS) else records.REJECTED)
        for number, u in enumerate(utterances)
    ]
    digest = records.digest(*(v.verdict for v in verdicts), *names)
    pq.write_table(records.to_table(verdicts, Verdict), out / "verdicts" / f"{digest}.parquet")
    stated = {"format_version": records.FORMAT_VERSION, "blocks": names, "verdicts": digest, "recipe": {}}
    (out / "manifest.json").write_text(json.dumps(stated))
    return out


def write(built: Path, out: Path | str, each: Any = None, overwrite: bool = False, **options: Any) -> ShardSummary:
    spec = recipe.Shard(**{"samples_per_shard": 5, **options})
    return shard_dataset(str(built), str(out), spec, recipe.Run(engine="local"), each=each, overwrite=overwrite)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# Instructions


def test_instructions_are_a_pure_draw_that_reaches_every_template() -> None:
    assert len(set(asr.TEMPLATES)) == len(asr.TEMPLATES) >= 18
    ids = [records.digest(number) for number in range(600)]
    assert {asr.instruction(item) for item in ids} == set(asr.TEMPLATES)
    assert asr.instruction(ids[0], 7) == asr.instruction(ids[0], 7)
    assert [asr.instruction(item, 1) for item in ids] != [asr.instruction(item, 2) for item in ids]


# The plan


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_hashes_are_the_digits_of_the_id(ids: list[bytes]) -> None:
    column = pa.array(["0" * 32, *(item.hex() for item in ids)], pa.string()).slice(1)
    words = columns.hashes(pa.chunked_array([column]), "id")
    assert [(int(high) << 64) | int(low) for high, low in words] == [int.from_bytes(item, "big") for item in ids]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_keeps_files_together_and_ignores_the_order_of_the_input(
    files: list[int], seed: int, random: Any
) -> None:
    file = np.array(files, np.uint64)
    ids = np.stack([np.arange(len(files)), np.zeros(len(files))], axis=1).astype(np.uint64)
    start_s = np.array([random.random() for _ in files])
    order = shard_plan.order(ids, file, start_s, seed)
    assert sorted(order) == list(range(len(files)))
    runs = 1 + np.count_nonzero(np.diff(file[order].astype(int)))
    assert runs == len(set(files))
    shuffled = np.array(random.sample(range(len(files)), len(files)))
    again = shard_plan.order(ids[shuffled], file[shuffled], start_s[shuffled], seed)
    assert shuffled[again].tolist() == order.tolist()


def test_spans_of_one_file_share_a_hash_wherever_the_corpus_stands() -> None:
    recordings = np.array([9, 4, 7, 1], np.uint64)
    for x, y in ((500, 600), (600, 500)):
        keys = np.array([x, 0, x, y], np.uint64)
        assert shard_plan.file_hashes(recordings, keys).tolist() == [7, 4, 7, 1]


def test_the_seed_changes_which_samples_share_a_shard(built: Path) -> None:
    plans = [shard_plan.plan(str(built), recipe.Shard(samples_per_shard=4, seed=seed)) for seed in (0, 0, 1)]
    rows = [[sorted(plan.rows(number)) for number in range(plan.shards)] for plan in plans]
    assert rows[0] == rows[1] != rows[2]


# Writing


def test_webdataset_reads_the_same_samples_with_the_same_pcm(built: Path, tmp_path: Path) -> None:
    summary = write(built, tmp_path / "out")
    assert (summary.shards, summary.samples, summary.skipped) == (3, CLIPS + len(SPANS), 0)
    tars = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len(samples) == summary.samples
    for sample in samples:
        said = json.loads(sample["json"])
        source = said["audios"][0]["source"]
        expected, _ = audio.decode(source["uri"], None, source["start_s"], source["end_s"])
        assert np.array_equal(audio.decode_bytes(sample["flac"]), expected)
        assert said["messages"][0]["content"][0]["text"] in asr.TEMPLATES
        assert said["messages"][1]["content"][0]["text"] == said["audios"][0]["text"]
        assert sample["__key__"] == said["key"]


def test_what_is_written_is_valid_and_counted(built: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    summary = write(built, out)
    report, counted = validate(out), stats(out)
    assert report.problems == ()
    assert report.samples == counted.samples == summary.samples == len(list(reader.iterate(out)))
    assert report.hours == counted.hours == summary.hours
    assert counted.speakers == 2 and counted.genders == {"female": summary.samples}
    assert counted.duration_quantiles_s["0"] == 0.4 and counted.duration_quantiles_s["1"] == 1.75


def test_the_same_input_gives_the_same_bytes_in_any_order_of_work(built: Path, tmp_path: Path) -> None:
    write(built, tmp_path / "a")
    write(built, tmp_path / "b", backwards)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("format", ["opus", "wav"])
def test_other_audio_formats_are_valid_too(built: Path, tmp_path: Path, format: str) -> None:
    write(built, tmp_path / "out", audio=format)
    assert validate(str(tmp_path / "out")).problems == ()


def test_shards_on_another_store(built: Path, tmp_path: Path) -> None:
    write(built, "memory://bucket/shards")
    write(built, tmp_path / "out")
    assert validate("memory://bucket/shards").problems == ()
    assert list(reader.iterate("memory://bucket/shards")) == list(reader.iterate(str(tmp_path / "out")))
    assert write(built, "memory://bucket/shards").skipped == 3


def test_a_rerun_writes_only_what_is_missing(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(built, out)
    before = contents(out)
    (out / "shard-000001.arrow").unlink()  # as if killed between tar and index
    (out / "shard-000002.tar").write_bytes(b"")
    for name in ("manifest.json", "index.arrow"):
        (out / name).unlink()
    assert write(built, out).skipped == 1
    assert contents(out) == before
    assert write(built, out).skipped == 3


def test_changed_audio_is_refused_by_name_and_a_rerun_goes_on(built: Path, tmp_path: Path) -> None:
    clip = tmp_path / "sounds" / "clip3.wav"
    original = clip.read_bytes()
    soundfile.write(clip, chirp(0.7, 99), RATE_HZ)
    with pytest.raises(LLaSOError, match=r"1 of 3 shards were not written(.|\n)*clip3\.wav"):
        write(built, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2
    assert not (tmp_path / "out" / "manifest.json").exists()
    clip.unlink()
    with pytest.raises(LLaSOError, match=r"clip3\.wav: no such file"):
        write(built, tmp_path / "out")
    clip.write_bytes(original)
    assert write(built, tmp_path / "out").skipped == 2
    assert validate(str(tmp_path / "out")).ok


def test_other_shards_are_replaced_only_when_told_to(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(built, out)
    before = contents(out)
    with pytest.raises(LLaSOError, match="--overwrite"):
        write(built, out, samples_per_shard=100)
    assert contents(out) == before
    (out / "notes.txt").write_text("mine")
    write(built, out, samples_per_shard=100, overwrite=True)
    assert sorted(contents(out)) == [
        "index.arrow",
        "manifest.json",
        "notes.txt",
        "shard-000000.arrow",
        "shard-000000.tar",
    ]
    assert validate(str(out)).ok


def test_an_unfinished_run_with_other_options_is_noticed(built: Path, tmp_path: Path) -> None:
    write(built, tmp_path / "out")
    for name in ("manifest.json", "index.arrow", "shard-000000.arrow"):
        (tmp_path / "out" / name).unlink()
    with pytest.raises(LLaSOError, match="--overwrite"):
        write(built, tmp_path / "out", seed=1)


def test_somebody_elses_tar_is_not_overwritten(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "shard-000000.tar"
    path.parent.mkdir()
    path.write_bytes(stdlib_tar({"a.txt": b"theirs"}))
    for overwrite in (False, True):
        with pytest.raises(LLaSOError, match=r"shard-000000\.tar exists and was not written by"):
            write(built, path.parent, overwrite=overwrite)


def test_other_files_under_the_names_of_shards_stay(built: Path, tmp_path: Path) -> None:
    """With --overwrite, too: it replaces shards, and nothing else."""
    theirs = {
        "manifest.json": b'{"audio_filepath": "a.wav"}\n',
        "index.arrow": b"somebody's table",
        "certificate.json": b'{"course": "first aid"}',
        "shard-000001.arrow": b"somebody's table",
        "shard-000002.tar": b"a tar of somebody's",
    }
    write(built, tmp_path / "shards")
    for name, text in theirs.items():
        # Alone, and beside finished shards of other options, where an index can be but our own, damaged.
        for others in (False, True) if name != "index.arrow" else (False,):
            out = tmp_path / f"{name}-{others}"
            out.mkdir()
            if others:
                shutil.copytree(tmp_path / "shards", out, dirs_exist_ok=True)
                (out / "shard-000001.tar").unlink()
            (out / name).write_bytes(text)
            before = contents(out)
            with pytest.raises(LLaSOError, match=re.escape(name)):
                write(built, out, seed=1, overwrite=True)
            assert contents(out) == before


def test_tars_that_were_indexed_are_not_overwritten_as_shards(built: Path, tmp_path: Path) -> None:
    """Their manifest, sidecars and index are ours; the tars are not, even under the names of shards."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "shard-000000.tar").write_bytes(stdlib_tar({"a.wav": wav(0.5, 1)}))
    foreign.index_foreign(str(out))
    before = contents(out)
    for names in ((), ("manifest.json",), ("index.arrow",)):
        for name in names:
            (out / name).unlink()
            del before[name]
        with pytest.raises(LLaSOError, match=r"choose another --out|was not written by `llaso-data shard`"):
            write(built, out, overwrite=True)
        assert contents(out) == before


def test_an_unfinished_build_is_refused(built: Path, tmp_path: Path) -> None:
    (built / "manifest.json").unlink()
    with pytest.raises(LLaSOError, match="build-align"):
        write(built, tmp_path / "out")


def test_progress_sees_every_shard(built: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, ShardResult]] = []
    spec = recipe.Shard(samples_per_shard=5)
    shard_dataset(
        str(built), str(tmp_path / "out"), spec, recipe.Run(engine="local"), progress=lambda *call: seen.append(call)
    )
    assert [call[:2] for call in seen] == [(1, 3), (2, 3), (3, 3)]


# Validation


def damage_audio(out: Path) -> None:
    flip(out / "shard-000000.tar", 1200)


def damage_header(out: Path) -> None:
    flip(out / "shard-000000.tar", 110)


def cut_short(out: Path) -> None:
    path = out / "shard-000000.tar"
    path.write_bytes(path.read_bytes()[:-600])


def remove_tar(out: Path) -> None:
    (out / "shard-000000.tar").unlink()


def remove_sidecar(out: Path) -> None:
    (out / "shard-000000.arrow").unlink()


def add_tar(out: Path) -> None:
    (out / "shard-000007.tar").write_bytes(tar.END)


def swap_sidecars(out: Path) -> None:
    (out / "shard-000000.arrow").write_bytes((out / "shard-000001.arrow").read_bytes())


def miscount(out: Path) -> None:
    stated = json.loads((out / "manifest.json").read_text())
    stated["languages"]["en"]["samples"] += 1
    checksums.write_json(str(out / "manifest.json"), stated)


def forge_digest(out: Path) -> None:
    stated = json.loads((out / "manifest.json").read_text())
    stated["digest"] = "no digest"
    checksums.write_json(str(out / "manifest.json"), stated)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (damage_audio, "shard-000000.tar", "another sha256"),
        (damage_audio, "shard-000000.tar", "parts"),
        (damage_header, "shard-000000.tar", "tar header"),
        (cut_short, "shard-000000.tar", "cut short"),
        (remove_tar, "shard-000000.tar", "missing"),
        (remove_sidecar, "shard-000000.tar", "sidecar"),
        (swap_sidecars, "shard-000000.tar", "shard-000000.arrow differs"),
        (add_tar, "shard-000007.tar", "not in the manifest"),
        (miscount, "manifest.json", "languages"),
        (forge_digest, "manifest.json", r"\$\.digest"),
    ],
)
def test_validation_names_every_damage(
    built: Path, tmp_path: Path, damage: Callable[[Path], None], where: str, what: str
) -> None:
    write(built, tmp_path / "out")
    damage(tmp_path / "out")
    report = validate(str(tmp_path / "out"))
    assert not report.ok
    assert any(problem.shard == where and re.search(what, problem.what) for problem in report.problems), report.problems


def test_a_sample_whose_json_lies_is_found(tmp_path: Path) -> None:
    from llaso_data.shards import manifest, writer

    pcm = chirp(0.5, 1)
    utterance = dataclasses.replace(observed(tmp_path, "x.wav", pcm, None, None), duration_s=2.0)
    sample = layout.encode_sample(asr.make(utterance), {"flac": audio.encode(pcm, "flac")})
    forged = dataclasses.replace(sample, parts={**sample.parts, "txt": b"unnamed"})
    info = writer.write(str(tmp_path / "out"), "shard-000000.tar", [forged], digest="0" * 32, dataset="0" * 32)
    sidecar = str(tmp_path / "out" / "shard-000000.arrow")
    manifest.finish(str(tmp_path / "out"), [(sidecar, info)], profile="llaso", plan="0" * 32, options={}, source=None)
    problems = [problem.what for problem in validate(str(tmp_path / "out")).problems]
    assert len(problems) == 2
    assert "lasts 0.500 s, the JSON says 2.000 s" in problems[1]
    assert "the tar ['flac', 'json', 'txt']" in problems[0]


def test_the_reader_checks_what_it_reads(built: Path, tmp_path: Path) -> None:
    write(built, tmp_path / "out")
    index = reader.open_index(str(tmp_path / "out"))
    row = index.row(0)
    assert json.loads(reader.read_sample(index.shards[0], row)["json"])["key"] == row["key"]
    flip(tmp_path / "out" / "shard-000000.tar", row["parts"][0]["offset"] + 5)
    with pytest.raises(tar.ShardError, match=f"{row['key']}.*CRC-32"):
        reader.read_sample(index.shards[0], row)
    cut_short(tmp_path / "out")


def test_a_newer_format_is_refused(built: Path, tmp_path: Path) -> None:
    write(built, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(LLaSOError, match="format version 99"):
        validate(str(tmp_path / "out"))


# The tar profile


@given(
    st.lists(st.tuples(st.from_regex(r"[a-zA-Z0-9_-]{1,40}\.[a-z0-9]{1,8}", fullmatch=True), st.binary(max_size=1500)))
)
def test_the_profile_is_a_tar_that_others_read(parts: list[tuple[str, bytes]]) -> None:
    data = b"".join(tar.header(name, len(part)) + part + tar.padding(len(part)) for name, part in parts) + tar.END
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        theirs = [(info.name, info.offset_data, info.size) for info in archive]
    ours = [(member.name, member.offset, member.size) for member in tar.members(io.BytesIO(data))]
    assert ours == theirs
    assert [data[offset : offset + size] for _, offset, size in ours] == [part for _, part in parts]


@pytest.mark.parametrize("key", ["a.b", "", "../x", "k" * 96, "a/b", "é"])
def test_keys_that_would_be_read_back_differently_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        layout.member_name(key, "flac")


# Tars made elsewhere


def stdlib_tar(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def wav(seconds: float, number: int) -> bytes:
    return audio.encode(chirp(seconds, number), "wav")


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_foreign_tars_are_grouped_as_webdataset_groups_them(tmp_path: Path, format: int) -> None:
    deep = "speaker " + "ü" * 80
    files = {
        "__info__": b"{}",
        f"{deep}/a.0.wav": wav(0.25, 1),
        f"{deep}/a.1.WAV": wav(0.5, 2),
        f"{deep}/a.json": json.dumps({"text": "öl", "language": "de"}).encode(),
        "b.wav": wav(1.0, 3),
        "b.txt": b"hello\n",
        "no extension": b"?",
        "c.txt": b"only text",
    }
    path = tmp_path / "train-0.tar"
    path.write_bytes(stdlib_tar(files, format))
    summary = foreign.index_foreign(str(tmp_path), language="en")
    theirs = [
        (s["__key__"], {ext: data for ext, data in s.items() if not ext.startswith("__")})
        for s in webdataset.WebDataset(str(path), shardshuffle=False)
    ]
    assert list(reader.iterate(str(tmp_path))) == theirs
    assert (summary.samples, summary.skipped) == (3, ("train-0.tar!__info__", "train-0.tar!no extension"))
    rows = reader.open_index(str(tmp_path)).table.to_pylist()
    assert [(r["duration_s"], r["text_bytes"], r["language"], r["modality"]) for r in rows] == [
        (0.75, 3, "de", "audio"),
        (1.0, 5, "en", "audio"),
        (0.0, 9, "en", "text"),
    ]
    assert validate(str(tmp_path)).problems == ()


def test_only_changed_foreign_tars_are_read_again(tmp_path: Path) -> None:
    for name in ("a.tar", "sub/b.tar"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(stdlib_tar({"x.wav": wav(0.5, 1)}))
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    assert foreign.index_foreign(source, out).reused == 0
    assert foreign.index_foreign(source, out).reused == 2
    (tmp_path / "in" / "a.tar").write_bytes(stdlib_tar({"x.wav": wav(0.5, 1), "y.wav": wav(0.25, 1)}))
    again = foreign.index_foreign(source, out)
    assert (again.reused, again.samples) == (1, 3)
    assert [key for key, _ in reader.iterate(out)] == ["x", "y", "x"]
    assert sorted(path.name for path in (tmp_path / "in").rglob("*") if path.is_file()) == ["a.tar", "b.tar"]


@pytest.mark.parametrize("name", ["../x.wav", "/etc/x.wav", "a/../../x.wav", "..\\x.wav"])
def test_foreign_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(stdlib_tar({name: b"x"}))
    with pytest.raises(LLaSOError, match="leave the folder"):
        foreign.index_foreign(str(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "gzip"])
def test_damaged_foreign_tars_are_refused(tmp_path: Path, damage: str) -> None:
    data = stdlib_tar({"a.wav": wav(0.5, 1), "b.wav": wav(0.5, 2)}, tarfile.USTAR_FORMAT)
    second = data.index(b"b.wav")
    damaged = {
        "cut": data[: second + 1000],
        "header": data[:second] + b"\xff" * 512 + data[second + 512 :],
        "empty": b"",
        "gzip": gzip.compress(data),
    }
    (tmp_path / "a.tar").write_bytes(damaged[damage])
    with pytest.raises(tar.ShardError, match=r"a\.tar"):
        foreign.index_foreign(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


def test_unreadable_audio_in_a_foreign_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(stdlib_tar({"a.wav": b"not audio", "b.wav": wav(0.5, 1)}))
    summary = foreign.index_foreign(str(tmp_path))
    assert summary.samples == 2
    assert len(summary.problems) == 1 and "a.tar!a.wav" in summary.problems[0]


def test_indexing_never_replaces_what_is_not_an_index(built: Path, tmp_path: Path) -> None:
    write(built, tmp_path / "out")
    with pytest.raises(LLaSOError, match="--out"):
        foreign.index_foreign(str(tmp_path / "out"))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.tar").write_bytes(stdlib_tar({"a.wav": wav(0.5, 1)}))
    (tmp_path / "x" / "a.arrow").write_bytes(b"somebody's table")
    with pytest.raises(LLaSOError, match="--out"):
        foreign.index_foreign(str(tmp_path / "x"))
    assert (tmp_path / "x" / "a.arrow").read_bytes() == b"somebody's table"
    (tmp_path / "x" / "a.arrow").unlink()
    (tmp_path / "x" / "index.arrow").write_bytes(b"somebody's table")
    with pytest.raises(LLaSOError, match=r"index\.arrow exists and was not written by `llaso-data index`"):
        foreign.index_foreign(str(tmp_path / "x"))
    assert sorted(contents(tmp_path / "x")) == ["a.tar", "index.arrow"]
    for name in ("manifest.json", "index.arrow"):  # a killed run of shard has neither yet
        (tmp_path / "out" / name).unlink()
    before = contents(tmp_path / "out")
    with pytest.raises(LLaSOError, match=r"shard-000000\.arrow exists and was not written by `llaso-data index`"):
        foreign.index_foreign(str(tmp_path / "out"))
    assert contents(tmp_path / "out") == before
