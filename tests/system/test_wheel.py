"""The wheel: what is in it, and what a user can do who installed nothing but it and its core requirements."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

from llaso_data.demo.wheels import NO_DOWNLOAD
from tests.conftest import Clip
from tests.support.paths import REPOSITORY
from tests.support.training_fixtures import made_model, write_speech

PACKAGES = ("llaso", "llaso_data", "llaso_model")
RECIPES = ("llaso_data/recipes", "pipelines")  # in a checkout the first is a link to the second
LICENCES = ("LICENSE", "NOTICE")


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=REPOSITORY, capture_output=True, check=True).stdout
    return listed.decode().split("\0")[:-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the files that git knows, as they are in the working tree."""
    out = tmp_path_factory.mktemp("wheel")
    tree = out / "tree"
    tree.mkdir()
    names = [name for name in tracked() if (REPOSITORY / name).exists()]
    subprocess.run(["tar", "cf", tree / "t.tar", "--no-recursion", *names], cwd=REPOSITORY, check=True)
    subprocess.run(["tar", "xf", "t.tar"], cwd=tree, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, tree]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_is_the_packages_their_recipes_and_the_licence(wheel: Path) -> None:
    link, recipes = RECIPES
    wanted = {name for name in tracked(*PACKAGES) if name != link and (REPOSITORY / name).exists()}
    wanted |= {name.replace(recipes, link, 1) for name in tracked(recipes) if name.count("/") == 1}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist() if ".dist-info/" in name}
        commands = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    assert names == wanted
    assert {f"licenses/{name}" for name in LICENCES} <= about
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "llaso-data = llaso_data.cli:main" in commands and "llaso-model = llaso_model.cli:main" in commands
    assert wheel.stat().st_size < 1_800_000


def core_requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    required = HeaderParser().parsestr(metadata).get_all("Requires-Dist") or []
    return [one for one in required if "extra ==" not in one]


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel and its core requirements, and a folder to run its programs in."""

    programs: Path
    folder: Path

    def run(self, command: str, code: int = 0) -> str:
        """What a command prints, run in the folder. Nothing of this repository is in its path."""
        program, *words = command.split()
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"PATH": f"{self.programs}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [self.programs / program, *words], cwd=self.folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}"
        assert "Traceback" not in done.stdout, f"{command}\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory, clips: list[Clip], tiny_en: Path) -> Installed:
    """A new environment with the core requirements in the tested versions; recordings, samples and a small model."""
    if os.environ.get(NO_DOWNLOAD):
        pytest.skip("the core requirements are downloaded")
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-c", REPOSITORY / "constraints.txt", *core_requirements(wheel)], check=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True)

    folder = tmp_path_factory.mktemp("work")
    speech = folder / "speech"
    speech.mkdir()
    for name, clip in zip("abc", (clip for clip in clips if clip.language == "en"), strict=False):
        shutil.copy(clip.path, speech / f"{name}.wav")
        (speech / f"{name}.txt").write_text(clip.text)
    write_speech(folder / "train", clips[:6])
    made_model(folder)
    (folder / "whisper").symlink_to(tiny_en)
    return Installed(home / "bin", folder)


@pytest.fixture(scope="module")
def align(core: Installed) -> Path:
    """The records of three recordings, made under Ray."""
    assert "accepted" in core.run(f"{BUILD} --num-workers 1")
    return core.folder / "align"


@pytest.fixture(scope="module")
def shards(core: Installed, align: Path) -> Path:
    """Their shards."""
    core.run("llaso-data shard align --out shards --engine local")
    return core.folder / "shards"


@pytest.fixture(scope="module")
def trained(core: Installed) -> Path:
    """A run of two steps."""
    core.run(f"{TRAIN} --out run")
    return core.folder / "run"


BUILD = "llaso-data build-align speech --out align --asr whisper --language en --device cpu"
TRAIN = (
    "llaso-model train --data train --pretrained-model model --max-steps 2 "
    "--set run.precision=fp32 --set data.micro_batches=2"
)

ASK = """
from llaso import LLaSOModel, LLaSOProcessor
from llaso_data.stream import Mixture, StreamingLoader
assert sum(len(batch.lengths) for batch in StreamingLoader(Mixture.of("shards"), "60s", num_workers=1)) > 0
model, processor = (kind.from_pretrained("run/model") for kind in (LLaSOModel, LLaSOProcessor))
answer = model.generate(**processor(audio="speech/a.wav", text="Transcribe."), max_new_tokens=3)
print(len(processor.decode(answer[0])), "characters")
"""

WITHOUT = {
    "llaso-data words align": "report",
    "llaso-data plan shards --figure plan.svg": "report",
    "llaso-model plot run": "report",
    "llaso-data audit align --no-open": "serve",
    "llaso-model score answers --out scores": "evaluate",
    "llaso-model evaluate run/model --data shards --out eval": "evaluate",
    "llaso-model demo": "demo",
    "llaso-data build-align speech --out again --asr whisper --engine local --dtw dtw-python": "dtw",
    "llaso-data build-align speech --out again --asr whisper --dtw dtw-python --num-workers 1": "dtw",
    "llaso-data build-align s3://bucket/x --out again": "s3",
    "llaso-data shard align --out s3://bucket/x": "s3",
    "llaso-data stats gs://bucket/x": "gcs",
    "llaso-data build-align https://host/x.tar --out again": "http",
    "llaso-model train --data train --pretrained-model model --out tracked --set run.wandb=p": "wandb",
}
"""Command: the extra that it asks for."""


@pytest.mark.slow
def test_core_makes_records_under_ray_and_in_the_process(core: Installed, align: Path) -> None:
    assert "already there" in core.run(f"{BUILD} --engine local")
    for command in ("rejections align", "audit align --status", "card align"):
        core.run(f"llaso-data {command}")


@pytest.mark.slow
def test_core_reads_shards_and_indexes_tars(core: Installed, shards: Path) -> None:
    assert "no problem" in core.run("llaso-data validate shards")
    assert "languages" in core.run("llaso-data stats shards")
    foreign = core.folder / "foreign"
    foreign.mkdir()
    for tar in shards.glob("*.tar"):
        shutil.copy(tar, foreign)
    core.run("llaso-data index foreign")
    core.run("llaso-data plan shards")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["llaso-data", "llaso-model"])
def test_the_recipes_come_with_the_wheel(core: Installed, program: str) -> None:
    assert re.search("default|align", core.run(f"{program} recipes"))


@pytest.mark.slow
def test_core_trains_merges_streams_and_answers(core: Installed, shards: Path, trained: Path) -> None:
    core.run("llaso-model merge run --out merged")
    (core.folder / "ask.py").write_text(ASK)
    assert "characters" in core.run("python ask.py")


@pytest.mark.slow
def test_core_trains_under_ray(core: Installed, trained: Path) -> None:
    """With the losses of a run without Ray."""
    core.run(f"{TRAIN} --out on-ray --launcher ray")
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (trained, core.folder / "on-ray")
    ]
    assert len(losses[0]) == 2 and losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "extra"), WITHOUT.items())
def test_a_command_that_lacks_an_extra_ends_with_the_line_that_installs_it(
    core: Installed, align: Path, shards: Path, trained: Path, command: str, extra: str
) -> None:
    said = core.run(command, code=2)
    assert said.rstrip().endswith(f": pip install 'llaso[{extra}]'"), said
