"""The published corpus from the hub, archive by archive: whatever fails on the way, the same bytes at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.shards import reader
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.llaso_data.pipeline.test_by_archive import ids, run
from tests.support import corpora, llaso_corpus
from tests.support.fake_hub import FakeHub, fake_hub
from tests.support.llaso_corpus import NAME, Sounds, voice, write_files, write_tables, write_zips

REPO = f"YirongSun/{NAME}"
SOURCE = f"hf://datasets/{REPO}"
ZIPS = 10
CUT, BROKEN = 4, 5  # the zip that lacks its end, and the one of which a member is broken
MB = 1_000_000


@pytest.fixture(scope="module")
def said(clips: list[Clip]) -> Sounds:
    """Clips at five sampling rates as WAV, FLAC and MP3; two zips have more than 10 MB."""
    short = list(llaso_corpus.varied(clips, gains=(1.0, 0.5)).items())
    long = list(llaso_corpus.long([clips[number] for number in (3, 9, 13, 18)], repeats=17).items())
    between = ZIPS - 2
    return dict([*long[:2], *short[:between], *long[2:], *short[between:]])


@pytest.fixture(scope="module")
def hub(said: Sounds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    root = tmp_path_factory.mktemp("hub")
    write_tables(root / REPO, said, of_two(said))
    zips = write_zips(root / REPO, said, ZIPS)
    zips[CUT].write_bytes(zips[CUT].read_bytes()[:-40])
    data = bytearray(zips[BROKEN].read_bytes())
    data[1000] ^= 1
    zips[BROKEN].write_bytes(bytes(data))
    assert sum(path.stat().st_size > 10 * MB for path in zips) >= 2
    with fake_hub(root) as hub:
        hub.slow_s = 0.5
        yield hub


def of_two(said: Sounds) -> list[dict[str, Any]]:
    """A row of two clips that lie in other zips."""
    turns = [{"from": "human", "value": "<audio><audio>The same?"}, {"from": "gpt", "value": "No."}]
    return [{"voice": [voice(path) for path in list(said)[2:4]], "conversations": turns}]


@contextmanager
def most_scratch(base: Path) -> Iterator[list[int]]:
    """The most bytes that were below a folder at once, in the list at the end."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            with_sizes = (os.path.join(folder, name) for folder, _, names in os.walk(base) for name in names)
            total = 0
            for path in with_sizes:
                try:
                    total += os.path.getsize(path)
                except OSError:  # gone by now
                    continue
            most[0] = max(most[0], total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def command(out: Path, scratch: Path) -> list[str]:
    scratch.mkdir(exist_ok=True)
    options = ["--engine", "local", "--num-workers", "2", "--samples-per-part", "4", "--disk-budget", "60MB"]
    python = [sys.executable, "-c", "from llaso_data.cli import main; main()"]
    return [*python, "convert", SOURCE, "--out", str(out), *options, "--scratch", str(scratch)]


@pytest.fixture(scope="module")
def whole(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run writes that nothing disturbs; beside it ``requests``, all that it asked for."""
    folder = tmp_path_factory.mktemp("whole")
    hub.seen.clear()
    ended = subprocess.run(command(folder / "out", folder / "scratch"), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (folder / "requests").write_text("\n".join(one.path for one in hub.seen), "utf-8")
    assert not list((folder / "scratch").rglob("*.zip"))
    return folder / "out"


@pytest.mark.slow
def test_a_zip_takes_six_requests_at_most(whole: Path) -> None:
    asked = (whole.parent / "requests").read_text("utf-8").splitlines()
    for number in range(ZIPS):
        by_range = 3 if number == 3 else 0  # the second clip of a row that belongs to another zip
        assert 2 <= sum(f"part{number}.zip" in path for path in asked) <= 6 + by_range


@pytest.mark.slow
def test_the_samples_are_those_of_the_unpacked_corpus_but_for_what_is_broken(
    whole: Path, said: Sounds, tmp_path: Path
) -> None:
    assert validate(str(whole)).problems == ()
    stated = json.loads((whole / "convert.json").read_text("utf-8"))
    assert stated["rows"] == stated["samples"] + sum(stated["problems"].values())
    assert list(stated["archives"]["unreadable"]) == [f"{SOURCE}/{NAME}-audio.part{CUT}.zip"]
    names = list(said)
    lost = {*names[CUT::ZIPS], names[BROKEN]}
    left = {name: sound for name, sound in said.items() if name not in lost}
    write_tables(tmp_path / NAME, said, of_two(said))
    write_files(tmp_path / NAME, left)
    run(tmp_path / "out", tmp_path / NAME)
    assert ids(whole) == ids(tmp_path / "out")
    for sample, _ in reader.samples(str(whole)):
        assert all(audio.source.uri.startswith(f"{SOURCE}/{NAME}-audio.part") for audio in sample.audios)
    assert sum(len(sample.audios) == 2 for sample, _ in reader.samples(str(whole))) == 1


@pytest.mark.slow
def test_faults_and_kills_change_no_byte_and_scratch_keeps_its_budget(
    hub: FakeHub, whole: Path, tmp_path: Path
) -> None:
    zips = [f"part{number}.zip" for number in range(ZIPS)]
    with most_scratch(tmp_path / "scratch") as most:
        for delay_s in np.random.default_rng(3).uniform(1.5, 6.0, 6):
            hub.faults = {
                zips[0]: ["", "cut", "slow"],
                zips[1]: ["502", "", "flip"],
                zips[2]: ["503", "503", "cut"],
                zips[3]: ["429", "slow"],
                zips[6]: ["norange", "flip", "cut"],
                "ASR_stage1_train.json": ["", "", "cut"],
            }
            hub.api_faults = {zips[7]: ["503"], "recursive=true": ["502"]}
            process = subprocess.Popen(command(tmp_path / "out", tmp_path / "scratch"), stdout=subprocess.DEVNULL)
            time.sleep(float(delay_s))
            process.send_signal(signal.SIGKILL)
            process.wait()
        ended = subprocess.run(command(tmp_path / "out", tmp_path / "scratch"), capture_output=True, check=False)
    hub.faults, hub.api_faults = {}, {}
    assert ended.returncode == 0, ended.stderr
    assert corpora.files(tmp_path / "out") == corpora.files(whole)
    assert 10 * MB < most[0] <= 60 * MB


@pytest.mark.slow
@pytest.mark.parametrize("append", [False, True])
def test_an_archive_that_cannot_be_had_waits_for_the_next_run(
    hub: FakeHub, whole: Path, said: Sounds, tmp_path: Path, append: bool
) -> None:
    outs = [tmp_path / "out", tmp_path / "undisturbed"]
    if append:
        write_tables(tmp_path / "few", dict(list(said.items())[:3]))
        write_files(tmp_path / "few", dict(list(said.items())[:3]))
        for out in outs:
            run(out, {"path": str(tmp_path / "few"), "corpus": NAME})
    hub.faults = {"part0.zip": ["", *9 * ["flip"]]}
    options = ["convert", SOURCE, "--out", str(outs[0]), "--engine", "local", "--samples-per-part", "4"]
    options += ["--append"] * append
    failed = CliRunner().invoke(main, options)
    assert failed.exit_code == 1 and "1 archives could not be fetched" in failed.output
    assert f"not_fetched: {SOURCE}/{NAME}-audio.part0.zip" in failed.output and "SHA-256 is" in failed.output
    assert validate(str(outs[0])).problems == ()
    hub.faults = {}
    assert CliRunner().invoke(main, options).exit_code == 0
    if append:
        options[options.index(str(outs[0]))] = str(outs[1])
        assert CliRunner().invoke(main, options).exit_code == 0
    assert corpora.files(outs[0]) == corpora.files(outs[1] if append else whole)


@pytest.mark.slow
def test_a_list_of_members_that_came_damaged_is_noticed_and_asked_for_again(
    hub: FakeHub, said: Sounds, tmp_path: Path
) -> None:
    """Of a part of a file the hub states no sum; the zip's own list, which comes later with all of it, tells."""
    few = dict(list(said.items())[2:4])
    names = {f"set/{number:04d}-{'x' * 600}.wav": (b"", "") for number in range(500)}  # more than is read at once
    write_tables(hub.root / "YirongSun" / "Tiny", few)
    write_zips(hub.root / "YirongSun" / "Tiny", {**few, **names}, 1)
    hub.faults = {"part0.zip": ["flip"]}
    source, out = "hf://datasets/YirongSun/Tiny", tmp_path / "out"
    damaged = CliRunner().invoke(main, ["convert", source, "--out", str(out), "--engine", "local"])
    assert hub.faults == {"part0.zip": []}
    assert damaged.exit_code == 2 and "the list of its members came damaged" in damaged.output
    assert run(out, source).samples == 4


@pytest.mark.slow
def test_a_dry_run_reads_little_and_says_what_is_to_come(hub: FakeHub, said: Sounds, tmp_path: Path) -> None:
    hub.seen.clear()
    shown = CliRunner().invoke(main, ["convert", SOURCE, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert f"{ZIPS} zips" in shown.output and "times on average" in shown.output and "hours of one core" in shown.output
    assert f"  text_audio asr: {len(said) + 1}" in shown.output and "56 requests" in shown.output
    assert sum(".zip" in one.path for one in hub.seen) < 60
