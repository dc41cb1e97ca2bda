"""A full disk, or one that takes nothing: one message, nothing half-written under a final name, and it goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.io import storage
from llaso_data.pipeline import recipe_file
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.shards import sound_spool
from tests.conftest import Clip
from tests.support.corpora import english, files, recipe


class Disk:
    """A small file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, **options: int | str) -> None:
        said = ",".join(f"{name}={value}" for name, value in options.items())
        subprocess.run(["mount", "-o", f"remount,{said}", str(self.path)], check=True)


@contextmanager
def disk(path: Path, **options: int | str) -> Iterator[Disk]:
    path.mkdir(parents=True, exist_ok=True)
    said = ",".join(f"{name}={value}" for name, value in options.items())
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", said, "tmpfs", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(scope="module")
def corpus(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return english(tmp_path_factory.mktemp("full") / "corpus", clips, (1.0,))


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tiny_en: Path) -> Path:
    """The folder with ``align`` and ``shards`` of a run with room enough."""
    wanted = recipe(tiny_en, corpus.parent / "align", corpus, shard__samples_per_shard=2)
    build_align(wanted)
    shard_dataset(str(corpus.parent / "align"), str(corpus.parent / "shards"), wanted.shard, wanted.run)
    return corpus.parent


def run(*words: Any, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; ``limit_bytes`` is the largest file that it may write."""

    def limited() -> None:
        assert limit_bytes is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [sys.executable, "-c", "from llaso_data.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        preexec_fn=None if limit_bytes is None else limited,
    )


def says_once(done: subprocess.CompletedProcess[str], *words: str) -> bool:
    """Exit code 2 and one message that holds the words."""
    said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("llaso-data: ") == 1, done.stderr
    assert all(word in said for word in words), done.stderr
    return True


def grow(
    small: Disk, out: Path, whole: dict[str, bytes], work: Callable[[], object], option: str, step: int
) -> set[str]:
    """Do the work again and again on a disk that grows by a little each time; gives the names of what found no room.

    Whatever has a final name after an error is right, nothing else is left, and in the end everything is there.
    """
    seen = set()
    for size in range(step, 1000 * step, step):
        small.resize(**{option: size})
        try:
            work()
            break
        except storage.StoreError as error:
            said = str(error)
            assert said.startswith(str(out.parent)) and "no room left" in said and "Make room" in said
            seen.add(said.partition(":")[0].rpartition("/")[2])
            found = files(out)
            assert {name: whole.get(name) for name in found} == found
            assert not [name for _, _, names in os.walk(out) for name in names if name.startswith(".")]
    assert files(out) == whole
    return seen


def shard_work(undisturbed: Path, out: Path) -> Callable[[], object]:
    wanted = recipe(undisturbed, out, undisturbed, shard__samples_per_shard=2)
    return lambda: shard_dataset(str(undisturbed / "align"), str(out), wanted.shard, wanted.run)


def test_a_disk_that_has_no_room_for_a_shard(undisturbed: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", size=4096) as small:
        out = small.path / "shards"
        seen = grow(small, out, files(undisturbed / "shards"), shard_work(undisturbed, out), "size", 8192)
    assert "shard-000000.tar" in seen


def test_a_disk_that_has_no_room_for_another_file(undisturbed: Path, tmp_path: Path) -> None:
    """Out of inodes at every file of the shards, one after the other."""
    with disk(tmp_path / "disk", nr_inodes=1) as small:
        out, whole = small.path / "shards", files(undisturbed / "shards")
        seen = grow(small, out, whole, shard_work(undisturbed, out), "nr_inodes", 1)
    assert seen >= set(whole)


@pytest.mark.slow
def test_a_disk_that_has_no_room_for_what_is_observed(
    undisturbed: Path, corpus: Path, tiny_en: Path, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", nr_inodes=3) as small:
        out = small.path / "align"
        wanted = recipe(tiny_en, out, corpus, shard__samples_per_shard=2)
        whole = files(undisturbed / "align")
        whole["recipe.yaml"] = recipe_file.text_of(wanted).encode()
        seen = grow(small, out, whole, lambda: build_align(wanted), "nr_inodes", 1)
    assert len([name for name in seen if name.endswith(".parquet")]) >= 2 and "manifest.json" in seen


def test_a_disk_for_temporary_files_that_is_full(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sounds of a shard wait there for their order, and what goes to a store is written there first."""
    with disk(tmp_path / "disk", size="8k") as small:
        monkeypatch.setattr(tempfile, "tempdir", str(small.path))
        monkeypatch.setattr(sound_spool, "_MEMORY_BYTES", 1)
        with pytest.raises(storage.StoreError, match=r"shard-000000.tar .*no room left.*TMPDIR"):
            shard_work(undisturbed, tmp_path / "shards")()
        with pytest.raises(storage.StoreError, match=r"memory://full/x .*no room left.*TMPDIR"):
            storage.write_bytes("memory://full/x", bytes(65536))
        assert files(tmp_path / "shards") == {} and not storage.exists("memory://full/x")
        assert os.listdir(small.path) == []


def test_a_limit_on_the_size_of_files_is_named(undisturbed: Path, tmp_path: Path) -> None:
    """What a quota on single files looks like; it needs no mounting."""
    words = ("shard", undisturbed / "align", "--samples-per-shard", "2", "--engine", "local", "--out", tmp_path / "out")
    assert says_once(run(*words, limit_bytes=16384), "shard-000000.tar", "larger than is allowed")
    assert not (tmp_path / "out").exists()  # nothing came into it
    assert run(*words).returncode == 0
    assert files(tmp_path / "out") == files(undisturbed / "shards")


@pytest.mark.slow
def test_from_a_worker_of_ray_it_is_the_same_message(
    undisturbed: Path, corpus: Path, tiny_en: Path, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", nr_inodes=4) as small:
        words = ("shard", undisturbed / "align", "--samples-per-shard", "2", "--out", small.path / "shards")
        # Two workers write a shard each: either may be the first that finds no room.
        assert says_once(run(*words), "shards/shard-00000", "no room left", "Make room")
        shutil.rmtree(small.path / "shards", ignore_errors=True)
        built = ("build-align", corpus, "--corpus", "test", "--asr", tiny_en, "--num-workers", "1", "--device", "cpu")
        assert says_once(run(*built, "--out", small.path / "align", "--set", "blocks.clips=2"), "no room left")


@contextmanager
def read_only(path: Path) -> Iterator[Path]:
    path.mkdir()
    with disk(path, size="1m", mode="0755"):
        subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
        yield path


@pytest.fixture(params=["below a file", "in /proc", "on a disk that is read-only", "with a file in a folder's place"])
def unwritable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "below a file":
        (tmp_path / "file").write_text("")
        yield tmp_path / "file" / "out"
    elif request.param == "in /proc":
        yield Path("/proc/llaso/out")
    elif request.param.startswith("with"):
        (tmp_path / "out").write_text("")
        yield tmp_path / "out"
    else:
        with read_only(tmp_path / "disk") as path:
            yield path / "out"


def test_a_target_that_cannot_be_written_is_said_before_any_work(
    unwritable: Path, undisturbed: Path, corpus: Path, tmp_path: Path
) -> None:
    """Before the model, which is not there, and before the sources, which are not either."""
    nothing = str(tmp_path / "nothing")
    for words in (["build-align", nothing, "--asr", nothing], ["shard", nothing], ["index", nothing]):
        result = CliRunner().invoke(main, [*words, "--out", str(unwritable)])
        assert result.exit_code == 2, result.output
        assert result.output.startswith(f"llaso-data: {unwritable}: cannot be written (")
        assert result.output.count("\n") == 1


def test_a_file_where_a_folder_of_the_output_would_be_is_said_too(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "verdicts").write_text("")
    with pytest.raises(storage.StoreError, match=r"verdicts: cannot be written \(Not a directory\)"):
        build_align(recipe(tmp_path / "no model", tmp_path / "out", corpus))
