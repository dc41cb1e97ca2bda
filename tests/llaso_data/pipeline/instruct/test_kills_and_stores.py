"""Test sets and stores: killed runs go on to the same bytes, on a disk and on S3, with either engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llaso_data.io import storage
from llaso_data.pipeline.instruct.run import build_instruct
from llaso_data.recipe import Recipe
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.llaso_data.pipeline.instruct.test_build_instruct import corpus, needs_hibari, spoken_recipe
from tests.llaso_data.pipeline.instruct.test_eval_set import corpus as prompts
from tests.llaso_data.pipeline.instruct.test_eval_set import recipe_of
from tests.support.object_stores import BUCKET

pytestmark = pytest.mark.slow

CODE = (
    "import sys\nfrom llaso_data.recipe import Recipe\n"
    "from llaso_data.pipeline.instruct.run import build_instruct\n"
    "build_instruct(Recipe.model_validate_json(open(sys.argv[1]).read()))"
)
HIDDEN = (".convert", ".build-instruct", ".llaso")


def written(out: str) -> dict[str, bytes]:
    """All that is written for readers, by name."""
    rows = storage.listing(out)
    names = [row["path"] for row in rows if not any(part.startswith(HIDDEN) for part in row["path"].split("/"))]
    return {name: storage.read_bytes(storage.join(out, name)) for name in names}


def killed_and_finished(recipe: Recipe, folder: Path, moments: list[Callable[[], bool]]) -> int:
    """Run the command, kill it at each of the moments, and let it end; how often it was killed."""
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    command = [sys.executable, "-c", CODE, str(folder / "recipe.json")]
    killed = 0
    for is_now in moments:
        run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while run.poll() is None and not is_now():
            time.sleep(0.02)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            killed += 1
        run.wait()
    subprocess.run(command, check=True)
    return killed


def has(out: str, inside: str, count: int) -> Callable[[], bool]:
    """Whether a folder of the output has so many files."""
    return lambda: sum(inside in row["path"] for row in listed(out)) >= count


def listed(out: str) -> list[dict[str, str]]:
    try:
        return [*storage.listing(out), *storage.listing(storage.join(out, ".build-instruct"))]
    except FileNotFoundError:  # it is written at this moment
        return []


def test_a_test_set_that_is_killed_goes_on_and_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    source = prompts(tmp_path, 24)
    build_instruct(recipe_of(source, tmp_path / "whole"))
    whole = written(str(tmp_path / "whole"))
    assert validate(str(tmp_path / "whole")).ok and b"snr:" in b"".join(whole.values())
    out = str(tmp_path / "killed")
    moments = [has(out, ".flac", 3), has(out, "blocks/", 1), has(out, "samples/", 2)]
    assert killed_and_finished(recipe_of(source, Path(out)), tmp_path, moments) >= 2
    assert written(out) == whole
    ray = recipe_of(source, tmp_path / "ray").model_copy(
        update={"run": Recipe.model_validate({"run": {"engine": "ray", "num_workers": 2}}).run}
    )
    build_instruct(ray)
    assert written(str(tmp_path / "ray")) == whole


@needs_hibari
@pytest.mark.usefixtures("server")
def test_on_a_store_it_is_the_same_and_a_killed_run_goes_on(tmp_path: Path, clips: list[Clip], tiny_en: Path) -> None:
    table = corpus(tmp_path / "corpus", clips[:8])
    build_instruct(spoken_recipe(table, tiny_en, tmp_path / "disk"))
    here = written(str(tmp_path / "disk"))
    out = f"{BUCKET}/set"
    on_store = spoken_recipe(table, tiny_en, tmp_path / "unused").model_copy(update={"out": out})
    moments = [has(out, "voices/", 6), has(out, "blocks/", 1)]
    assert killed_and_finished(on_store, tmp_path, moments) >= 1
    assert written(out) == here
    assert build_instruct(on_store).blocks_skipped
    assert validate(out).ok
