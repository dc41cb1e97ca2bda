"""The two engines give the same bytes; Ray is joined where it runs already, and loses no error and no worker."""

from __future__ import annotations

import functools
import importlib
import ipaddress
import os
import platform
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.pipeline import engines
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.ray_access import check_reachable
from llaso_data.pipeline.ray_cluster import connection
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.recipe import Recipe, Run
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support import ray_outsiders as outsiders
from tests.support.corpora import english, files, recipe

ray = importlib.import_module("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Any]:
    """Ray as a program would have started it that then calls us; it must run on when we are done."""
    before = outsiders.listening()
    with connection("local", "", num_cpus=2, log_to_driver=False, logging_level="ERROR"):
        yield before
        assert ray.is_initialized()


@dataclass(frozen=True)
class Both:
    corpus: Path
    recipes: dict[str, Recipe]
    summaries: dict[str, BuildSummary]

    def out(self, engine: str) -> Path:
        return Path(self.recipes[engine].out or "")


@pytest.fixture(scope="module")
def both(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("engines")
    corpus = english(folder / "corpus", clips, (0.7,))
    (corpus / "broken.wav").write_text("no audio")
    options: dict[str, Any] = {"run__num_workers": 1, "blocks__max_clips": 2, "shard__samples_per_shard": 2}
    recipes = {
        engine: recipe(tiny_en, folder / engine, corpus, run__engine=engine, **options) for engine in ("local", "ray")
    }
    return Both(corpus, recipes, {engine: build_align(wanted) for engine, wanted in recipes.items()})


def test_observations_verdicts_and_manifest_are_the_same_bytes(both: Both) -> None:
    local, distributed = (files(both.out(engine), "recipe.yaml") for engine in ("local", "ray"))
    assert sorted(local) == sorted(distributed)
    assert {name for name in local if local[name] != distributed[name]} == set()
    assert sum(name.startswith("observations/") for name in local) == both.summaries["local"].blocks >= 2
    one, other = (both.summaries[engine].to_dict() for engine in ("local", "ray"))
    for name in ("out", "wall_s", "model_calls"):
        del one[name], other[name]
    assert one == other and one["counts"]["failed"] == 1


def test_the_model_is_loaded_once_per_actor(both: Both) -> None:
    local, distributed = (both.summaries[engine].model_calls for engine in ("local", "ray"))
    assert local["models_loaded"] == distributed["models_loaded"] == 1
    work = ("windows_encoded", "windows_decoded", "tokens_decoded", "passes_forced")
    assert [local[name] for name in work] == [distributed[name] for name in work]


def test_a_rerun_with_the_other_engine_observes_nothing(both: Both, tiny_en: Path) -> None:
    swapped = both.recipes["local"].model_copy(update={"run": both.recipes["ray"].run})
    again = build_align(swapped)
    assert again.blocks_observed == 0 and not again.judged and not any(again.model_calls.values())


def test_shards_are_the_same_bytes(both: Both, tmp_path: Path) -> None:
    for engine, wanted in both.recipes.items():
        summary = shard_dataset(str(both.out(engine)), str(tmp_path / engine), wanted.shard, wanted.run)
        accepted = both.summaries[engine].counts["accepted"]
        assert summary.samples == accepted and summary.shards == -(-accepted // wanted.shard.samples_per_shard) > 1
    local, distributed = (files(tmp_path / engine) for engine in ("local", "ray"))
    assert sorted(local) == sorted(distributed) and {"manifest.json", "index.arrow"} <= set(local)
    assert {name for name in local if local[name] != distributed[name]} == set()
    assert sum(name.endswith(".tar") for name in local) == summary.shards
    assert validate(str(tmp_path / "ray")).ok


@pytest.mark.slow
def test_an_error_of_ours_comes_out_of_a_worker_as_it_was(both: Both, tiny_en: Path, tmp_path: Path) -> None:
    stages = [{"stage": "tests.support.stages:Unmade"}]
    wanted = recipe(tiny_en, tmp_path / "out", both.corpus, run__engine="ray", blocks__clips=99, observe__stages=stages)
    with pytest.raises(LLaSOError) as caught:
        build_align(wanted)
    said = "stage tests.support.stages:Unmade failed: RuntimeError: its weights are not there"
    assert str(caught.value).startswith(said)
    assert "Traceback" in str(caught.value.__cause__)  # --debug shows it


@pytest.mark.slow
def test_a_worker_that_lacks_the_precision_is_named(both: Both, tiny_en: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"run__engine": "ray", "observe__asr__compute_type": "float16"}
    with pytest.raises(LLaSOError, match=rf"float16: the processor of {re.escape(platform.node())} does not have it"):
        build_align(recipe(tiny_en, tmp_path / "out", both.corpus, **options))


@pytest.mark.slow
def test_a_block_that_kills_its_workers_is_set_aside_and_named(both: Both, tiny_en: Path, tmp_path: Path) -> None:
    """A stage that crashes on one recording, in any worker: three deaths, then one error; all else is committed."""
    (graves := tmp_path / "graves").mkdir()
    stages = [{"stage": "tests.support.stages:Die", "options": {"name": "world-0.7.wav", "graves": str(graves)}}]
    options: dict[str, Any] = {"run__num_workers": 2, "blocks__max_clips": 2, "observe__stages": stages}
    wanted = recipe(tiny_en, tmp_path / "out", both.corpus, run__engine="ray", **options)
    with pytest.raises(LLaSOError, match=r"^1 block ") as caught:
        build_align(wanted)
    assert str(both.corpus / "hello_world-0.7.wav") in str(caught.value) and "3 workers died" in str(caught.value)
    assert len(list(graves.iterdir())) == 3
    committed = files(tmp_path / "out" / "observations")
    assert len(committed) == both.summaries["ray"].blocks - 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGSEGV", "SIGKILL", "exit"])
def test_a_worker_that_dies_is_replaced_and_the_bytes_are_the_same(
    both: Both, tiny_en: Path, tmp_path: Path, how: str
) -> None:
    (graves := tmp_path / "graves").mkdir()
    options = {"name": "-0.7.wav", "graves": str(graves), "times": 2, "how": how}
    stages = [{"stage": "tests.support.stages:Die", "options": options}]
    outs = [tmp_path / "ray", tmp_path / "local"]
    for out in outs:  # when the local engine comes, the two deaths have been died
        build_align(recipe(tiny_en, out, both.corpus, run__engine=out.name, observe__stages=stages))
        assert len(list(graves.iterdir())) == 2
    assert files(outs[0], "recipe.yaml") == files(outs[1], "recipe.yaml")


def halved(task: int) -> int:
    if task % 2:
        raise LLaSOError(f"{task} is odd")
    return task // 2


def broken(task: int) -> int:
    raise ZeroDivisionError(f"no {task}")


def deadly(task: int) -> int:
    if task == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_task_that_kills_its_workers_is_named_after_all_others_are_done() -> None:
    done = []
    with pytest.raises(LLaSOError, match=r"(?s)^1 task .*\n  7: 3 workers died") as caught:
        for result in engines.map_unordered(deadly, range(20), Run(engine="ray")):
            done.append(result)
    assert sorted(done) == [number for number in range(20) if number != 7]
    assert "the same command goes on from there" in str(caught.value)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_tasks_are_all_done_and_errors_named(engine: str) -> None:
    run = Run.model_validate({"engine": engine})
    assert sorted(engines.map_unordered(halved, range(0, 40, 2), run)) == list(range(20))
    assert list(engines.map_unordered(halved, [], run)) == []
    with pytest.raises(LLaSOError, match=r"^7 is odd$"):
        list(engines.map_unordered(halved, [2, 4, 7], run))
    with pytest.raises(ZeroDivisionError):
        list(engines.map_unordered(broken, [1], run))


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(5000):
            taken.append(number)
            yield 2 * number

    running = engines.map_unordered(functools.partial(halved), tasks(), Run(engine="ray"))
    next(running)
    assert len(taken) < 2000
    running.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def token() -> str:
    """Of our cluster, as its workers have it."""
    return str(ray.get(ray.remote(lambda: os.environ["RAY_AUTH_TOKEN"]).remote()))


def test_no_port_of_our_cluster_is_seen_from_elsewhere_and_each_asks_for_the_token(cluster: Any, token: str) -> None:
    found = [one for one in outsiders.listening() if one not in cluster]
    asked = 0
    for address, port in found:
        ip = ipaddress.ip_address(address)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, (address, port)
        said = {outsiders.answer(port, method) for method in outsiders.SERVICES}
        assert "OK" not in said, (port, said)
        status = None if "UNAUTHENTICATED" in said else outsiders.http_status(port)
        if status is None and "UNAUTHENTICATED" not in said:
            continue  # an idle worker has ended since it was listed
        assert status in (None, 401), (port, said, status)
        asked += 1
    assert asked >= 5  # the driver, the GCS, the raylet's two, a worker, the agent of runtime environments
    (gcs,) = (port for _, port in found if outsiders.answer(port, outsiders.SERVICES[0]) == "UNAUTHENTICATED")
    assert outsiders.answer(gcs, outsiders.SERVICES[0], ("authorization", f"Bearer {token}")) == "OK"


def test_the_token_is_in_no_command_line_no_file_and_not_with_us(token: str) -> None:
    assert len(token) == 64
    assert not any(token in " ".join(process.cmdline()) for process in outsiders.family())
    assert not [name for name in os.environ if name.startswith("RAY_AUTH")]
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    files = [path for path in session.rglob("*") if path.is_file()]
    assert len(files) > 5 and not [path for path in files if token.encode() in path.read_bytes()]
    assert session.parents[1].stat().st_mode & 0o777 == 0o700  # Ray opens all below it to everybody


def test_a_cluster_is_joined_with_its_token_only(token: str, tmp_path: Path) -> None:
    ours = ray.get_runtime_context().gcs_address
    (tmp_path / "token").write_text(f"{token}\n")
    tries = [
        (ours, {}),
        (ours, outsiders.auth(mode="disabled", token=token)),
        (ours, outsiders.auth(token_path=str(tmp_path / "none"))),
        (ours, outsiders.auth(mode="token", token="0" * 64)),
        (ours, outsiders.auth(token_path=str(tmp_path / "token"))),
    ]
    found, told = outsiders.joined(tries, tmp_path)
    missing = f"the cluster at {ours} asks for a token: set RAY_AUTH_MODE=token, and the token that it was started with"
    assert [said.startswith(missing) for said in found[:2]] == [True, True]
    assert found[2] == f"RAY_AUTH_TOKEN_PATH: {tmp_path / 'none'}: there is no such file, or no token in it"
    assert found[3].startswith(f"the cluster at {ours} refuses the token that it is sent: ")
    assert found[4] == 42 and told == ""


def test_a_cluster_that_is_not_there_is_said_at_once() -> None:
    """With Ray already here nothing is joined, so this asks the check itself."""
    with pytest.raises(OSError, match="refused"):
        check_reachable("127.0.0.1:9")
    check_reachable("auto")


def test_a_worker_with_cuda_wants_a_gpu_that_is_not_there_yet() -> None:
    """An autoscaler only brings what somebody waits for; this machine never will have one."""
    from llaso_data.pipeline.ray_cluster import cpus_per_actor, gpus_per_actor

    joined = Run(device="cuda", address="10.0.0.1:6379", threads=4)
    assert gpus_per_actor(joined) == 1.0 and cpus_per_actor(joined, 1.0) == 4
    assert gpus_per_actor(Run(device="cpu")) == 0.0 and gpus_per_actor(Run(device="cuda", num_gpus=0.25)) == 0.25
    if not ray.cluster_resources().get("GPU"):
        with pytest.raises(LLaSOError, match="a worker wants 1 GPUs, this machine has 0"):
            cpus_per_actor(Run(device="cuda"), gpus_per_actor(Run(device="cuda")))


@pytest.mark.slow
def test_nine_languages_that_nobody_gave_are_the_same_bytes(
    whisper_base: Path, clips: list[Clip], tmp_path: Path
) -> None:
    """Windows that are packed, identified and packed again, in both engines; two actors of Ray's."""
    outs = [tmp_path / "local", tmp_path / "ray"]
    for out in outs:
        source = {"path": str(clips[0].path.parents[1]), "corpus": "test"}
        wanted = recipe(whisper_base, out, source, run__engine=out.name, run__num_workers=2, blocks__clips=9)
        summary = build_align(wanted)
        assert summary.counts["inputs"] == len(clips) and summary.model_calls["models_loaded"] <= 2
    assert files(outs[0], "recipe.yaml") == files(outs[1], "recipe.yaml")
