"""The stream under launchers: torchrun and Ray Train say which rank this is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llaso_data.pipeline.ray_cluster import connection
from llaso_data.stream import Mixture, StreamingLoader
from llaso_model.train.launch import own_group
from tests.support.shard_sets import durations, write_set

RANK = """
import json, sys
from pathlib import Path
from llaso_data.stream import Mixture, StreamingLoader

folder, out = sys.argv[1:]
loader = StreamingLoader(Mixture.of(folder), "60s", seed=2, micro_batches=4, decode=False)
found = [[batch.step, batch.micro_batch, batch.ids] for batch in loader]
Path(out, f"{loader.rank}-of-{loader.world_size}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("launch") / "set"
    write_set(out, durations(200), 40)
    return out


def expected(folder: Path) -> list[list[object]]:
    one = StreamingLoader(Mixture.of(str(folder)), "60s", seed=2, micro_batches=4, decode=False)
    return sorted([batch.step, batch.micro_batch, batch.ids] for batch in one)


@pytest.mark.slow
def test_torchrun_ranks_take_all_micro_batches_between_them(folder, tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run([*command, str(folder), str(tmp_path)], check=True, capture_output=True, timeout=300)
    ranks = [json.loads((tmp_path / f"{rank}-of-2.json").read_text()) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == expected(folder)
    assert {turn for _, turn, _ in ranks[1]} == {1, 3}


@pytest.mark.slow
def test_ray_train_workers_take_all_micro_batches_between_them(folder, tmp_path):
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def train(config: dict[str, str]) -> None:
        one = StreamingLoader(Mixture.of(config["folder"]), "60s", seed=2, micro_batches=4, decode=False)
        found = [[batch.step, batch.micro_batch, batch.ids] for batch in one]
        Path(config["out"], f"{one.rank}-of-{one.world_size}.json").write_text(json.dumps(found))

    with connection("local", "", num_cpus=2, log_to_driver=False):
        trainer = TorchTrainer(
            train,
            train_loop_config={"folder": str(folder), "out": str(tmp_path)},
            torch_config=own_group(),
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(storage_path=str(tmp_path / "ray")),
        )
        trainer.fit()
    ranks = [json.loads((tmp_path / f"{rank}-of-2.json").read_text()) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == expected(folder)


@pytest.mark.slow
def test_a_killed_ray_train_worker_is_started_again_and_goes_on_where_its_checkpoint_was(folder, tmp_path):
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def train(config: dict[str, str]) -> None:
        import os
        import signal
        import tempfile

        from ray import train as run

        one = StreamingLoader(Mixture.of(config["folder"]), "60s", seed=2, micro_batches=4, decode=False)
        found: list[list[object]] = []
        if (before := run.get_checkpoint()) is not None:
            with before.as_directory() as saved:
                one.load_state_dict(json.loads(Path(saved, "stream.json").read_text()))
                found = json.loads(Path(saved, f"{one.rank}.json").read_text())
        for batch in one:
            found.append([batch.step, batch.micro_batch, batch.ids])
            state = one.state_dict()
            if state["delivered"] or state["step"] % 2:
                continue
            with tempfile.TemporaryDirectory() as saved:
                Path(saved, "stream.json").write_text(json.dumps(state))
                Path(saved, f"{one.rank}.json").write_text(json.dumps(found))
                run.report({"step": state["step"]}, checkpoint=run.Checkpoint.from_directory(saved))
            if before is None and one.rank == 1 and state["step"] == 4:
                Path(config["out"], "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        Path(config["out"], f"{one.rank}-of-{one.world_size}.json").write_text(json.dumps(found))

    with connection("local", "", num_cpus=2, log_to_driver=False):
        TorchTrainer(
            train,
            train_loop_config={"folder": str(folder), "out": str(tmp_path)},
            torch_config=own_group(),
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(storage_path=str(tmp_path / "ray"), failure_config=FailureConfig(max_failures=1)),
        ).fit()
    assert (tmp_path / "killed").exists()
    ranks = [json.loads((tmp_path / f"{rank}-of-2.json").read_text()) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == expected(folder)
