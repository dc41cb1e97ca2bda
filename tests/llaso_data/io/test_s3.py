"""Sources and targets on S3: a real server (moto) and the real client; what is there is whole, and as on a disk."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner, Result

from llaso_data import audio, formats
from llaso_data.cli import main
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import lock, storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from llaso_data.report.audit import load_sample
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support.asr_fixtures import named
from tests.support.audit_fixtures import served
from tests.support.corpora import english, files, observed, recipe
from tests.support.object_stores import BUCKET, endpoint, gateway, upload

pytestmark = pytest.mark.usefixtures("server")


def source(path: Path | str, **options: Any) -> dict[str, Any]:
    return {"path": str(path), "corpus": "test", **options}


def llaso(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def everywhere(utterances: list[Utterance]) -> list[Utterance]:
    """Records without the one field that says where the audio lies."""
    return [
        dataclasses.replace(u, source=dataclasses.replace(u.source, uri=u.source.uri.rpartition("/")[2]))
        for u in utterances
    ]


@dataclass(frozen=True)
class Built:
    """One corpus built on a disk and on S3, and both cut into shards."""

    here: Path
    there: str
    summaries: tuple[BuildSummary, BuildSummary]


@pytest.fixture(scope="module")
def built(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("s3")
    corpus = english(folder / "corpus", named(clips, "en/hello_world", "en/quick_brown_fox"), (1.0,))
    upload(corpus, f"{BUCKET}/corpus")
    recipes = [
        recipe(tiny_en, out, source(spoken), shard__samples_per_shard=1)
        for spoken, out in ((corpus, folder / "align"), (f"{BUCKET}/corpus", f"{BUCKET}/align"))
    ]
    here, there = (build_align(wanted) for wanted in recipes)
    for align, shards in ((folder / "align", folder / "shards"), (f"{BUCKET}/align", f"{BUCKET}/shards")):
        shard_dataset(str(align), str(shards), recipes[0].shard, recipes[0].run)
    return Built(folder, BUCKET, (here, there))


def test_a_run_there_observes_and_judges_what_a_run_here_does(built: Built) -> None:
    """What differs is where the audio lies, and the names that are digests of that."""
    here, there = (summary.to_dict() for summary in built.summaries)
    for name in ("out", "wall_s", "verdicts"):
        del here[name], there[name]
    assert here == there and here["counts"]["accepted"] >= 2
    aligned = [str(built.here / "align"), f"{built.there}/align"]
    ours, theirs = (observed(align) for align in aligned)
    assert everywhere(ours) == everywhere(theirs) and ours != theirs
    tables = []
    for align in aligned:
        name = storage.read_json(commit.manifest_uri(align))["verdicts"]
        with storage.open_read(commit.verdicts_uri(align, name)) as file:
            tables.append(pq.read_table(file).replace_schema_metadata())
    assert tables[0] == tables[1]


def samples(shards: Path | str, corpus: str) -> dict[str, bytes]:
    """The parts of all samples, without the name of the corpus's folder in their JSON."""
    found = {}
    for name, data in files(shards).items():
        if name.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    assert content is not None
                    found[member.name] = content.read().replace(corpus.encode(), b"")
    return found


def test_shards_there_hold_the_samples_of_those_here(built: Built) -> None:
    ours = samples(built.here / "shards", str(built.here / "corpus"))
    assert ours == samples(f"{built.there}/shards", f"{built.there}/corpus") != {}
    assert validate(f"{built.there}/shards").ok


def test_the_same_source_gives_the_same_bytes_wherever_they_are_written(built: Built, tiny_en: Path) -> None:
    wanted = recipe(tiny_en, built.here, source(built.here), shard__samples_per_shard=1)
    shard_dataset(f"{built.there}/align", str(built.here / "copied"), wanted.shard, wanted.run)
    assert files(built.here / "copied") == files(f"{built.there}/shards")


def test_a_rerun_there_does_nothing(built: Built, tiny_en: Path) -> None:
    before = storage.listing(built.there)
    wanted = recipe(tiny_en, f"{built.there}/align", source(f"{built.there}/corpus"), shard__samples_per_shard=1)
    again = build_align(wanted)
    assert again.blocks_observed == 0 and not again.judged and not any(again.model_calls.values())
    cut = shard_dataset(f"{built.there}/align", f"{built.there}/shards", wanted.shard, wanted.run)
    assert cut.skipped == cut.shards >= 1
    assert storage.listing(built.there) == before
    fs, path = storage.filesystem(built.there)
    assert not [name for name in fs.find(path) if "/.llaso" in name]


def test_the_commands_read_what_lies_there(built: Built, tmp_path: Path) -> None:
    assert "no problem" in llaso("validate", f"{built.there}/shards").output
    assert json.loads(llaso("stats", f"{built.there}/shards", "--json").output)["samples"] >= 2
    llaso("rejections", f"{built.there}/align")
    llaso("words", f"{built.there}/align", "--count", "1", "--out", tmp_path / "words.png")
    assert (tmp_path / "words.png").stat().st_size > 1000


def test_an_audit_of_what_lies_there_is_certified_there(built: Built) -> None:
    align, sheet = f"{BUCKET}/audited", f"{BUCKET}/sheet.csv"
    for name, data in files(f"{built.there}/align").items():
        storage.write_bytes(f"{align}/{name}", data)
    drawn = load_sample(align)
    with served(drawn, auditor="Ada") as server:  # the page, whose answers go there one by one
        item = drawn.items[0].utterance.id
        assert server.item(item)["opus"]
        request = urllib.request.Request(
            f"{server.url}answer",
            json.dumps({"auditor": "Ada", "id": item, "answer": "good"}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
    llaso("audit", align, "--export", sheet, "--auditor", "Ada")
    rows = storage.read_bytes(sheet).decode("utf-8-sig")
    sounds = [file["path"] for file in storage.listing(built.there) if file["path"].startswith("sheet-sounds/")]
    assert "1,good," in rows and len(sounds) == len(drawn.items) >= 2
    storage.write_bytes(sheet, rows.replace(",,", ",good,").encode())
    assert "written to" in llaso("audit", align, "--import", sheet, "--auditor", "Ada").output
    certificate = storage.read_json(f"{align}/certificate.json")
    assert certificate["auditors"] and "judged" in llaso("audit", align, "--status").output


def layouts(folder: Path, clips: list[Clip]) -> Path:
    """The same two recordings as a LibriSpeech tree, tars, and manifests."""
    chosen = [clip for clip in clips if clip.language == "en"][:2]
    chapter = folder / "libri" / "dev" / "84" / "12"
    for number, clip in enumerate(chosen):
        samples, rate_hz = soundfile.read(str(clip.path), dtype="int16")
        chapter.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(chapter / f"84-12-{number:04}.flac"), samples, rate_hz)
    lines = [f"84-12-{number:04} {clip.text.upper()}\n" for number, clip in enumerate(chosen)]
    (chapter / "84-12.trans.txt").write_text("".join(lines))
    (folder / "tars").mkdir()
    with tarfile.open(folder / "tars" / "a-000.tar", "w") as tar:
        for number, clip in enumerate(chosen):
            tar.add(clip.path, f"{number}.wav")
            tar.add(clip.path.with_suffix(".txt"), f"{number}.txt")
    rows = [
        {"audio": f"libri/dev/84/12/84-12-{number:04}.flac", "text": clip.text} for number, clip in enumerate(chosen)
    ]
    rows.append({"audio": "libri/dev/84/12/not-there.flac", "text": "x"})
    rows.append({"audio": "tars/a-000.tar", "member": "1.wav", "text": chosen[1].text})
    (folder / "relative.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("path", ["libri", "tars", "tars/a-{000..000}.tar", "relative.jsonl"])
def test_every_layout_is_read_there_as_here(server: str, path: str, clips: list[Clip], tmp_path: Path) -> None:
    folder = layouts(tmp_path / "layouts", clips)
    upload(folder, f"{BUCKET}/layouts")

    def read(root: str) -> list[tuple[Any, ...]]:
        found = []
        for item in formats.read(SourceSpec(path=f"{root}/{path}", corpus="test")):
            place = item.utterance.source
            record = everywhere([item.utterance])[0]
            pcm = None
            if "not-there" not in place.uri:
                pcm = audio.audio_id(audio.decode(place.uri, place.member)[0])
            found.append((record, item.size_bytes, pcm))
        return found

    here, there = read(str(folder)), read(f"{BUCKET}/layouts")
    assert here == there and len(here) == (4 if path.endswith("jsonl") else 2)


def test_a_manifest_may_name_objects_from_anywhere(server: str, clips: list[Clip], tmp_path: Path) -> None:
    """Rows with s3:// in a manifest on a disk, and a manifest on S3 in another folder than its audio."""
    upload(layouts(tmp_path / "layouts", clips), f"{BUCKET}/layouts")
    row = json.dumps({"audio": f"{BUCKET}/layouts/libri/dev/84/12/84-12-0000.flac"})
    (tmp_path / "rows.jsonl").write_text(row)
    storage.write_bytes(f"{BUCKET}/tables/rows.jsonl", row.encode())
    for table in (str(tmp_path / "rows.jsonl"), f"{BUCKET}/tables/rows.jsonl"):
        (item,) = formats.read(SourceSpec(path=table, corpus="test"))
        assert item.size_bytes > 0 and item.version and item.utterance.failure is None
        assert len(audio.decode(item.utterance.source.uri)[0])


def test_odd_names_there_are_names_and_odd_addresses_are_failed_rows(server: str, clips: list[Clip]) -> None:
    """What no store could answer ends no run: it is the row's fault."""
    for name in ("a::b", "e[1]", "s3:::c", "q?x=1"):
        storage.write_bytes(f"{BUCKET}/odd/{name}.wav", clips[0].path.read_bytes())
        storage.write_bytes(f"{BUCKET}/odd/{name}.txt", name.encode())
    listed = [item.utterance for item in formats.read(SourceSpec(path=f"{BUCKET}/odd", corpus="test"))]
    assert {u.source.uri: u.text for u in listed} == {
        f"{BUCKET}/odd/{name}.wav": name for name in ("a::b", "e[1]", "s3:::c", "q?x=1")
    }
    assert all(len(audio.decode(u.source.uri)[0]) for u in listed)
    rows = ["odd/a::b.wav", "s3://", "s3://no bucket/x", f"{BUCKET}/odd/none.wav", "s3://nobody/x.wav"]
    rows += ["gs://bucket/x.wav"] if importlib.util.find_spec("gcsfs") is None else []  # its package is not here
    table = f"{BUCKET}/odd.jsonl"
    storage.write_bytes(table, "".join(json.dumps({"audio": row}) + "\n" for row in rows).encode())
    found = [item.utterance for item in formats.read(SourceSpec(path=table, corpus="test"))]
    failed = [u.failure.detail for u in found if u.failure]
    assert len(found) == len(rows) and len(failed) == len(rows) - 3
    assert all(f"{table}:" in detail for detail in failed)
    for uri in (f"{BUCKET}/odd/none.wav", "s3://nobody/x.wav"):
        with pytest.raises(AudioError) as caught:
            audio.decode(uri)
        assert caught.value.reason == "missing"


def test_many_objects_are_asked_for_at_once(built: Built) -> None:
    rows = storage.listing(f"{BUCKET}/corpus")
    uris = [storage.join(f"{BUCKET}/corpus", row["path"]) for row in rows]
    found = storage.stat_many([*uris * 40, f"{BUCKET}/corpus/none"])
    assert found == [{"size": row["size"], "version": row["version"]} for row in rows] * 40 + [None]
    assert storage.stat_many([]) == []


def test_an_object_is_locked_by_a_conditional_put(server: str) -> None:
    out = f"{BUCKET}/locked"
    with lock.exclusive(out, "build-align") as held:
        fs, path = storage.filesystem(storage.join(out, lock.LOCK))
        with pytest.raises(FileExistsError):
            fs.pipe_file(path, b"", mode="create")
        with pytest.raises(lock.LockedError, match=f"process {os.getpid()} on"):
            lock.exclusive(out, "shard").__enter__()
        held.confirm()
    assert storage.filesystem(out)[0].find(path.rpartition("/")[0]) == []


def test_of_runs_that_start_at_once_one_wins(server: str) -> None:
    out, wins, start, end = f"{BUCKET}/race", [], threading.Barrier(4), threading.Barrier(4)

    def contend() -> None:
        start.wait()
        try:
            with lock.exclusive(out, "shard"):
                wins.append(1)
                end.wait()
        except lock.LockedError:
            end.wait()

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wins == [1]


def test_a_target_that_refuses_is_said_before_any_work(
    server: str, built: Built, tiny_en: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = ("build-align", built.here / "corpus", "--asr", tiny_en, "--engine", "local", "--out")
    shard = ("shard", built.here / "align", "--engine", "local", "--out")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for words in (build, shard):
        said = llaso(*words, "s3://no-such-bucket/x", code=2).output
        assert "s3://no-such-bucket/x: cannot be written: there is no such bucket (" in said and said.count("\n") == 1
        assert "nowhere" in llaso(*words, "nowhere://x", code=2).output
    with gateway(server) as before:
        before.rule = lambda method, path: 403 if method == "PUT" else None
        said = llaso(*shard, f"{BUCKET}/x", code=2).output
        assert said.startswith(f"llaso-data: {BUCKET}/x: cannot be written (") and said.count("\n") == 1
    with endpoint("http://127.0.0.1:9"):  # nobody listens
        said = llaso(*shard, f"{BUCKET}/x", code=2).output
        assert "Could not connect" in said and said.count("\n") == 1
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with endpoint(server):
        assert "credentials" in llaso(*shard, f"{BUCKET}/x", code=2).output


def test_errors_that_pass_are_borne(server: str, built: Built) -> None:
    """Every tar and every recording fails once, in one way or the other."""
    failed: dict[str, int] = {}

    def rule(method: str, path: str) -> int | str | None:
        if (method, path[-4:]) in (("PUT", ".tar"), ("GET", ".wav")) and failed.setdefault(path, 0) < 2:
            failed[path] += 1
            return 503 if method == "PUT" or failed[path] == 1 else "cut"
        return None

    with gateway(server) as before, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "4")
        before.rule = rule
        words = ("--engine", "local", "--samples-per-shard", "1", "--out", f"{BUCKET}/borne")
        llaso("shard", f"{BUCKET}/align", *words)
    assert len(failed) >= 3 and set(failed.values()) == {2}
    assert files(f"{BUCKET}/borne") == files(f"{BUCKET}/shards")


def test_a_store_that_fails_is_no_fault_of_the_recording(
    server: str, built: Built, tiny_en: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a failed clip in the records nor one that changed: the run ends with one message."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    accepted = next(u for u in observed(f"{BUCKET}/align") if u.hypothesis and "world" in u.source.uri)
    name = accepted.source.uri.rpartition("/")[2]
    with gateway(server) as before:
        before.rule = lambda method, path: "cut" if method == "GET" and path.endswith(name) else None
        with pytest.raises(LLaSOError) as caught:
            audio.decode(f"{BUCKET}/corpus/{name}")
        assert not isinstance(caught.value, AudioError) and "the store failed" in str(caught.value)
        before.rule = lambda method, path: 500 if method == "GET" and path.endswith(name) else None
        said = llaso("shard", f"{BUCKET}/align", "--engine", "local", "--out", f"{BUCKET}/unread", code=2).output
        assert name in said and "the store failed" in said and "Traceback" not in said
    assert files(f"{BUCKET}/unread") == {}


OBJECTS = [
    ".tar",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("0.arrow", "index.arrow", "manifest.json")),
]


@pytest.mark.parametrize("ending", OBJECTS)
def test_what_could_not_be_uploaded_is_not_there(server: str, built: Built, ending: str) -> None:
    out = f"{BUCKET}/failed-{ending.strip('.')}"
    words = ("shard", f"{BUCKET}/align", "--engine", "local", "--samples-per-shard", "1", "--out", out)
    with gateway(server) as before, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        before.rule = lambda method, path: 500 if method == "PUT" and path.endswith(ending) else None
        said = llaso(*words, code=2).output
        assert ending in said and "cannot be written" in said and "Traceback" not in said
    assert not [name for name in files(out) if name.endswith(ending)]
    llaso(*words)
    assert files(out) == files(f"{BUCKET}/shards")
    assert not list(Path(tempfile.gettempdir()).glob("llaso-scratch-*"))


def started(*words: Any, **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from llaso_data.cli import main; main()", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )


def until(condition: Callable[[], bool], limit_s: float = 120.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".tar", "0.arrow", "index.arrow", "manifest.json"])
def test_a_run_that_is_killed_while_it_uploads_leaves_whole_objects_or_none(
    server: str, built: Built, ending: str
) -> None:
    """SIGKILL while the object is on its way; the same command at once takes the dead run's lock over."""
    out = f"{BUCKET}/killed-{ending.strip('.')}"
    words = ("shard", f"{BUCKET}/align", "--engine", "local", "--samples-per-shard", "1", "--out", out)
    with gateway(server) as before:
        before.rule = lambda method, path: "hang" if method == "PUT" and path.endswith(ending) else None
        process = started(*words)
        until(lambda: any(method == "PUT" and path.endswith(ending) for method, path in before.seen))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not [name for name in files(out) if name.endswith(ending)]
    llaso(*words)
    assert files(out) == files(f"{BUCKET}/shards")


@pytest.mark.slow
def test_a_store_that_goes_away_ends_the_run_with_one_message(server: str, built: Built) -> None:
    """It takes the run's lock with it, which is no hindrance afterwards."""
    words = ("shard", f"{BUCKET}/align", "--engine", "local", "--samples-per-shard", "1", "--out", f"{BUCKET}/gone")
    with gateway(server) as before:

        def rule(method: str, path: str) -> None:
            if method == "PUT" and path.endswith(".tar"):
                before.stop()

        before.rule = rule
        process = started(*words, AWS_MAX_ATTEMPTS="1")
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 2 and "shard-000000.tar: cannot be written" in said and "Traceback" not in said
    assert storage.exists(f"{BUCKET}/gone/{lock.LOCK}") and files(f"{BUCKET}/gone") == {}
    llaso(*words)
    assert files(f"{BUCKET}/gone") == files(f"{BUCKET}/shards")


@pytest.mark.slow
def test_a_large_object_of_a_killed_writer_is_not_there(server: str, tmp_path: Path) -> None:
    """120 MB go up in parts; what a killed writer had sent is an unfinished upload, which has no name in listings."""
    uri = f"{BUCKET}/large/shard-000000.tar"
    code = f"""
from llaso_data.io import storage
with storage.whole({uri!r}) as path, open(path, "wb") as file:
    for number in range(120):
        file.write(bytes([number]) * (1 << 20))
"""
    with gateway(server) as before:
        before.rule = lambda method, path: "hang" if method == "PUT" and "partNumber=3" in path else None
        process = subprocess.Popen([sys.executable, "-c", code])
        until(lambda: any("partNumber=3" in path for _, path in before.seen))
        until(lambda: sum(method == "PUT" for method, _ in before.seen) >= 3)
        process.kill()
        process.wait()
    assert not storage.exists(uri) and storage.listing(f"{BUCKET}/large") == []
    fs = storage.filesystem(uri)[0]
    unfinished = fs.call_s3("list_multipart_uploads", Bucket="speech").get("Uploads", [])
    assert [upload["Key"] for upload in unfinished] == ["large/shard-000000.tar"]
    subprocess.run([sys.executable, "-c", code], check=True)
    assert storage.stat(uri)["size"] == 120 << 20


@pytest.mark.slow
def test_a_large_upload_that_fails_is_given_up_by_name(server: str, tmp_path: Path) -> None:
    uri = f"{BUCKET}/large/shard-000001.tar"
    with gateway(server) as before, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        before.rule = lambda method, path: 500 if method == "PUT" and "partNumber=2" in path else None
        with pytest.raises(storage.StoreError, match=r"shard-000001\.tar: cannot be written"):
            storage.write_bytes(uri, bytes(120 << 20))
    unfinished = storage.filesystem(uri)[0].call_s3("list_multipart_uploads", Bucket="speech").get("Uploads", [])
    assert not storage.exists(uri) and uri.partition("//speech/")[2] not in [found["Key"] for found in unfinished]


@pytest.mark.slow
def test_a_store_that_hangs_is_given_up_with_one_message(server: str, built: Built) -> None:
    quick = {"AWS_MAX_ATTEMPTS": "1", "FSSPEC_S3": '{"config_kwargs": {"read_timeout": 1}}'}
    with gateway(server) as before:
        before.rule = lambda method, path: "hang" if method == "GET" and path.endswith(".wav") else None
        process = started("shard", f"{BUCKET}/align", "--engine", "local", "--out", f"{BUCKET}/hung", **quick)
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 2 and "the store failed" in said and "Traceback" not in said
    assert files(f"{BUCKET}/hung") == {}


@pytest.mark.slow
def test_both_engines_write_the_same_bytes_there(server: str, built: Built, tiny_en: Path) -> None:
    wanted = recipe(
        tiny_en, f"{BUCKET}/ray", source(f"{BUCKET}/corpus"), run__engine="ray", run__num_workers=1,
        shard__samples_per_shard=1,
    )  # fmt: skip
    assert build_align(wanted).blocks_observed >= 1
    assert files(f"{BUCKET}/ray", "recipe.yaml") == files(f"{BUCKET}/align", "recipe.yaml")
    shard_dataset(f"{BUCKET}/ray", f"{BUCKET}/ray-shards", wanted.shard, wanted.run)
    assert files(f"{BUCKET}/ray-shards") == files(f"{BUCKET}/shards")
    assert build_align(wanted).blocks_observed == 0
    with gateway(server) as before, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        before.rule = lambda method, path: 500 if method == "PUT" and path.endswith(".tar") else None
        with pytest.raises(LLaSOError, match=r"shard-00000[01]\.tar: cannot be written"):
            shard_dataset(f"{BUCKET}/ray", f"{BUCKET}/ray-failed", wanted.shard, wanted.run)
