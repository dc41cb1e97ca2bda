"""llaso-data push: sets of shards on a hub, loaded from there as they are here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llaso_data import audio
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, hub_requests, storage
from llaso_data.pipeline.download.run import download
from llaso_data.publish import send
from llaso_data.publish.push import PushOptions, PushSummary, preview
from llaso_data.publish.push import push as publish
from llaso_data.records import Message
from llaso_data.report.audit import update_certificate
from llaso_data.shards import certificate, index, layout, reader
from llaso_data.shards.removal import Removed, remove
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.llaso_data.pipeline.test_judge import utterance
from tests.llaso_data.report.test_audit import judge_all
from tests.support import corpora
from tests.support.audit_fixtures import to_audit
from tests.support.fake_hub import FakeHub, fake_hub
from tests.support.paths import REPOSITORY
from tests.support.published_sets import modalities, write_set

REPO = "me/speech"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # huggingface_hub's


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub without repositories, and a login that may write."""
    monkeypatch.setattr(hub_requests, "_FIRST_WAIT_S", 0.01)
    with fake_hub(tmp_path / "hub") as running:
        running.page = 1000
        monkeypatch.setenv("HF_TOKEN", running.token)
        yield running


@pytest.fixture(scope="module")
def groups(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of every modality in folders, as ``convert --group-by parts`` writes them."""
    out = tmp_path_factory.mktemp("groups")
    for name, samples in modalities(clips, license="cc-by-4.0").items():
        write_set(out / name, samples, clips, per_shard=2)
    return out


@pytest.fixture
def shards(clips: list[Clip], tmp_path: Path) -> Path:
    """A set of four shards with a sample each, of three speakers."""
    write_set(tmp_path / "shards", modalities(clips)["1-audio"], clips, per_shard=1)
    return tmp_path / "shards"


def push(uri: Path | str, **options: Any) -> PushSummary:
    return publish(str(uri), REPO, PushOptions(**options))


def published(hub: FakeHub, branch: str = "") -> dict[str, bytes]:
    """The files of the repository."""
    return corpora.files(hub.folder("datasets", hub.branch(REPO, branch) if branch else REPO))


def loaded(revision: str = "main") -> dict[str, dict[str, Any]]:
    """What ``datasets`` streams from the hub, by the configuration and the key of each sample."""
    command = [sys.executable, "-m", "tests.support.load_from_hub", REPO, revision]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"{row['config']}/{row['split']}/{row['key']}": row for row in rows}


def here(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """The samples of a set as the reader of shards gives them, by the name that ``loaded`` has for them."""
    return {
        f"{name}/{key}": {
            "json": json.loads(parts["json"]),
            "sounds": {
                part: audio.decode_bytes(data).tobytes().hex() for part, data in parts.items() if part != "json"
            },
        }
        for key, parts in reader.iterate(str(folder))
    }


@pytest.mark.slow
def test_every_configuration_is_loaded_from_the_hub_as_it_is_here(hub: FakeHub, groups: Path) -> None:
    pytest.importorskip("datasets")
    summary = push(groups)
    assert summary.private and summary.configurations == {
        "1-audio / train": 4, "2-audios / train": 2, "text / train": 2,
    }  # fmt: skip
    expected = {
        place: row
        for name in ("text", "1-audio", "2-audios")
        for place, row in here(groups / name, f"{name}/train").items()
    }
    found = loaded()
    assert {place: {"json": row["json"], "sounds": row["sounds"]} for place, row in found.items()} == expected
    streams = (
        "from llaso_data.stream import Mixture, StreamingLoader\n"
        f"batches = StreamingLoader(Mixture.of('hf://datasets/{REPO}/1-audio'), '60s')\n"
        "print(sorted(sample.key for batch in batches for sample in batch.samples))\n"
    )
    done = subprocess.run([sys.executable, "-c", streams], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == str(sorted(key for key, _ in reader.iterate(str(groups / "1-audio")))), done.stderr


def test_what_was_pushed_is_fetched_and_valid(hub: FakeHub, groups: Path, tmp_path: Path) -> None:
    push(groups)
    download(f"hf://datasets/{REPO}", str(tmp_path / "copy"))
    for name in ("text", "1-audio", "2-audios"):
        assert validate(str(tmp_path / "copy" / name)).problems == ()
    assert json.loads((tmp_path / "copy" / "stats.json").read_bytes())["speakers"] == 3
    corpora_of = json.loads((tmp_path / "copy" / "stats.json").read_bytes())["corpora"]
    assert {name: (one["audios"], one["licenses"]) for name, one in corpora_of.items()} == {
        "prompts": (8, {"cc-by-4.0": 8})
    }
    assert hub.messages == ["llaso-data push: 8 samples, 0.01 hours"]


def test_a_second_push_sends_nothing(hub: FakeHub, shards: Path) -> None:
    first = push(shards, message="the first")
    files, seen = published(hub), len(hub.seen)
    again = push(shards)
    assert (first.sent, again.sent, again.already_there) == (first.files, 0, first.files)
    assert published(hub) == files and hub.messages == ["the first"]
    assert not any(one.method in ("PUT", "POST") for one in hub.seen[seen:])


def test_a_speaker_who_was_taken_out_leaves_the_repository(hub: FakeHub, shards: Path) -> None:
    push(shards)
    before = published(hub)
    assert b'"value":"b"' in b"".join(before.values())
    remove(str(shards), Removed(speakers=frozenset("b")))
    summary = push(shards)
    after = published(hub)
    assert b'"value":"b"' not in b"".join(after.values()) and "removed.json" not in after
    assert summary.removed == 2 and any("squash" in warning for warning in summary.warnings)
    assert {path for path in after if path.endswith(".tar")} < {path for path in before if path.endswith(".tar")}
    fresh = hub.folder("datasets", "me/fresh")
    publish(str(shards), "me/fresh", PushOptions())
    written_alike = {path: data for path, data in after.items() if path != "README.md"}
    assert written_alike == {path: data for path, data in corpora.files(fresh).items() if path != "README.md"}


def test_a_set_that_a_removal_left_halfway_is_not_published(hub: FakeHub, shards: Path) -> None:
    table = index.open_arrow(str(shards / layout.INDEX))
    index.write_again(str(shards / layout.INDEX), table.slice(1))
    with pytest.raises(LLaSOError, match="not of one state"):
        push(shards)
    assert not hub.folder("datasets", REPO).exists()


def test_files_of_others_and_whole_sets_are_replaced_only_if_that_is_asked(
    hub: FakeHub, shards: Path, clips: list[Clip], tmp_path: Path
) -> None:
    folder = hub.folder("datasets", REPO)
    folder.mkdir(parents=True)
    (folder / "stats.json").write_text("mine", "utf-8")
    (folder / "notes.txt").write_text("mine, too", "utf-8")
    with pytest.raises(LLaSOError, match=r"stats\.json.*--overwrite"):
        push(shards)
    assert corpora.files(folder) == {"stats.json": b"mine", "notes.txt": b"mine, too"}
    push(shards, overwrite=True)
    write_set(tmp_path / "other" / "test", modalities(clips)["1-audio"][:2], clips)
    with pytest.raises(LLaSOError, match="no shard would be left"):
        push(tmp_path / "other")
    push(tmp_path / "other", overwrite=True)
    tars = {path for path in published(hub) if path.endswith(".tar")}
    assert tars == {"test/shard-000000.tar"} and published(hub)["notes.txt"] == b"mine, too"


@pytest.mark.parametrize(
    "fault", ["429", "lost", *(pytest.param(one, marks=pytest.mark.slow) for one in ("503", "cut"))]
)
def test_a_hub_that_fails_now_and_then_gets_the_same_files(hub: FakeHub, shards: Path, fault: str) -> None:
    hub.retry_after = "0"
    publish(str(shards), "me/calm", PushOptions())
    calm = corpora.files(hub.folder("datasets", "me/calm"))
    (hub.root / ".lfs").rename(hub.root / ".gone")
    hub.api_faults = {"/commit/main": ["lost"] if fault == "lost" else [fault, fault]}
    if fault != "lost":
        hub.api_faults |= {"/objects/batch": ["502"], f"/{REPO}": ["429"]}
    push(shards)
    assert not any(hub.api_faults.values())
    found = published(hub)
    assert found.keys() == calm.keys()
    assert all(found[path] == calm[path] for path in calm if path != "README.md")
    assert len(hub.messages) == 2  # a commit whose answer was lost is not made again


def stopped_push(hub: FakeHub, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push of several commits, of which the hub refuses the third."""
    monkeypatch.setattr(send, "_COMMIT_FILES", 2)
    made, send_commit = [0], send.HubRepository.commit

    def commit(self: Any, *arguments: Any) -> str:
        made[0] += 1
        if made[0] > 2:
            raise KeyboardInterrupt
        return send_commit(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(send.HubRepository, "commit", commit)
        push(shards)


def test_a_large_first_push_that_was_stopped_has_no_manifest_and_goes_on(
    hub: FakeHub, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(str(shards), "me/calm", PushOptions())
    (hub.root / ".lfs").rename(hub.root / ".gone")
    stopped_push(hub, shards, monkeypatch)
    half = published(hub)
    assert "push.json" in half and not {"manifest.json", "README.md", "index.arrow"} & half.keys()
    summary = push(shards)
    assert summary.already_there == 4  # two commits of two
    calm = corpora.files(hub.folder("datasets", "me/calm"))
    assert {path: data for path, data in published(hub).items() if path != "README.md"} == {
        path: data for path, data in calm.items() if path != "README.md"
    }


@pytest.mark.slow
def test_a_push_that_is_killed_again_and_again_ends_with_the_same_files(
    hub: FakeHub, clips: list[Clip], tmp_path: Path
) -> None:
    first = modalities(clips)["1-audio"][0]
    asked = [Message.of("user", f"Number {number}.", 0) for number in range(150)]
    write_set(
        tmp_path / "many", [replace(first, messages=(one, *first.messages[1:])) for one in asked], clips, per_shard=1
    )
    command = [sys.executable, "-c", "from llaso_data.cli import main; main()", "push", str(tmp_path / "many"), REPO]
    for puts in (5, 200, 280):
        running = subprocess.Popen(command, cwd=REPOSITORY)
        while hub.count("PUT", "/lfs/") < puts and running.poll() is None:
            time.sleep(0.01)
        assert running.poll() is None
        running.kill()
        running.wait()
        assert "manifest.json" not in published(hub)
    assert len(hub.messages) == 1  # of 256 files
    sent = hub.count("PUT", "/lfs/")
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True).returncode == 0
    assert hub.count("PUT", "/lfs/") - sent < 40
    publish(str(tmp_path / "many"), "me/calm", PushOptions())
    calm = corpora.files(hub.folder("datasets", "me/calm"))
    assert published(hub).keys() == calm.keys() and len(calm) == 304
    assert all(published(hub)[path] == calm[path] for path in calm if path != "README.md")


def test_what_a_stopped_push_left_goes_when_the_set_has_changed(
    hub: FakeHub, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_push(hub, shards, monkeypatch)
    assert b'"value":"a"' in b"".join(published(hub).values())
    remove(str(shards), Removed(speakers=frozenset("a")))
    push(shards)
    left = published(hub)
    assert b'"value":"a"' not in b"".join(left.values()) and "push.json" not in left
    assert {path for path in left if path.endswith(".tar")} == {path.name for path in shards.glob("*.tar")}


def test_a_branch_and_who_sees_it(hub: FakeHub, shards: Path) -> None:
    assert push(shards).private and REPO in hub.private
    assert not push(shards, revision="v2", public=True).private and REPO not in hub.private
    assert published(hub, "v2").keys() == published(hub).keys()
    assert b'revision="v2"' in published(hub, "v2")["README.md"]
    assert not push(shards).private
    assert push(shards, public=False).private


def test_a_set_on_a_store_is_published_as_from_a_disk(
    hub: FakeHub, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(shards)
    monkeypatch.setattr(send, "_IN_MEMORY_BYTES", 1 << 14)
    (hub.root / ".lfs").rename(hub.root / ".gone")
    store = storage.filesystem("memory://push")[0]
    try:
        store.put(str(shards), "/push", recursive=True)
        publish("memory://push", "me/stored", PushOptions())
        stored = corpora.files(hub.folder("datasets", "me/stored"))
        assert stored["shard-000000.tar"] == published(hub)["shard-000000.tar"]
        assert stored["stats.json"] == published(hub)["stats.json"]
    finally:
        store.rm("/push", recursive=True)


def test_a_damaged_tar_is_not_published(hub: FakeHub, shards: Path) -> None:
    tar = shards / "shard-000002.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1  # of its audio
    tar.write_bytes(data)
    with pytest.raises(LLaSOError, match=r"shard-000002\.tar has other bytes"):
        push(shards)
    assert published(hub) == {}


def test_who_may_not_write_is_told_what_to_do(hub: FakeHub, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.readers.add("hf_reader")
    for token, why in ((None, "no token"), ("hf_wrong", "does not take the token"), ("hf_reader", "may not write")):
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(LLaSOError, match=f"{why}.*settings/tokens"):
            push(shards)
    hub.folder("datasets", REPO).mkdir(parents=True)
    hub.gated.add(REPO)
    with pytest.raises(LLaSOError, match="acceptance of terms"):
        push(shards)
    with pytest.raises(LLaSOError, match="names no repository"):
        publish(str(shards), "speech", PushOptions())
    with pytest.raises(LLaSOError, match="no name of a branch"):
        publish(str(shards), REPO, PushOptions(revision="a..b"))


def test_the_certificate_of_the_set_goes_with_it_and_its_bound_stands_in_the_card(
    hub: FakeHub, shards: Path, clips: list[Clip], tmp_path: Path
) -> None:
    found = to_audit(tmp_path / "align", [utterance(number) for number in range(200)], 200)
    judge_all(found, "Ada", lambda _: "good")
    update_certificate(found)
    declared = {**reader.read_manifest(str(shards)), "source": {"verdicts": found.verdicts, "recipe": "r"}}
    checksums.write_json(str(shards / layout.MANIFEST), declared)
    assert certificate.carry(str(tmp_path / "align"), str(shards), declared).certified
    summary = push(shards)
    assert published(hub)["certificate.json"] == (shards / "certificate.json").read_bytes()
    assert b"Certified: 0 defects in 200, which is everything" in published(hub)["README.md"]
    assert any("names who listened: Ada" in warning for warning in summary.warnings)
    remove(str(shards), Removed(speakers=frozenset("b")))  # the set is another one then
    push(shards)
    assert "certificate.json" not in published(hub) and b"certificate.json is of another" in published(hub)[
        "README.md"
    ].replace(b"\\", b"")


def test_a_dry_run_prints_the_card_and_writes_nothing(hub: FakeHub, shards: Path) -> None:
    decision = preview(str(shards), REPO, PushOptions())
    assert "## Removal" in decision.card and len(decision.plan.sent) == len(decision.files)
    done = CliRunner().invoke(main, ["push", str(shards), REPO, "--dry-run"])
    assert done.exit_code == 0 and "nothing was sent" in done.output and "shard-000003.tar" in done.output
    assert not hub.folder("datasets", REPO).exists()
    assert {one.method for one in hub.seen} == {"GET"}
