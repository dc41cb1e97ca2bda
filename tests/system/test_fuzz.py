"""Damaged files are a message or a counted failure: no crash, no hang, nothing written elsewhere. See bench/fuzz.py."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.pipeline import load_recipe
from llaso_data.shards import layout, reader
from llaso_data.shards.index import SCHEMA
from llaso_data.shards.tar import ShardError
from tests.support import fuzz_layouts, fuzz_targets
from tests.support.fuzz_targets import Target, mutated, throw

TARGETS = (
    "shards: index.arrow", "shards: manifest.json", "shards: shard-000000.arrow", "shards: shard-000000.tar",
    "align: manifest.json", "align: verdicts/verdicts.parquet", "align: observations/block.parquet",
    "tar of shards", "foreign tar", "zip",
    "corpus: m.jsonl", "corpus: m.csv", "corpus: m.json", "corpus: m.tsv", "corpus: m.parquet", "corpus: validated.tsv",
    "corpus: 1-2.trans.txt", "corpus: SPEAKERS.TXT", "corpus: a.txt",
    "corpus: GigaSpeech.json", "corpus: WenetSpeech.json", "corpus: asr_de.tsv.gz", "corpus: asr_de.tsv",
    "corpus: a.stm", "corpus: sb.csv", "corpus: sb.json", "corpus: a.srt", "corpus: a.vtt", "corpus: a.TextGrid",
    "corpus: a.lab", "corpus: a.wrd",
    "words", "container", "recipe",
)  # fmt: skip
LAYOUTS = tuple(name for name, _, _ in fuzz_layouts.targets())
BROKEN_TEXT = pa.Array.from_buffers(  # \xff\xfe is not UTF-8, and nobody looks when it is written
    pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
)


def parquet(**columns: pa.Array) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def tar_of(**members: bytes) -> bytes:
    """A tar; names as they are in Python, ``_`` for the dot."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", errors="surrogateescape") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
DEEP = b"[" * 100_000

REGRESSIONS: dict[str, tuple[bytes, ...]] = {
    "shards: manifest.json": (b"", DEEP, b'{"format": "llaso-shards", "format_version": 1}'),
    "align: manifest.json": (b"", DEEP, b"[]", b'{"blocks": 3}', b'{"blocks": ["block"]}', b"\xbc", b'{"a": "\x01"}'),
    "align: verdicts/verdicts.parquet": (b"", parquet(id=BROKEN_TEXT, verdict=BROKEN_TEXT), parquet(x=BROKEN_TEXT)),
    "align: observations/block.parquet": (b"", parquet(id=BROKEN_TEXT)),
    "foreign tar": (
        b"",
        tar_of(a_wav=b"RIFF", a_json=b'{"language": "\\ud800", "text": "\\ud800"}'),
        tar_of(a_json=DEEP, a_wav=b""),
        tar_of(**{"\udcff_wav": b"RIFF", "\udcfe_txt": b"no audio"}),
    ),
    "corpus: m.jsonl": (
        DEEP,
        b'{"audio": "a.wav", "end": 1e305}',
        b'{"audio": "a.wav", "end": ' + b"9" * 400 + b"}",
        b'{"audio": "a.wav", "end": ' + b"9" * 5000 + b"}",
        b'[{"audio": "a.wav", "end": ' + b"9" * 5000 + b"}]",
        b'{"audio": "a.wav", "text": "\\ud800"}',
        b'{"audio": "bucket://a.wav"}',
        b'{"audio": "reference://a.wav"}',
        b'{"audio": "a.wav", "member": "\\ud800", "start": 1e-300}',
    ),
    "corpus: m.csv": (b'"', b'audio\n"', b'audio,text\n"a.wav\n","\n"', b'audio\n"\0"\n', b'\r"\r\n"'),
    "corpus: m.json": (
        DEEP,
        b"[",
        b"[]]",
        b"[" + DEEP + b"]",
        b'[{"audio": 1e999}, {"audio": "a.wav"',
        b"[,,]\n[1 2 {} {]",
    ),
    "corpus: m.parquet": (parquet(audio=BROKEN_TEXT), parquet(audio=pa.array(["a.wav"]), text=BROKEN_TEXT)),
    "corpus: a.txt": (b"\0", b"h\0i\0"),
    "timit: TRAIN/DR1/FCJF0/SA1.TXT": (b"0 16000 She had\n0 16000 She had\n",),
    "words": (b"*" * 39, b"*/" * 19, b"[z-a]", b"[[a]", b"{0..99999999}", b"{0..999}{0..999}{0..9}"),
    "recipe": (
        LAUGHS.encode(),
        DEEP,
        b"- " * 3000,
        b"&x {a: *x}",
        b"judge: " + b"9" * 5000,
        b"a: 9999-99-99",
        b"a: !!int x",
        b"a: !!bool x",
        b"a: 2001-01-01T00:00:00+99:99",
        b"a" + b"." * 2000 + b"=1",
    ),
}


@pytest.fixture(scope="module")
def all_targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return fuzz_targets.targets(tmp_path_factory.mktemp("made"))


def test_every_target_is_here(all_targets: dict[str, Target]) -> None:
    assert sorted(all_targets) == sorted((*TARGETS, *LAYOUTS))


@pytest.mark.parametrize("name", [*TARGETS, *(pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS)])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_changed_files_do_no_harm(name: str, seed: int, all_targets: dict[str, Target], tmp_path: Path) -> None:
    target, draw = all_targets[name], random.Random(seed)
    throw(target, mutated(draw.choice(target.seeds), draw, target.seeds), tmp_path)


@pytest.mark.parametrize("name", [*TARGETS, *LAYOUTS])
def test_what_did_harm_once_does_none(name: str, all_targets: dict[str, Target], tmp_path: Path) -> None:
    for data in (*all_targets[name].seeds, *REGRESSIONS.get(name, ())):
        throw(all_targets[name], data, tmp_path)


def test_writing_elsewhere_is_seen(tmp_path: Path) -> None:
    """The watch itself can fail a target."""

    def escape(data: bytes, folder: Path) -> None:
        (folder / "inside").write_bytes(data)
        (folder / data.decode()).write_bytes(b"")

    throw(Target(escape, ()), b"also inside", tmp_path)
    with pytest.raises(AssertionError, match="outside the target"):
        throw(Target(escape, ()), b"../outside", tmp_path)


# What ended the process or read all memory


def index_of(tmp_path: Path, **columns: pa.Array) -> str:
    """A folder with an index of two rows, in which columns are replaced."""
    part = {"ext": "json", "offset": 512, "size": 1 << 60, "crc32": 0}
    row = {"key": "k", "parts": [part], "duration_s": 1.0, "text_bytes": 1, "modality": "audio"}
    table = pa.Table.from_pylist([row, row], schema=SCHEMA)
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    table = table.append_column(pa.field("shard", pa.int32()), pa.array([0, 0], pa.int32()))
    said = {"llaso.format_version": "1", "llaso.shards": json.dumps(["a.tar"]), "llaso.dataset": "d"}
    table = table.replace_schema_metadata(said)
    with pa.OSFile(str(tmp_path / layout.INDEX), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.tar").write_bytes(bytes(2048))
    return str(tmp_path)


def test_an_index_that_points_beyond_its_own_bytes_is_refused(tmp_path: Path) -> None:
    """Read through the mapping it was a bus error."""
    offsets = pa.array([0, 1 << 30, 2], pa.int32()).buffers()[1]
    key = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"kk")])
    with pytest.raises(ShardError, match=r"index\.arrow is not a complete Arrow file"):
        reader.open_index(index_of(tmp_path, key=key))


def test_an_index_with_holes_is_refused(tmp_path: Path) -> None:
    part = pa.array([{"ext": "json", "offset": None, "size": 1, "crc32": 0}], SCHEMA.field("parts").type.value_type)
    parts = pa.ListArray.from_arrays(pa.array([0, 1, 1], pa.int32()), part, type=SCHEMA.field("parts").type)
    with pytest.raises(ShardError, match="no index: offset is missing"):
        reader.open_index(index_of(tmp_path, parts=parts))


def test_a_part_larger_than_the_tar_is_not_made_room_for(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"k\.json is cut short"):
        list(reader.iterate(index_of(tmp_path)))


def test_a_recipe_whose_aliases_multiply_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "laughs.yaml").write_text(LAUGHS)
    with pytest.raises(LLaSOError, match="nested too deeply"):
        load_recipe.load(str(tmp_path / "laughs.yaml"))
