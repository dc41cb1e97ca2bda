"""Killed at any moment and started again, every command gives the bytes of a run that nobody disturbed."""

from __future__ import annotations

import importlib
import random
import secrets
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llaso_data.cli import main
from llaso_data.io.loopback import environment
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.ray_access import read_environment, this_machine_alone
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.recipe import Shard
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support import processes
from tests.support.corpora import english, files, observed, recipe
from tests.support.fault_injection import Command, below, kill, strikes, survive, until

JUDGED = {"judge.consistency.cer_max": 99.0, "judge.confidence.avg_logprob_min": -99.0}  # all are accepted


@dataclass(frozen=True)
class Peace:
    """A corpus, and what undisturbed runs made of it."""

    corpus: Path
    model: Path
    folder: Path
    clips: int
    samples_per_shard: int
    aligned: dict[str, bytes]
    shards: dict[str, bytes]

    @property
    def blocks(self) -> int:
        return sum(name.startswith("observations/") for name in self.aligned)

    def building(self, out: Path, *options: str) -> list[str]:
        judged = [f"--set={key}={value}" for key, value in JUDGED.items()]
        fixed = ["--corpus=test", "--device=cpu", f"--asr={self.model}", "--set=blocks.clips=2", *judged]
        return ["build-align", str(self.corpus), f"--out={out}", *fixed, *options]

    def build(self, out: Path, *options: str) -> Command:
        return Command(self.building(out, *options), out.with_suffix(".log"))

    def shard(self, out: Path, *options: str) -> Command:
        source = str(self.folder / "align")
        size = f"--samples-per-shard={self.samples_per_shard}"
        return Command(["shard", source, f"--out={out}", size, *options], out.with_suffix(".log"))

    def same(self, out: Path) -> None:
        """The output is what it would have been: every byte, no id lost or twice, nothing left lying about."""
        assert_same(files(out, "recipe.yaml"), self.aligned)
        recordings = Counter(utterance.recording for utterance in observed(out))
        assert len(recordings) == self.clips and set(recordings.values()) == {1}
        assert temporaries(out) == []

    def same_shards(self, out: Path) -> None:
        assert_same(files(out), self.shards)
        assert validate(str(out)).ok and temporaries(out) == []


def assert_same(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(wanted)
    assert {name for name in wanted if found[name] != wanted[name]} == set()


def shown(out: Path, story: list[str]) -> None:
    """The strikes and what came of them: seen with pytest -s."""
    print("", *(f"{out.name}: {line}" for line in story), sep="\n")


def temporaries(out: Path) -> list[Path]:
    return list(out.rglob(".*.tmp"))


def committed(out: Path, pattern: str = "observations/*.parquet") -> int:
    return len(list(out.glob(pattern)))


def peace(folder: Path, corpus: Path, model: Path, clips: int, samples_per_shard: int) -> Peace:
    wanted = recipe(model, folder / "align", corpus, **JUDGED)
    build_align(wanted)
    shard_dataset(str(folder / "align"), str(folder / "shards"), Shard(samples_per_shard=samples_per_shard), wanted.run)
    aligned, shards = files(folder / "align", "recipe.yaml"), files(folder / "shards")
    return Peace(corpus, model, folder, clips, samples_per_shard, aligned, shards)


@pytest.fixture(scope="module", autouse=True)
def as_urgent_as_ours() -> Iterator[None]:
    """Ray's workers are nicer than other processes, and would wait for all of them on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="module")
def small(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Peace:
    folder = tmp_path_factory.mktemp("small")
    return peace(folder, english(folder / "corpus", clips, (0.7,)), tiny_en, 3, 1)


@pytest.fixture(scope="module")
def large(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Peace:
    folder = tmp_path_factory.mktemp("large")
    gains = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    return peace(folder, english(folder / "corpus", clips, gains), tiny_en, 21, 2)


def command(words: list[str]) -> None:
    """``llaso-data words…``, where torch is imported already."""
    main(words)


def test_a_killed_build_goes_on_where_it_was(small: Peace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = processes.start(command, small.building(out, "--engine=local"), log=tmp_path / "log")
    try:
        assert until(lambda: committed(out) >= 1 or run.poll() is not None) and run.poll() is None, run.said
    finally:
        run.kill()
    assert run.poll() == -signal.SIGKILL and committed(out) < small.blocks
    (out / "observations" / f".{'0' * 32}.parquet.4711-00c0ffee.tmp").write_bytes(b"half a part")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("observations/*.parquet")}
    again = build_align(recipe(small.model, out, small.corpus, **JUDGED))
    assert again.blocks_observed == small.blocks - len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    small.same(out)


@pytest.mark.slow
def test_killed_while_it_shards(small: Peace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = strikes(1, [("driver", 1, 0.0), ("driver", 2, 0.01)])
    survive(lambda: small.shard(out, "--engine=local"), plan, lambda: committed(out, "*.tar"))
    small.same_shards(out)


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_a_run_with_a_message(small: Peace, tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "out"
    run = small.build(out, "--engine=local")
    try:
        assert run.reached(lambda: committed(out) >= 1)
        run.send(number)
        assert run.wait() == code
        assert run.log.read_text().splitlines()[-1].startswith("llaso-data: stopped; what is finished is kept")
        assert run.remains() == [] and temporaries(out) == []
    finally:
        run.end()


@pytest.mark.slow
def test_sigterm_ends_a_run_that_swallowed_the_interrupt(small: Peace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = small.build(out, "--engine=local", "--set=observe.stages=[{stage: 'tests.support.stages:Deaf'}]")
    try:
        assert run.wait() == 143
        assert run.log.read_text().splitlines()[-1].startswith("llaso-data: stopped; what is finished is kept")
        assert committed(out) == 1
    finally:
        run.end()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_driver_killed_four_times(large: Peace, tmp_path: Path, engine: str) -> None:
    """Before the first result, in the midst of it, near the end, and while it judges; each time the same command."""
    out = tmp_path / engine
    moments = [(0, 6.0), (large.blocks // 2, 2.0), (large.blocks - 2, 1.0), (large.blocks, 0.3)]
    plan = strikes(2, [("driver", *moment) for moment in moments])
    story = survive(lambda: large.build(out, f"--engine={engine}"), plan, lambda: committed(out))
    shown(out, story)
    large.same(out)


@pytest.mark.slow
def test_killed_while_it_calibrates_and_judges_by_it(large: Peace, tmp_path: Path) -> None:
    """While it plants and observes, at the end of that, and in the run that judges again."""
    whole, out = (Path(shutil.copytree(large.folder / "align", tmp_path / name)) for name in ("whole", "killed"))

    def calibrating(folder: Path) -> Command:
        return Command(
            ["calibrate", str(folder), "--clips=12", "--faults=2", "--engine=local"], folder.with_suffix(".log")
        )

    def judging(folder: Path) -> Command:
        return large.build(folder, "--engine=local")

    assert calibrating(whole).wait() == 0 and judging(whole).wait() == 0
    wanted = files(whole, "recipe.yaml")
    blocks = sum(name.startswith("calibration/observations/") for name in wanted)
    assert blocks >= 2 and "calibration.json" in wanted and wanted["manifest.json"] != large.aligned["manifest.json"]

    def planted() -> int:
        return committed(out / "calibration")

    story = survive(
        lambda: calibrating(out), strikes(5, [("driver", 0, 3.0), ("driver", 1, 0.5), ("driver", blocks, 0.3)]), planted
    )
    story += survive(lambda: judging(out), strikes(6, [("driver", 0, 0.8), ("driver", 0, 0.8)]), planted)
    shown(out, story)
    assert_same(files(out, "recipe.yaml"), wanted)
    assert temporaries(out) == []


@pytest.mark.slow
def test_killed_while_it_shards_with_ray(large: Peace, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    plan = strikes(3, [("task", 0, 0.5), ("driver", 1, 0.1), ("task", 2, 0.0), ("driver", 4, 0.1)])
    draw = random.Random(3)

    def hit(run: Command, target: str) -> bool:
        return strike_worker(draw, {run.process.pid}, "ray::_catch_errors")

    story = survive(lambda: large.shard(out, "--engine=ray"), plan, lambda: committed(out, "*.arrow"), hit)
    shown(out, story)
    large.same_shards(out)


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_process_outlives_a_run_with_ray(large: Peace, tmp_path: Path, number: int, code: int) -> None:
    """Neither Ray's own processes nor the workers, with their models of gigabytes."""
    out = tmp_path / "out"
    run = large.build(out, "--engine=ray")
    try:
        assert run.reached(lambda: committed(out) >= 1)
        assert len(run.remains()) > 5
        run.send(number)
        assert run.wait() == code
        ended_s = time.monotonic()
        # Where the driver could not say goodbye, Ray's agents look for its cluster for a minute before they end.
        assert until(lambda: run.remains() == [], 180), run.remains()
        print(f"\n{signal.Signals(number).name}: all gone {time.monotonic() - ended_s:.1f} s after the command")
        if number != signal.SIGKILL:
            assert run.log.read_text().splitlines()[-1].startswith("llaso-data: stopped; what is finished is kept")
    finally:
        run.end()


def strike_worker(draw: random.Random, roots: set[int], *named: str) -> bool:
    """SIGKILL to one of the workers below these processes that is at such a work; waits for one a while."""
    found: list[int] = []

    def any_there() -> bool:
        found[:] = [p.pid for p in below(roots) if p.command.startswith(named)]
        return bool(found)

    if until(any_there, 60):
        kill(draw.choice(sorted(found)))
    return bool(found)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with one CPU each; the driver joins at the first, which holds no worker."""
    cluster_utils = importlib.import_module("ray.cluster_utils")
    head = {"num_cpus": 0, "include_dashboard": False}
    with environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}), this_machine_alone():
        read_environment()
        made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
        made.shutdown()
    read_environment()


def striking(cluster: Any, seed: int, workers: dict[str, str]) -> Callable[[Command, str], bool]:
    """Strikes a node, which takes all that runs on it along and is replaced by another, or a worker of this name."""
    draw = random.Random(seed)

    def hit(run: Command, target: str) -> bool:
        raylets = {node.all_processes["raylet"][0].process.pid: node for node in cluster.list_all_nodes()}
        if target != "node":
            return strike_worker(draw, set(raylets), workers[target])
        pid = draw.choice(sorted(p for p, node in raylets.items() if node is not cluster.head_node))
        for lost in [pid, *(p.pid for p in below({pid}))]:  # a power cut
            kill(lost)
        cluster.remove_node(raylets[pid], allow_graceful=False)
        cluster.add_node(num_cpus=1)
        return True

    return hit


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 5])
def test_workers_nodes_and_the_driver_of_a_cluster(large: Peace, tmp_path: Path, cluster: Any, seed: int) -> None:
    """A node that dies takes a listener and decoded blocks with it; another one joins the run a little later."""
    out = tmp_path / f"cluster-{seed}"
    n = large.blocks
    plans = {
        4: [("decoder", 0, 1.0), ("listener", 1, 2.0), ("node", 3, 2.0), ("driver", n - 4, 1.0)],
        5: [("node", 0, 8.0), ("decoder", 2, 0.5), ("listener", n // 2, 2.0), ("node", n - 2, 0.5)],
    }
    hit = striking(cluster, seed, {"listener": "ray::_ObserverActor", "decoder": "ray::_load"})

    def start() -> Command:
        return large.build(out, "--engine=ray", f"--address={cluster.address}", "--num-workers=2")

    shown(out, survive(start, strikes(seed, plans[seed]), lambda: committed(out), hit))
    large.same(out)


@pytest.mark.slow
def test_nodes_and_the_driver_of_a_cluster_that_shards(large: Peace, tmp_path: Path, cluster: Any) -> None:
    out = tmp_path / "cluster-shards"
    plan = strikes(6, [("node", 1, 0.3), ("driver", 4, 0.2), ("node", 6, 0.3)])
    hit = striking(cluster, 6, {})

    def start() -> Command:
        return large.shard(out, "--engine=ray", f"--address={cluster.address}")

    shown(out, survive(start, plan, lambda: committed(out, "*.arrow"), hit))
    large.same_shards(out)
