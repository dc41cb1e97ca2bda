"""The golden shard: what the format promised once, it keeps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from llaso_data import records
from llaso_data.formats.conversations.schema import MESSAGES
from llaso_data.io import sealed
from llaso_data.shards import foreign, layout, manifest, reader, schemas, writer
from llaso_data.shards.index import open_arrow
from llaso_data.shards.layout import EncodedSample
from llaso_data.shards.stats import stats
from llaso_data.shards.validate import validate
from tests.support.paths import REPOSITORY

SHARDS = REPOSITORY / "shards"
GOLDEN = SHARDS / "golden"


def test_golden_is_valid() -> None:
    report = validate(str(GOLDEN))
    assert report.problems == ()
    assert (report.shards, report.samples) == (2, 4)


def test_golden_is_rewritten_to_the_same_bytes(tmp_path: Path) -> None:
    index, stated = reader.open_index(str(GOLDEN)), reader.read_manifest(str(GOLDEN))
    shards = []
    for number, entry in enumerate(stated["shards"]):
        samples = [sample_from_records(str(GOLDEN / entry["path"]), row) for row in index.rows_of(number)]
        digest = records.digest(index.digest, entry["path"])
        info = writer.write(str(tmp_path), entry["path"], samples, digest=digest, dataset=index.digest)
        shards.append((str(tmp_path / layout.sidecar_name(entry["path"])), info))
    manifest.finish(
        str(tmp_path), shards, profile="llaso", plan=index.digest, options=stated["options"], source=stated["source"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in GOLDEN.iterdir())
    for path in GOLDEN.iterdir():
        if path.suffix == ".arrow":  # Arrow may change its framing between versions; the table and its metadata stay
            assert without_checksum(tmp_path / path.name).equals(without_checksum(path), check_metadata=True)
        else:
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def without_checksum(path: Path) -> pa.Table:
    table = open_arrow(str(path))
    metadata = {name: value for name, value in table.schema.metadata.items() if name != sealed.FIELD.encode()}
    assert len(metadata) == len(table.schema.metadata) - 1
    return table.replace_schema_metadata(metadata)


def sample_from_records(shard: str, row: dict[str, object]) -> EncodedSample:
    """The sample built again from its records, not copied: its JSON must come out as it is stored."""
    parts = reader.read_sample(shard, row)
    said = json.loads(parts[layout.JSON_PART])
    sounds = {entry["part"]: parts[entry["part"]] for entry in said["audios"]}
    return layout.encode_sample(layout.decode_sample(said), sounds)


def test_golden_holds_a_conversation_with_two_audios() -> None:
    index = reader.open_index(str(GOLDEN))
    row = next(row for row in index.table.to_pylist() if row["modality"] == "audio")
    parts = reader.read_sample(index.shards[row["shard"]], row)
    said = json.loads(parts["json"])
    assert sorted(parts) == ["0.flac", "1.flac", "json"]
    assert [part["audio"] for part in said["messages"][0]["content"]] == ["0.flac", "1.flac"]
    assert [[word["text"] for word in entry["words"]] for entry in said["audios"]] == [
        ["Write", "this", "down."],
        ["The", "sun", "shone."],
    ]


def test_keys_are_computed_as_the_specification_says() -> None:
    def digest(parts: list[bytes]) -> str:
        data = b"".join(str(len(part)).encode() + b":" + part for part in parts)
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    assert f"`{digest([b'asr', b'0'])}`" in (SHARDS / "SPEC.md").read_text(encoding="utf-8")
    for key, parts in reader.iterate(str(GOLDEN)):
        said = json.loads(parts["json"])
        # canonical JSON keeps the order of its keys, so the messages' text can be cut out as it stands
        text = parts["json"].split(b'"messages":', 1)[1].split(b',"task":', 1)[0]
        assert json.loads(text) == said["messages"]
        ids = [entry["id"].encode() for entry in said["audios"]]
        assert key == digest([*ids, said["task"].encode(), text])


def test_golden_stats() -> None:
    found = stats(str(GOLDEN))
    assert (found.samples, found.shards, found.certified) == (4, 2, False)
    assert found.genders == {"female": 2, "male": 2, "unknown": 1}
    assert {name: row["samples"] for name, row in found.languages.items()} == {"en": 2, "es": 1, "zh": 1}
    assert found.speakers == 3


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("sample", schemas.SAMPLE),
        ("manifest", schemas.MANIFEST),
        ("certificate", schemas.CERTIFICATE),
        ("messages", MESSAGES),
    ],
)
def test_published_schemas_are_those_that_validate_uses(name: str, schema: schemas.Schema) -> None:
    published = json.loads((SHARDS / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert published == schema


def test_golden_foreign_is_read_as_its_listing_says(tmp_path: Path) -> None:
    folder = SHARDS / "golden_foreign"
    summary = foreign.index_foreign(str(folder), str(tmp_path))
    found = reader.open_index(str(tmp_path))
    named: dict[str, list[str]] = {}
    for names in (summary.skipped, summary.without_audio, summary.problems):
        for name in names:
            tar, _, member = name.partition(".tar!")
            named.setdefault(f"{tar.rpartition('/')[2]}.tar", []).append(member.partition(": ")[0])
    for number, shard in enumerate(found.shards):
        listing = json.loads((folder / "listing.json").read_text(encoding="utf-8"))[Path(shard).name]
        samples = [
            {"key": row["key"], "parts": {p["ext"]: {"size": p["size"], "crc32": p["crc32"]} for p in row["parts"]}}
            for row in found.rows_of(number)
        ]
        assert samples == listing.pop("samples")
        assert sorted(named.get(Path(shard).name, [])) == sorted(name for names in listing.values() for name in names)
    assert summary.keys_to_the_last_dot == 2
    list(reader.iterate(str(tmp_path)))
    assert [problem.what.partition(": ")[0] for problem in validate(str(tmp_path)).problems] == [
        "./plain.txt",
        "./lost.wav",
    ]
