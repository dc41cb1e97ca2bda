"""Everything that reads bytes which others wrote, as functions to throw bytes at, with real files to start from.

``bench/fuzz.py`` runs them for minutes, ``tests/system/test_fuzz.py`` for seconds. A target may raise a
:class:`~llaso_data.errors.LLaSOError`, which the command line prints as one message, and nothing else; it may write
only into the folder that it is given.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data import formats, languages, records
from llaso_data.audio import containers, joined, limited
from llaso_data.audio.encoding import encode
from llaso_data.errors import LLaSOError
from llaso_data.formats.files import braces
from llaso_data.formats.files.file_tree import compile_glob
from llaso_data.formats.rows import vocabulary
from llaso_data.io import archive, checksums, sealed
from llaso_data.pipeline import commit, load_recipe, shard_plan
from llaso_data.pipeline.judge import judge
from llaso_data.recipe import Judge, Recipe, Shard, SourceSpec
from llaso_data.records import Source, Utterance
from llaso_data.report.rejections import lines, rejections
from llaso_data.shards import foreign, index, layout, manifest, reader, tar, writer
from llaso_data.shards.layout import EncodedSample
from llaso_data.shards.stats import stats
from llaso_data.shards.validate import validate
from tests.support import fuzz_corpora, fuzz_layouts, fuzz_zips
from tests.support.paths import REPOSITORY

GOLDEN = REPOSITORY / "shards" / "golden"
RECIPES = REPOSITORY / "pipelines"
SOUND_BYTES = 2_000  # of a golden sample's audio: mutations should rather hit what we parse ourselves

Run = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Target:
    """``run`` gets bytes and an empty folder; ``seeds`` are whole files of the kind."""

    run: Run
    seeds: tuple[bytes, ...]


# Shards


def make_shards(folder: Path) -> None:
    """The golden samples in one shard, their audio cut short: the same tables and JSON in a tenth of the bytes."""
    samples = []
    for key, parts in reader.iterate(str(GOLDEN)):
        said = json.loads(parts[layout.JSON_PART])
        short = {part: data if part == layout.JSON_PART else data[:SOUND_BYTES] for part, data in parts.items()}
        modality = layout.modality(said["messages"])
        size = layout.text_bytes(said["messages"])
        samples.append(EncodedSample(key=key, parts=short, duration_s=1.0, text_bytes=size, task=said["task"],
                              language=said["language"], modality=modality))  # fmt: skip
    name = layout.shard_name(0)
    info = writer.write(str(folder), name, sorted(samples, key=lambda s: s.key)[:2], digest="d", dataset="plan")
    sidecar = str(folder / layout.sidecar_name(name))
    manifest.finish(str(folder), [(sidecar, info)], profile=manifest.LLASO, plan="plan", options=None, source=None)


def shards(name: str, made: Path, data: bytes, folder: Path) -> None:
    """A set of shards of which one file is replaced, read in all the ways that there are."""
    for path in made.iterdir():
        shutil.copyfile(path, folder / path.name)
    (folder / name).write_bytes(data)
    uri = str(folder)
    each(
        lambda: sum(1 for _ in reader.iterate(uri)),
        lambda: fuzz_layouts.instructed(uri),
        lambda: _rows(uri),
        lambda: validate(uri),
        lambda: stats(uri),
        lambda: manifest.plan_of(uri),
        lambda: index.sidecar_info(f"{uri}/shard-000000.arrow"),
        lambda: index.write_index(f"{uri}/index.arrow", [(f"{uri}/shard-000000.arrow", "shard-000000.tar")], "d"),
    )


def _rows(uri: str) -> None:
    found = reader.open_index(uri)
    for number in range(len(found)):
        found.row(number)


def shard_tar(data: bytes, folder: Path) -> None:
    tar.is_ours(data[: tar.BLOCK_BYTES])
    each(lambda: list(tar.members(io.BytesIO(data))))


def foreign_tar(data: bytes, folder: Path) -> None:
    """A tar that others wrote: indexed, validated, read as a corpus, and its members opened."""
    path = folder / "foreign.tar"
    path.write_bytes(data)
    uri = str(path)

    def members() -> None:
        for name in archive.directory(uri).members:
            with archive.open_member(uri, name) as file:
                file.read()

    each(members, lambda: listed(uri))
    each(lambda: foreign.index_foreign(str(folder)), lambda: validate(str(folder)))
    each(lambda: sum(1 for _ in reader.iterate(str(folder))), lambda: stats(str(folder)))


# Corpora


def listed(path: str, **spec: Any) -> None:
    """Every input of a corpus, and the first hundreds as the pipeline stores them."""
    found = [item.utterance for item in formats.read(SourceSpec(path=path, **spec))][:300]
    table = records.to_table([records.rounded(utterance) for utterance in found], Utterance)
    table.validate(full=True)
    assert records.from_table(table, Utterance) == found
    json.dumps([records.to_dict(u) for u in found], ensure_ascii=False).encode()


def corpus(name: str, data: bytes, folder: Path) -> None:
    """A corpus of which one file is replaced: a manifest, a table of Common Voice, transcripts …"""
    for path in ("clips/a.mp3", "1-2-0000.flac", "a.wav", "a.sph", name):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    if name == "SPEAKERS.TXT":
        (folder / "1-2.trans.txt").write_text("1-2-0000 A\n")
    (folder / name).write_bytes(data)
    layout_name = fuzz_corpora.layout_of(name)
    path = str(folder / name if layout_name in ("manifest", "speechbrain") else folder)
    each(lambda: listed(path, type=layout_name))
    each(lambda: listed(path))


def words(data: bytes, folder: Path) -> None:
    """What corpora say of speakers, and patterns of names."""
    text = data.decode("utf-8", "surrogateescape")
    assert vocabulary.gender(text) in vocabulary.GENDERS
    assert vocabulary.age_range(text) in vocabulary.AGE_RANGES
    assert vocabulary.slug(vocabulary.slug(text)) == vocabulary.slug(text)
    languages.language(text), vocabulary.accent(text), vocabulary.environment(text)
    if len(text) < 40:  # these two are the user's own words, who only harms himself
        each(lambda: braces.expand_braces(text), lambda: compile_glob(text).fullmatch("a/b/c.wav"))


def container(data: bytes, folder: Path) -> None:
    share = containers.present_share(io.BytesIO(data), len(data))
    assert share is None or 0 <= share < 1
    containers.mp3_states_length(io.BytesIO(data))
    containers.container_name(io.BytesIO(data)), containers.wave_format(io.BytesIO(data))
    places = joined.file_ranges(io.BytesIO(data), len(data)) if data else []
    assert all(start < end for start, end in places)
    assert [end for _, end in places[:-1]] == [start for start, _ in places[1:]]


# Recipes and results


def recipe(data: bytes, folder: Path) -> None:
    """A recipe, and overrides of one."""
    path = folder / "recipe.yaml"
    path.write_bytes(data)

    def round_trip() -> None:
        found: Recipe = load_recipe.load(str(path))
        path.write_text(load_recipe.dump(found), encoding="utf-8")
        assert load_recipe.load(str(path)) == found

    overrides = data.decode("utf-8", "replace").splitlines()[:3]
    each(round_trip, lambda: load_recipe.load(None, overrides))


def make_align(folder: Path) -> None:
    """What build-align would have written of four recordings, of which one failed."""
    found = [
        Utterance(
            id=records.digest(number),
            recording=records.digest(number),
            source=Source(corpus="c", uri=f"/c/{number}.wav", start_s=0.5 if number == 2 else None),
            audio_id=None if number == 3 else records.digest("audio", number),
            duration_s=2.0,
            language="en",
            text="hello",
        )
        for number in range(4)
    ]
    found[3] = records.failed(found[3], "missing", "/c/3.wav: no such file")
    out = str(folder)
    commit.write_block(out, "block", found)
    judged = judge([commit.block_uri(out, "block")], Judge())
    commit.write_table(commit.verdicts_uri(out, "verdicts"), judged.table)
    stated = {"format_version": 1, "blocks": ["block"], "verdicts": "verdicts", **judged.summary()}
    checksums.write_json(commit.manifest_uri(out), stated)


def align(name: str, made: Path, data: bytes, folder: Path) -> None:
    """build-align's output of which one file is replaced."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(data)
    out = str(folder)
    each(
        lambda: list(lines(rejections(out))),
        lambda: fuzz_layouts.instructed(out),
        lambda: shard_plan.plan(out, Shard()),
        lambda: judge([commit.block_uri(out, "block")], Judge()),
    )


# All of them


def each(*calls: Callable[[], object]) -> None:
    """Makes every call; errors that speak to the user are as good as an answer."""
    for call in calls:
        with contextlib.suppress(LLaSOError):
            call()


def targets(made: Path) -> dict[str, Target]:
    """All targets by name; the files that they start from are made in the folder."""
    (made / "shards").mkdir()
    make_shards(made / "shards")
    make_align(made / "align")
    found: dict[str, Target] = {}
    for path in sorted((made / "shards").iterdir()):
        found[f"shards: {path.name}"] = _replacing(shards, path.name, made / "shards")
    for name in ("manifest.json", "verdicts/verdicts.parquet", "observations/block.parquet"):
        found[f"align: {name}"] = _replacing(align, name, made / "align")
    tars = (
        (made / "shards" / "shard-000000.tar").read_bytes(),
        _dialect(tarfile.PAX_FORMAT),
        _dialect(tarfile.GNU_FORMAT),
    )
    found["tar of shards"] = Target(shard_tar, tars)
    found["foreign tar"] = Target(foreign_tar, tars)
    found["zip"] = Target(fuzz_zips.zipped, fuzz_zips.seeds())
    found |= {f"corpus: {name}": Target(partial(corpus, name), seeds) for name, seeds in fuzz_corpora.seeds().items()}
    found |= {name: Target(run, seeds) for name, run, seeds in fuzz_layouts.targets()}
    found["words"] = Target(words, (b"male", b"34 years", b"{000..9}-{a,b}", b"**/[!a]*?", b"Chinese (China)"))
    found["container"] = Target(container, _heads())
    recipes = tuple(path.read_bytes() for path in sorted(RECIPES.glob("*.yaml")))
    found["recipe"] = Target(
        recipe, (*recipes, load_recipe.dump(Recipe()).encode(), b"judge.audit.items=3\nsources.0.path=x")
    )
    return found


def _replacing(run: Callable[[str, Path, bytes, Path], None], name: str, made: Path) -> Target:
    data = (made / name).read_bytes()
    return Target(partial(run, name, made), (data, without_checksum(name, data)))


def without_checksum(name: str, data: bytes) -> bytes:
    """The file as earlier versions wrote it: nothing stands between its bytes and who parses them."""
    file = io.BytesIO()
    if name.endswith(".json"):
        return json.dumps({key: value for key, value in json.loads(data).items() if key != checksums.KEY}).encode()
    if name.endswith(".parquet"):
        pq.write_table(pq.read_table(io.BytesIO(data)), file, compression="zstd")
    elif name.endswith(".arrow"):
        table = pa.ipc.open_file(data).read_all()
        said = {key: value for key, value in table.schema.metadata.items() if key != sealed.FIELD.encode()}
        with pa.ipc.new_file(file, table.schema.with_metadata(said)) as writer:
            writer.write_table(table)
    return file.getvalue() or data


def _dialect(format: int) -> bytes:
    """A tar with long names, in a dialect of tar, of one sample of audio, text and JSON."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as made:
        for name, data in {
            f"{'long' * 40}/é.wav": b"RIFF$\0\0\0WAVEfmt ",
            f"{'long' * 40}/é.txt": b"hello",
            "b.json": b'{"text": "hi", "language": "en", "messages": []}',
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _heads() -> tuple[bytes, ...]:
    """What containers begin with: chunks with sizes."""
    size = (100).to_bytes(4, "little")
    flac, ogg = b"fLaC\x80\0\0\x22" + bytes(40), b"OggS\0\2" + bytes(20) + b"\1\x1e" + bytes(30)
    frame = b"\xff\xfb\x90\x64" + bytes(413)
    tag = frame[:36] + b"Xing\0\0\0\3\0\0\0\1\0\0\3\x42" + frame[52:]
    return (
        flac + flac,
        ogg + b"OggS" + bytes(23) + ogg,
        tag + frame + b"TAG" + bytes(125) + b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + tag + frame * 12,
        b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\x08free" * 2,
        b"\x1a\x45\xdf\xa3\x84\x42\x82\x81m\x18\x53\x80\x67\x81\0" * 2,
        b"RIFF" + size + b"WAVEfmt \x10\0\0\0" + bytes(16) + b"data" + size + bytes(50),
        b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + bytes(28) + b"data\xff\xff\xff\xff" + bytes(50),
        b"caff\0\1\0\0desc" + (32).to_bytes(8, "big") + bytes(32) + b"data" + (100).to_bytes(8, "big") + bytes(50),
        b"FORM" + (100).to_bytes(4, "big") + b"AIFFCOMM" + bytes(20),
        b"OggS\0\2" + bytes(20) + b"\1\x1e" + bytes(30),
        b".snd\0\0\0\x18\0\0\0d" + bytes(30),
        b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + b"\xff\xfb\x90\x64" + bytes(32) + b"Xing\0\0\0\1" + bytes(20),
        b"\x30\x26\xb2\x75" + bytes(26) + containers.ASF_PROPERTIES + bytes(40),
    )


# Throwing


@dataclass
class Outside:
    """Watches this process: ``seen`` are attempts to change what lies outside the folder, or to reach a network."""

    folder: str
    seen: list[str]

    _WRITES = frozenset(("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"))
    _CALLS = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event == "open" and isinstance(args[0], (str, bytes)) and isinstance(args[2], int):
            if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._check(event, args[0])
        elif event in self._WRITES:
            self._check(event, args[1] if event in ("os.rename", "os.symlink", "os.link") else args[0])
        elif event in self._CALLS:
            self.seen.append(f"{event} {args!r}")
            raise OSError(f"not while fuzzing: {event}")

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return  # was opened before
        real = os.path.realpath(os.fsdecode(path))
        if not real.startswith((f"{self.folder}/", "/dev/")) and real != self.folder:
            self.seen.append(f"{event} {real}")


_outside = Outside("", [])


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """What is done outside the folder while this is open. An audit hook stays for ever, so there is one."""
    if not hasattr(sys, "_llaso_outside"):
        sys.addaudithook(_outside)
        sys._llaso_outside = True  # type: ignore[attr-defined]
    _outside.folder, _outside.seen = os.path.realpath(folder), []
    # The first import of a module would be seen to write its bytecode; the watch itself lets nothing through.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield _outside.seen
    finally:
        _outside.folder, sys.dont_write_bytecode = "", writes


_SILENCE = encode(np.zeros(160, np.int16), "wav")


def throw(target: Target, data: bytes, parent: Path) -> None:
    """One input at a target, in a folder of its own that is gone afterwards; raises what it found."""
    limited.decode_bytes(_SILENCE)  # the process that decodes is started before the watch begins
    folder = parent / "target"
    folder.mkdir()
    (parent / "canary").touch()
    try:
        with watched(folder) as seen:
            target.run(data, folder)
        assert not seen, f"outside the target: {seen}"
        assert sorted(os.listdir(parent)) == ["canary", "target"], os.listdir(parent)
    finally:
        shutil.rmtree(folder)


def mutated(data: bytes, draw: random.Random, others: tuple[bytes, ...]) -> bytes:
    """A file with some of its bytes changed, cut, repeated, moved, or taken from another file."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(len(found) + 1)
        length = min(draw.choice((1, 1, 2, 4, 8, 64, 512)), len(found) - at)
        how = draw.randrange(7)
        if how == 0:
            found[at : at + length] = draw.randbytes(length)
        elif how == 1:
            del found[at : at + length]
        elif how == 2:
            found[at:at] = found[at : at + length] * draw.choice((1, 2, 100))
        elif how == 3:
            found[at : at + length] = draw.choice((b"\0", b"\xff", b"9", b"[", b"../", b"\x80\0\0\0")) * length
        elif how == 4:
            del found[at:]
        elif how == 5 and length:
            found[at] ^= 1 << draw.randrange(8)
        else:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            found[at : at + length] = other[start : start + length]
    return bytes(found)
