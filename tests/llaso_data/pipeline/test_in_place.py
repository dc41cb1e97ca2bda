"""llaso-data index --layout: sets of others are streamed where they lie, with the batches of a conversion."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from llaso_data import audio
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.index_in_place import index_in_place
from llaso_data.recipe import Run, SourceSpec
from llaso_data.shards.stats import stats
from llaso_data.shards.validate import validate
from llaso_data.stream.batch import Batch
from llaso_data.stream.loader import StreamingLoader
from llaso_data.stream.mixture import Mixture
from tests.conftest import Clip
from tests.support import corpora
from tests.support.conversions import run


@pytest.fixture(scope="module")
def nemo(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips in NeMo's tars, two a tar, written by us; tests of the layout compare it with NeMo's own form."""
    folder = tmp_path_factory.mktemp("nemo")
    corpora.english(folder / "corpus", [clip for clip in clips if clip.language == "en"][:3])
    run(folder / "set", {"path": str(folder / "corpus"), "language": "en"}, to="nemo_tarred", samples_per_part=2)
    return folder / "set"


def batches(folder: Path) -> list[Batch]:
    return list(StreamingLoader(Mixture.of(str(folder)), "20s"))


def heard(folder: Path) -> list[tuple[str, int, bytes]]:
    """The text, length and sound of every sample."""
    sounds: list[tuple[str, int, bytes]] = []
    for batch in batches(folder):
        assert batch.audio is not None and batch.lengths is not None and batch.replaced == ()
        for number, sample in enumerate(batch.samples):
            text = sample.content["messages"][-1]["content"][0]["text"]
            length = int(batch.lengths[number])
            sounds.append((text, length, batch.audio[number, :length].numpy().tobytes()))
    return sorted(sounds)


def test_tars_of_nemo_are_streamed_in_place_as_after_a_conversion(nemo: Path, tmp_path: Path) -> None:
    before = corpora.files(nemo)
    summary = index_in_place(SourceSpec(path=str(nemo), type="nemo_tarred"), str(tmp_path / "index"))
    assert (summary.samples, summary.shards, summary.problems) == (9, 5, {})
    assert corpora.files(nemo) == before  # nothing was written there
    run(tmp_path / "converted", {"path": str(nemo), "type": "nemo_tarred", "corpus": nemo.name})
    assert heard(tmp_path / "index") == heard(tmp_path / "converted")
    plan = [sample.key for batch in batches(tmp_path / "index") for sample in batch.samples]
    assert sorted(plan) == sorted(key for batch in batches(tmp_path / "converted") for key in batch.ids)


def test_an_index_in_place_is_validated_and_converted_like_shards(nemo: Path, tmp_path: Path) -> None:
    index_in_place(SourceSpec(path=str(nemo), type="nemo_tarred"), str(tmp_path / "index"))
    assert validate(str(tmp_path / "index")).problems == ()
    assert stats(str(tmp_path / "index")).samples == 9
    run(tmp_path / "converted", tmp_path / "index")
    assert heard(tmp_path / "index") == heard(tmp_path / "converted")


def test_several_workers_write_the_same_index_and_a_rerun_too(nemo: Path, tmp_path: Path) -> None:
    spec = SourceSpec(path=str(nemo), type="nemo_tarred")
    index_in_place(spec, str(tmp_path / "one"))
    index_in_place(spec, str(tmp_path / "two"), run=Run(engine="local", num_workers=2))
    assert corpora.files(tmp_path / "one") == corpora.files(tmp_path / "two")
    index_in_place(spec, str(tmp_path / "one"))
    assert corpora.files(tmp_path / "one") == corpora.files(tmp_path / "two")


def test_tars_that_are_many_are_indexed_a_few_at_a_time(nemo: Path, tmp_path: Path) -> None:
    run(tmp_path / "many", {"path": str(nemo), "type": "nemo_tarred"}, to="nemo_tarred", samples_per_part=1)
    summary = index_in_place(SourceSpec(path=str(tmp_path / "many"), type="nemo_tarred"), str(tmp_path / "index"))
    assert (summary.rows, summary.samples, summary.shards, summary.problems) == (9, 9, 9, {})


def test_a_stream_of_a_set_in_place_is_resumed_exactly(nemo: Path, tmp_path: Path) -> None:
    index_in_place(SourceSpec(path=str(nemo), type="nemo_tarred"), str(tmp_path))
    whole = [batch.ids for batch in batches(tmp_path)]
    began = StreamingLoader(Mixture.of(str(tmp_path)), "20s")
    first = next(iter(began)).ids
    goes_on = StreamingLoader(Mixture.of(str(tmp_path)), "20s")
    goes_on.load_state_dict(began.state_dict())
    assert [first, *(batch.ids for batch in goes_on)] == whole


def test_spans_of_a_member_are_cut_when_they_are_decoded(nemo: Path, tmp_path: Path) -> None:
    manifest = sorted((nemo / "sharded_manifests").glob("*.jsonl"))[0]
    row = json.loads(manifest.read_text("utf-8").splitlines()[0])
    folder = tmp_path / "set"
    folder.mkdir()
    tar = nemo / manifest.name.replace("manifest", "audio").replace(".jsonl", ".tar")
    (folder / "audio_0.tar").write_bytes(tar.read_bytes())
    stem, _, ending = row["audio_filepath"].rpartition(".")
    rows = [
        {
            **row,
            "shard_id": 0,
            "audio_filepath": f"{stem}-sub{n}.{ending}",
            "offset": 0.1 * n,
            "duration": 0.2,
            "text": f"t{n}",
        }
        for n in (1, 2)
    ]
    (folder / "tarred_audio_manifest.json").write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    index_in_place(SourceSpec(path=str(folder), type="nemo_tarred"), str(tmp_path / "index"))
    run(tmp_path / "converted", {"path": str(folder), "type": "nemo_tarred", "corpus": "set"})
    assert heard(tmp_path / "index") == heard(tmp_path / "converted")
    assert {length for _, length, _ in heard(tmp_path / "index")} == {3200}


def test_damage_is_a_bad_sample_by_checksum_where_they_were_asked_for(nemo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    for name, data in corpora.files(nemo).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    index_in_place(SourceSpec(path=str(copy), type="nemo_tarred"), str(tmp_path / "index"), sums=True)
    tar = sorted(copy.glob("*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(bytes(data))
    bad = [replaced.bad.reason for batch in batches(tmp_path / "index") for replaced in batch.replaced]
    assert len(bad) == 1 and "CRC-32" in bad[0]


def test_a_member_that_is_gone_is_counted_and_nothing_to_index_is_an_error(nemo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    for name, data in corpora.files(nemo).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    manifest = sorted((copy / "sharded_manifests").glob("*.jsonl"))[0]
    lines = manifest.read_text("utf-8").splitlines()
    manifest.write_text("\n".join([*lines, lines[0].replace(".flac", "-gone.flac")]) + "\n", "utf-8")
    summary = index_in_place(SourceSpec(path=str(copy), type="nemo_tarred"), str(tmp_path / "index"))
    assert (summary.rows, summary.samples, summary.problems) == (10, 9, {"missing": 1})
    with pytest.raises(LLaSOError, match="nothing in it can be indexed in place"):
        index_in_place(SourceSpec(path=str(nemo.parent / "corpus"), type="folder"), str(tmp_path / "no"))


def test_the_command_prints_what_was_indexed(nemo: Path, tmp_path: Path) -> None:
    arguments = ["index", str(nemo), "--layout", "nemo_tarred", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["samples"] == 9


SOUND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def tables(folder: Path, clips: list[Clip], kind: str) -> None:
    """Clips in tables of two rows, as Hugging Face has them."""
    folder.mkdir()
    for number in range(0, len(clips), 2):
        rows = [
            {"audio": {"bytes": clip.path.read_bytes(), "path": clip.path.name}, "text": clip.text}
            for clip in clips[number : number + 2]
        ]
        table = pa.Table.from_pylist(rows, pa.schema({"audio": SOUND, "text": pa.string()}))
        if kind == "hf_parquet":
            pq.write_table(table, folder / f"train-{number}.parquet")
        else:
            with pa.ipc.new_stream(folder / f"data-{number}.arrow", table.schema) as writer:
                writer.write_table(table)
    if kind == "hf_disk":
        names = [{"filename": path.name} for path in sorted(folder.glob("*.arrow"))]
        (folder / "state.json").write_text(json.dumps({"_data_files": names}), "utf-8")


def test_tables_are_indexed_one_by_one_as_they_are_together(clips: list[Clip], tmp_path: Path) -> None:
    source = tmp_path / "set"
    tables(source, clips[:5], "hf_parquet")
    (source / "train-0.parquet").rename(source / "train[0]*.parquet")
    pq.write_table(pa.table({"text": ["no sound"]}), source / "captions.parquet")
    pq.write_table(pa.schema({"audio": SOUND, "text": pa.string()}).empty_table(), source / "empty.parquet")
    spec = SourceSpec(path=str(source), type="hf_parquet")
    together = index_in_place(spec.model_copy(update={"limit": 1000}), str(tmp_path / "together"))
    apart = index_in_place(spec, str(tmp_path / "apart"), run=Run(engine="local", num_workers=2))
    assert (apart.samples, apart.shards) == (5, 3)
    assert apart.notes == together.notes
    sidecars = [
        {path.name: path.read_bytes() for path in (tmp_path / out).glob("*.parquet.index.arrow")}
        for out in ("apart", "together")
    ]
    assert sidecars[0] == sidecars[1] and len(sidecars[0]) == 3


def zipped(folder: Path, clips: list[Clip]) -> None:
    """Clips in a zip, and the table that names them."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for clip in clips:
            archive.write(clip.path, clip.path.name)
    rows = ({"file_name": clip.path.name, "text": clip.text} for clip in clips)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def shar(folder: Path, clips: list[Clip]) -> None:
    """Clips in shards of Lhotse's, more than a job takes, in two folders that have the same names."""
    corpora.english(folder.parent / "corpus", [clip for clip in clips if clip.language == "en"][:3])
    source = {"path": str(folder.parent / "corpus"), "language": "en"}
    run(folder / "a", source, to="shar", samples_per_part=1)
    run(folder / "b", source, to="shar", samples_per_part=5)


def utterances(folder: Path) -> list[str]:
    """The ids of all audios, which say nothing of their format."""
    return sorted(
        entry["id"] for batch in batches(folder) for sample in batch.samples for entry in sample.content["audios"]
    )


@pytest.mark.parametrize("kind", ["hf_parquet", "hf_disk", "audiofolder", "shar"])
def test_tables_zips_and_shar_are_streamed_in_place_as_after_a_conversion(
    clips: list[Clip], tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "set"
    if kind == "shar":
        shar(source, clips)
    elif kind == "audiofolder":
        zipped(source, clips[:5])
    else:
        tables(source, clips[:5], kind)
    before = corpora.files(source)
    summary = index_in_place(SourceSpec(path=str(source), type=kind), str(tmp_path / "index"))
    expected = {"hf_parquet": (5, 3), "hf_disk": (5, 3), "audiofolder": (5, 1), "shar": (18, 11)}
    assert ((summary.samples, summary.shards), summary.problems) == (expected[kind], {})
    assert corpora.files(source) == before
    run(tmp_path / "converted", {"path": str(source), "type": kind, "corpus": "set"})
    assert heard(tmp_path / "index") == heard(tmp_path / "converted")
    assert utterances(tmp_path / "index") == utterances(tmp_path / "converted")
    assert validate(str(tmp_path / "index")).problems == ()
    mixture = Mixture.of(str(tmp_path / "index"))
    whole = [batch.ids for batch in StreamingLoader(mixture, "8s")]
    began = StreamingLoader(mixture, "8s")
    first = next(iter(began)).ids
    goes_on = StreamingLoader(mixture, "8s")
    goes_on.load_state_dict(began.state_dict())
    assert len(whole) > 1
    assert [first, *(batch.ids for batch in goes_on)] == whole


def test_a_cell_without_sound_is_a_counted_bad_sample_where_the_table_states_its_length(
    clips: list[Clip], tmp_path: Path
) -> None:
    clip = clips[0]
    cells = [{"bytes": clip.path.read_bytes(), "path": None}, {"bytes": b"no sound", "path": None}]
    seconds = len(audio.decode(str(clip.path))[0]) / audio.SAMPLE_RATE_HZ
    rows = [{"audio": cell, "text": f"text {number}", "duration": seconds} for number, cell in enumerate(cells)]
    (tmp_path / "set").mkdir()
    schema = pa.schema({"audio": SOUND, "text": pa.string(), "duration": pa.float64()})
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "set" / "a.parquet")
    stated = index_in_place(SourceSpec(path=str(tmp_path / "set"), type="hf_parquet"), str(tmp_path / "index"))
    assert (stated.samples, stated.problems) == (2, {})
    assert stated.hours == pytest.approx(2 * seconds / 3600, abs=1e-6)
    bad = [replaced.bad for batch in batches(tmp_path / "index") for replaced in batch.replaced]
    assert len(bad) == 1 and bad[0].shard.endswith("a.parquet")


def test_buckets_with_the_same_names_of_tars_keep_their_ids(nemo: Path, tmp_path: Path) -> None:
    for bucket in ("one", "two"):
        shutil.copytree(nemo, tmp_path / "set" / bucket)
    index_in_place(SourceSpec(path=str(tmp_path / "set"), type="nemo_tarred"), str(tmp_path / "index"))
    run(tmp_path / "converted", {"path": str(tmp_path / "set"), "type": "nemo_tarred", "corpus": "set"})
    keys = [key for batch in batches(tmp_path / "index") for key in batch.ids]
    assert len(set(keys)) == 18
    assert sorted(keys) == sorted(key for batch in batches(tmp_path / "converted") for key in batch.ids)
