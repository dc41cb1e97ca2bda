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


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real prompts, of which a test set with noise is made."""
    return prompts(tmp_path_factory.mktemp("prompts"), 24)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The test set as a run writes it that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    build_instruct(recipe_of(source, out, samples=200))
    found = written(str(out))
    assert validate(str(out)).ok and b"snr:" in b"".join(found.values())
    return found


def test_a_test_set_that_is_killed_goes_on_to_the_same_bytes(
    source: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    moments = [has(out, ".flac", 3), has(out, "blocks/", 1)]
    assert killed_and_finished(recipe_of(source, Path(out), samples=200), tmp_path, moments) == 2
    assert written(out) == undisturbed


def test_ray_gives_the_same_test_set(source: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    run = Recipe.model_validate({"run": {"engine": "ray", "num_workers": 2}}).run
    build_instruct(recipe_of(source, tmp_path / "out", samples=200).model_copy(update={"run": run}))
    assert written(str(tmp_path / "out")) == undisturbed


@pytest.mark.usefixtures("server")
def test_on_a_store_it_is_the_same_and_a_killed_run_goes_on(
    source: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = f"{BUCKET}/set"
    on_store = recipe_of(source, tmp_path, samples=200).model_copy(update={"out": out})
    assert killed_and_finished(on_store, tmp_path, [has(out, "clips/", 3)]) == 1
    assert written(out) == undisturbed
    assert build_instruct(on_store).blocks_skipped
    assert validate(out).ok
