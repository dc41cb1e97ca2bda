"""Addresses: what data names is plain and of a store that is known, nothing of it is run, no password is written."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from click.testing import CliRunner

from llaso_data import audio, formats, uris
from llaso_data.cli import main
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.instruct import asr
from llaso_data.io import checksums, lock, storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Provenance, Source, Utterance
from llaso_data.shards import index, layout
from llaso_data.shards.reader import open_index
from llaso_data.shards.validate import validate
from llaso_data.stream import Mixture, StreamingLoader
from tests.conftest import Clip
from tests.support.corpora import copy, files, recipe
from tests.support.shard_sets import flac, write_set

FLAC = flac(0.1, 0)
# As they are refused, whoever the row belongs to, and whatever is installed here.
HOSTILE = [
    "reference://x::{evil}", "simplecache::{evil}", "filecache::s3://bucket/x", "reference://x", "dir://x::{evil}",
    "generic://x", "blockcache::{evil}", "github://owner:repository@main/x.flac", "jupyter://host/x",
    "data://text/plain,x", "zip://x.flac::{evil}", "tar://x::{evil}", "memory://x/y.flac", "s3://b/x::reference://y",
    "https://host/x.json::reference://x", "foo://x", "://", "://x", "s3://", "s3:///x", "s3://bucket", "s3://bucket/",
    "s3://no bucket!/x", "s3://bucket/" + "x" * 1025, "hf://", "hf://nonsense", "hf://datasets/owner/name",
    "hf://datasets/../../name/x.flac", "http://", "http://[bad", "http://[::1", "http://host:99999/x.flac",
    "http://host:port/x.flac", "http://host", "http://" + "h" * 64 + "/x.flac", "http://a b/x.flac", "http://host/\x01",
    "https://host/" + "x" * 9000, "gs://", "gs://bucket", "az://", "file://", "local://x", "HTTP://host/x.flac",
    "http://169.254.169.254/latest/meta-data", "http://2852039166/x.flac", "http://0xA9.0xFE.0xA9.0xFE/x.flac",
    "http://[::ffff:169.254.169.254]/x.flac", "http://metadata.google.internal/x.flac", "http://[fe80::1%25eth0]/x.flac",
]  # fmt: skip
PASSWORD = "hunter2"
SECRET = [
    f"https://user:{PASSWORD}@host/x.flac",
    f"https://{PASSWORD}@host/x.flac",
    f"https://user:pa@{PASSWORD}@host/x.flac",
    f"https://user:a {PASSWORD}@host/x.flac",
    f"s3://AKIA:{PASSWORD}/+x@bucket/x.flac",
    f"gs://{PASSWORD}@bucket/x.flac",
    f"abfs://container:{PASSWORD}@account/x.flac",
    f"https://b.s3.amazonaws.com/x.flac?X-Amz-Credential=A&X-Amz-Signature={PASSWORD}",
    f"https://b.s3.amazonaws.com/x.flac?X-Amz-Security-Token={PASSWORD}&versionId=1",
    f"https://b.s3.amazonaws.com/x.flac?AWSAccessKeyId=A&Signature={PASSWORD}%3D&Expires=1",
    f"https://storage.googleapis.com/b/x.flac?X-Goog-Signature={PASSWORD}",
    f"https://account.blob.core.windows.net/c/x.flac?sv=2024&sig={PASSWORD}",
    f"https://host/x.flac?id=3&token={PASSWORD}",
    f"https://host/x.flac?X%2DAmz%2DSignature={PASSWORD}",
    f"https://host/x.flac#access_token={PASSWORD}",
    f"https://host/x.flac?api_key={PASSWORD}",
]
PLAIN = [
    "a::b.flac", "a:b.flac", "local:x.flac", "file:y.flac", "zip::z.flac", "reference::q.flac", "s3:::w.flac",
    "e[1].flac", "x?token=1.flac", "me@home:1.flac", "~x.flac",
]  # fmt: skip


@pytest.fixture
def evil(tmp_path: Path) -> tuple[str, Path]:
    """(the address of a file of references whose template runs a command, the file that the command makes)."""
    ran = tmp_path / "ran"
    template = f"{{{{ self.__init__.__globals__.__builtins__.__import__('os').system('touch {ran}') }}}}"
    generated = [{"key": template, "url": "file:///x", "dimensions": {"i": [0]}}]
    path = tmp_path / "evil.json"
    path.write_text(json.dumps({"version": 1, "refs": {"x": [template, 0, 3]}, "gen": generated, "templates": {}}))
    return f"file://{path}", ran


def tabled(path: Path, rows: list[str]) -> Path:
    """A manifest of these audios, of the kind that its name says."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"audio": rows}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"audio": row}) + "\n" for row in rows))
    else:
        path.write_text("".join(f"{row}\n" for row in ["audio\tlanguage", *(f"{row}\ten" for row in rows)]))
    return path


def read(path: Path | str) -> list[Utterance]:
    return [found.utterance for found in formats.read(SourceSpec(path=str(path), corpus="c"))]


@pytest.mark.parametrize("kind", ["jsonl", "tsv", "parquet"])
def test_each_hostile_row_is_a_counted_failure_that_names_its_place(
    tmp_path: Path, evil: tuple[str, Path], kind: str
) -> None:
    rows = [uri.format(evil=evil[0]) for uri in HOSTILE if kind != "tsv" or "\x01" not in uri]
    (tmp_path / "a.flac").write_bytes(FLAC)
    found = read(tabled(tmp_path / f"m.{kind}", ["a.flac", *rows]))
    assert len(found) == len(rows) + 1
    assert [one.source.uri for one in found if one.failure is None] == [f"{tmp_path}/a.flac"]
    wrong = {one.failure.detail: one.failure.reason for one in found if one.failure}
    assert set(wrong.values()) == {"bad_row"} and len(wrong) == len(rows)
    lines = {int(detail.split(f"m.{kind}:")[1].split(":")[0]) for detail in wrong}
    first = 3 if kind == "tsv" else 2
    assert lines == set(range(first, first + len(rows)))
    assert len({one.id for one in found}) == len(found)
    assert not evil[1].exists()


def test_addresses_of_stores_that_are_known_are_taken() -> None:
    for uri in (
        "s3://bucket/a b.flac", "s3a://b/x", "gs://b/x", "hf://datasets/owner/name@main/x.flac", "az://container/x",
        "https://host:8443/x.flac?id=3&author=me&design=4", "http://[::1]:9000/x", "http://localhost:9000/a@b/x.flac",
        "abfs://container@account.dfs.core.windows.net/x", "file:///data/a::b.flac", "https://müller.example/x.flac",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/name/key@home",
    ):  # fmt: skip
        assert uris.refused(uri) is None and uris.shown(uri) == uri, uri
    assert uris.refused("sftp://me@host/x.flac") is not None
    assert uris.refused("sftp://me@host/x.flac", home="sftp") is None  # the user named that store
    assert uris.refused("reference://x", home="reference") is not None


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "folder"])
def test_a_path_stays_a_path_whatever_its_name(tmp_path: Path, kind: str) -> None:
    for name in PLAIN:
        (tmp_path / name).write_bytes(FLAC)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "k.flac").write_bytes(FLAC)
    rows = [*PLAIN, "s3:/k.flac"]
    found = read(tmp_path if kind == "folder" else tabled(tmp_path / f"m.{kind}", rows))
    assert [one.source.uri for one in found] == sorted(f"{tmp_path}/{row}" for row in rows)
    assert all(one.failure is None and len(audio.decode(one.source.uri)[0]) == 1600 for one in found)


def test_a_relative_path_is_none_of_fsspecs_shorthands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("local:x", "file:x", "memory::x", "a::b"):
        storage.write_bytes(name, name.encode())
        assert (tmp_path / name).read_bytes() == storage.read_bytes(name) == name.encode()
    assert storage.absolute("file://s3://x") == f"{tmp_path}/s3:/x"


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "gs:///", "memory://", "https:///x", "hf://"])
def test_an_address_without_a_place_is_no_folder_here(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["build-align", uri, "--out", "o"], ["build-align", ".", "--out", uri], ["validate", uri]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2 and "names no bucket, server or folder" in done.output, (words, done.output)
    assert list(tmp_path.iterdir()) == []


ASKING = ("s3://b", "s3://n", "gs:", "az:", "http://h", "https:", "hf://d", "github", "jupyter")


@pytest.mark.parametrize("uri", [uri for uri in HOSTILE if not uri.startswith(ASKING)])
def test_what_a_user_names_wrongly_is_one_message(uri: str, tmp_path: Path, evil: tuple[str, Path]) -> None:
    """But for those that ask a server: nothing is reached from here."""
    uri = uri.format(evil=evil[0])
    for words in (["build-align", uri, "--out", str(tmp_path)], ["validate", uri], ["shard", uri, "--out", "x"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2 and isinstance(done.exception, SystemExit), (words, done.exception)
    assert not evil[1].exists()


@pytest.mark.parametrize("uri", ["reference://x", "zip://x", "generic://x", "http://169.254.169.254/x", "github://a/b"])
def test_what_is_no_place_of_files_is_opened_for_nobody(uri: str) -> None:
    with pytest.raises(storage.AddressError, match=r"no (place where files lie|server of files)"):
        storage.filesystem(uri)
    with pytest.raises(AudioError) as caught:
        audio.decode(uri)
    assert caught.value.reason == "unreadable"


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://uris"
    fsspec.filesystem("memory").rm("/uris", recursive=True)


def test_names_on_a_store_are_no_patterns(memory: str) -> None:
    for name, text in (("e[1]", "one"), ("e1", "two"), ("q*", "four")):
        storage.write_bytes(f"{memory}/x/{name}.flac", FLAC)
        storage.write_bytes(f"{memory}/x/{name}.txt", text.encode())
    found = {one.source.uri.rpartition("/")[2]: one.text for one in read(f"{memory}/x")}
    assert found == {"e1.flac": "two", "e[1].flac": "one", "q*.flac": "four"}
    assert all(len(audio.decode(f"{memory}/x/{name}")[0]) == 1600 for name in found)


def test_a_manifest_on_a_store_stays_on_it(memory: str) -> None:
    rows = ["x/a.flac", "../uris/x/a.flac", "../../x.flac", "../other/x.flac", "file:///etc/passwd", "memory://uris/b"]
    storage.write_bytes(f"{memory}/m.jsonl", "".join(json.dumps({"audio": row}) + "\n" for row in rows).encode())
    found = read(f"{memory}/m.jsonl")
    wrong = sorted(one.failure.detail for one in found if one.failure)
    assert [detail.split("m.jsonl:")[1][0] for detail in wrong] == ["3", "4", "5"]
    assert "leads out of memory://uris" in wrong[0] and "names no files of this machine" in wrong[2]


# what is run, and what is written down


def leaks(folder: Path) -> list[str]:
    return [path for path, data in files(folder).items() if PASSWORD.encode() in data]


def test_build_align_runs_nothing_and_writes_no_password(
    tiny_en: Path, clips: list[Clip], tmp_path: Path, evil: tuple[str, Path]
) -> None:
    """One good row among hostile ones: the counts close, the place of each is said, nothing of it is done or kept."""
    heard = copy(next(clip for clip in clips if clip.language == "en"), tmp_path / "in")
    rows = [
        *(uri.format(evil=evil[0]) for uri in HOSTILE),
        *SECRET,
        "no-such\x00name",
        "s3:/x",
        "x" * 5000,
        "\udc80.flac",
    ]
    manifest = tabled(tmp_path / "in" / "m.jsonl", [heard.name, *rows])
    out = tmp_path / "out"
    done = build_align(recipe(tiny_en, out, {"path": str(manifest), "corpus": "c"}, judge__max_failures=1.0))
    assert done.counts["inputs"] == len(rows) + 1 and done.counts["failed"] == len(rows)
    assert done.counts["accepted"] + done.counts["rejected"] == 1 and done.counts["duplicates"] == 0
    assert not evil[1].exists()
    failures = [one.failure for one in commit.observed(str(out)) if one.failure]
    reasons = Counter(failure.reason for failure in failures)
    # A name that is too long for a disk, and one that is not UTF-8, are names all the same.
    assert reasons == {"bad_row": len(rows) - 3, "missing": 1, "unreadable": 1, "bad_name": 1}
    assert all("m.jsonl:" in failure.detail for failure in failures if failure.reason == "bad_row")
    assert leaks(out) == [] and not any(PASSWORD in failure.detail for failure in failures)
    listed = CliRunner().invoke(main, ["rejections", str(out)])
    assert listed.exit_code == 0 and PASSWORD not in listed.output and "https://***@host/x.flac" in listed.output


MISPLACED = [
    "{evil}", "reference://x::{evil}", "simplecache::{evil}", "../outside.tar", "a/../../outside.tar", "/etc/shadow",
    "file:///etc/shadow", "file:///tmp/x.tar", "/data/../etc/x.tar", "http://169.254.169.254/x.tar", "x",
    "s3://bucket/a/../x.tar", "ftp://host/x.tar", "https://user:hunter2@host/x.tar", "https://host/x.tar?token=hunter2",
    "x\x00.tar", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_set(folder, [0.5] * 4, 4, sound=True)
    return folder


def renamed(shards: Path, folder: Path, path: str, manifest: bool) -> Path:
    """A copy of the shards whose index, or manifest, names the tar so."""
    shutil.copytree(shards, folder)
    if manifest:
        said = checksums.read_json(str(folder / layout.MANIFEST))
        said["shards"][0]["path"] = path
        checksums.write_json(str(folder / layout.MANIFEST), said)
        return folder
    sidecar = folder / layout.sidecar_name(layout.shard_name(0))
    index.write_index(str(folder / layout.INDEX), [(str(sidecar), path)], open_index(str(shards)).digest)
    return folder


def test_an_index_names_shards_of_its_own(shards: Path, tmp_path: Path, evil: tuple[str, Path]) -> None:
    """Whoever reads it is told which path, and reads nothing there."""
    for number, said in enumerate(MISPLACED):
        path = said.format(evil=evil[0])
        folder = str(renamed(shards, tmp_path / f"{number}", path, manifest=False))
        for use in (open_index, validate, lambda at: next(iter(StreamingLoader(Mixture.of(at), "60s")))):
            with pytest.raises(LLaSOError, match="as a shard, which") as caught:
                use(folder)
            assert PASSWORD not in str(caught.value)
    assert not evil[1].exists()


def test_a_manifest_names_shards_of_its_own(shards: Path, tmp_path: Path, evil: tuple[str, Path]) -> None:
    for number, said in enumerate(MISPLACED):
        folder = renamed(shards, tmp_path / f"{number}", said.format(evil=evil[0]), manifest=True)
        result = CliRunner().invoke(main, ["validate", str(folder)])
        assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), said
        assert "as a shard, which" in result.output or "shards[0].path" in result.output, result.output
        assert PASSWORD not in result.output
    assert not evil[1].exists()


def test_a_question_names_its_sound_plainly(tmp_path: Path, evil: tuple[str, Path]) -> None:
    """Whoever is asked: a sample with another address is left out by name, the others are asked."""
    from llaso_model.evaluate.datasets import tasks
    from llaso_model.evaluate.datasets.eval_samples import EvalSample
    from llaso_model.evaluate.datasets.open_samples import open_samples

    (tmp_path / "a::b.flac").write_bytes(FLAC)
    voices = ["a::b.flac", *(uri.format(evil=evil[0]) for uri in HOSTILE), *SECRET, "no\x00where.flac"]
    turns = [{"from": "human", "value": "<audio> Which?"}, {"from": "gpt", "value": "This."}]
    (tmp_path / "ASR.json").write_text(json.dumps([{"voice": [voice], "conversations": turns} for voice in voices]))
    questions = open_samples(str(tmp_path), tasks.load(None))
    asked = questions.read(range(len(questions)))
    assert [isinstance(one, EvalSample) for one in asked] == [True] + [False] * (len(voices) - 1)
    assert PASSWORD not in repr(asked[1:])
    assert not evil[1].exists()


def test_tars_elsewhere_are_read_where_an_index_of_ours_names_them(shards: Path, tmp_path: Path) -> None:
    tars = tmp_path / "tars::1"
    tars.mkdir()
    shutil.copy(shards / "shard-000000.tar", tars / "a::b.tar")
    out = tmp_path / "index"
    done = CliRunner().invoke(main, ["index", str(tars), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert open_index(str(out)).shards == (f"{tars}/a::b.tar",) and validate(str(out)).ok


@pytest.mark.parametrize("name", ["../x", "/dev/zero", "a/../../x"])
def test_checksums_name_files_of_their_folder(tmp_path: Path, name: str) -> None:
    """Of another it is not asked: reading one may never end."""
    checksums.write_json(str(tmp_path / checksums.FOLDER_FILE), {"files": {name: "crc32:00000000"}})
    assert checksums.faults(tmp_path) == [f"{name!r} is none of its files, and is named as one"]


@pytest.mark.parametrize("uri", SECRET)
def test_predictions_of_others_are_kept_without_passwords(uri: str, tmp_path: Path) -> None:
    from llaso_model.evaluate.datasets import layouts, tasks

    row = {"set": "ASR", "reference": "a", "answer": "a", "audio": [uri]}
    (tmp_path / "system.jsonl").write_text(json.dumps(row))
    assert PASSWORD not in repr(layouts.read_predictions([str(tmp_path / "system.jsonl")], tasks.load(None)))


@pytest.mark.parametrize("name", ["../x", "a/b", "reference://x", "a::b", ""])
def test_a_run_reads_no_blocks_outside_itself(tmp_path: Path, name: str) -> None:
    said = {"format_version": 1, "blocks": [name], "verdicts": "0"}
    (tmp_path / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(LLaSOError, match="is not the manifest of `llaso-data build-align`"):
        commit.manifest(str(tmp_path))


# passwords


@pytest.mark.parametrize("uri", SECRET)
def test_an_address_with_a_password_is_refused_and_shown_without_it(uri: str, tmp_path: Path) -> None:
    assert PASSWORD in uri and PASSWORD not in uris.shown(uri)
    assert PASSWORD not in (uris.refused(uri) or PASSWORD) and "environment" in (uris.refused(uri) or "")
    here = str(tmp_path)
    for words in (
        ["build-align", uri, "--out", here], ["build-align", here, "--out", uri], ["shard", uri, "--out", here],
        ["validate", uri], ["stats", uri], ["index", uri],
    ):  # fmt: skip
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2 and "this address holds" in done.output, (words, done.output, done.exception)
        assert PASSWORD not in done.output
    with pytest.raises(LLaSOError, match="this address holds") as caught:
        StreamingLoader(Mixture.of(uri), "60s")
    assert PASSWORD not in str(caught.value)


def test_errors_mask_what_they_quote() -> None:
    said = f"{SECRET[0]}: failed; '{SECRET[7]}', {SECRET[12]} (as for me@home)"
    for error in (LLaSOError(said), AudioError("missing", said), storage.StoreError(said)):
        assert PASSWORD not in str(error) and "https://***@host/x.flac: failed" in str(error)
        assert "X-Amz-Signature=***', https://host/x.flac?id=3&token=*** (as for me@home)" in str(error)
    assert PASSWORD not in AudioError("missing", said).detail


def test_the_lock_says_which_command_without_its_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["llaso-data", "build-align", *SECRET, f"--set=x={SECRET[3]}", "out dir"])
    with lock.exclusive(str(tmp_path), "build-align"):
        said = json.loads((tmp_path / lock.LOCK).read_text())["command"]
    assert PASSWORD not in said and said.startswith("llaso-data build-align 'https://***@host/x.flac' ")
    assert said.endswith(" 'out dir'")


@pytest.mark.parametrize("uri", SECRET)
def test_records_of_earlier_versions_are_given_away_without_passwords(uri: str) -> None:
    utterance = Utterance(id="0", recording="0", source=Source(corpus="c", uri=uri), duration_s=1.0, text="a")
    said = dataclasses.replace(asr.make(utterance), provenance=Provenance(file=uri))
    sample = layout.encode_sample(said, {"flac": FLAC})
    assert PASSWORD.encode() not in sample.parts["json"]


def test_what_a_row_says_beside_its_address_is_masked_too(tmp_path: Path) -> None:
    row: dict[str, Any] = {"audio": "a.flac", "start": f"at {SECRET[7]}"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = read(tmp_path / "m.jsonl")
    assert isinstance(found.failure, Failure) and PASSWORD not in found.failure.detail
