"""The precision of an output is resolved once, for all machines, and stays what it was begun in."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums
from llaso_data.pipeline import commit, precision
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.observe import observing_digest
from llaso_data.pipeline.ray_access import this_machine_alone
from llaso_data.pipeline.ray_cluster import ask_nodes, cluster
from llaso_data.recipe import Align, Asr, Observe, Run
from llaso_data.whisper.engine import BFLOAT16, VNNI
from tests.conftest import Clip
from tests.support.asr_fixtures import named
from tests.support.corpora import copy, files, recipe


@pytest.fixture(scope="module")
def corpus(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip."""
    (clip,) = named(clips, "en/hello_world")
    return copy(clip, tmp_path_factory.mktemp("precision")).parent


def observe(corpus: Path, model: Path, out: Path, **options: Any) -> BuildSummary:
    return build_align(recipe(model, out, corpus, **options))


def begun(out: Path, asr: str, align: str = "float32") -> Path:
    """An output of a run that was stopped before its first block."""
    precision.write_down(Observe(), {"asr": asr, "align": align}, str(out))
    return out


def stated(out: Path) -> Any:
    return commit.manifest(str(out))["precision"]


@pytest.mark.parametrize(
    ("engine", "device", "instructions", "expected", "align"),
    [
        ("ctranslate2", "cpu", {BFLOAT16, VNNI}, "int8_bfloat16_encoder", "bfloat16"),
        ("ctranslate2", "cpu", {VNNI}, "int8_float32_encoder", "float32"),
        ("ctranslate2", "cpu", set(), "int8", "float32"),
        ("ctranslate2", "cuda", {BFLOAT16, VNNI}, "float16", "float32"),
        ("torch", "cpu", {BFLOAT16, VNNI}, "float32", "bfloat16"),
    ],
)
def test_auto_is_what_all_machines_have(
    engine: Any, device: str, instructions: set[str], expected: str, align: str
) -> None:
    resolved = precision.resolve(Observe(asr=Asr(engine=engine)), device, frozenset(instructions))
    assert resolved == {"asr": expected, "align": align}
    explicit = Observe(asr=Asr(engine=engine, compute_type="float32"))
    assert precision.resolve(explicit, device, frozenset(instructions))["asr"] == "float32"


def test_blocks_are_named_by_the_precision_unless_it_is_what_auto_was_before() -> None:
    auto, explicit = Observe(), Observe(asr=Asr(compute_type="int8"))
    for before in ("int8", "float16"):
        assert precision.named(auto, {"asr": before, "align": "float32"}) == auto
    assert precision.named(auto, {"asr": "bfloat16_encoder"}).asr.compute_type == "bfloat16_encoder"
    assert precision.named(explicit, {"asr": "int8"}) == precision.obeyed(auto, {"asr": "int8"}) == explicit
    names = {observing_digest(Observe(align=Align(compute_type=one)), []) for one in ("auto", "float32")}
    assert names == {observing_digest(auto, [])}
    assert observing_digest(precision.named(auto, {"align": "bfloat16"}), []) not in names


def test_a_run_goes_on_in_what_its_output_was_begun_in(corpus: Path, tiny_en: Path, tmp_path: Path) -> None:
    out = begun(tmp_path / "out", "float32_encoder")
    assert observe(corpus, tiny_en, out).blocks_observed == 1
    assert stated(out) == {"asr": "float32_encoder", "align": "float32"}
    (out / precision.NAME).unlink()  # the manifest says it, too
    assert observe(corpus, tiny_en, out).blocks_observed == 0
    same = observe(corpus, tiny_en, out, observe__asr__compute_type="float32_encoder")
    assert same.blocks_observed == 0
    other = observe(corpus, tiny_en, out, observe__asr__compute_type="int8")
    assert other.blocks_observed == 1 and stated(out)["asr"] == "int8"


def test_an_output_of_a_version_that_wrote_no_precision_goes_on(corpus: Path, tiny_en: Path, tmp_path: Path) -> None:
    out = begun(tmp_path / "out", "int8")
    observe(corpus, tiny_en, out)
    manifest = checksums.read_json(str(out / "manifest.json"))
    del manifest["precision"]
    for stopped in (False, True):
        (out / precision.NAME).unlink()
        if stopped:
            (out / "manifest.json").unlink()
        else:
            checksums.write_json(str(out / "manifest.json"), manifest)
        assert observe(corpus, tiny_en, out).blocks_observed == 0
        assert stated(out)["asr"] == "int8"


def test_a_machine_that_lacks_it_says_so_by_name(corpus: Path, tiny_en: Path, tmp_path: Path) -> None:
    out = begun(tmp_path / "out", "float16")
    with pytest.raises(
        LLaSOError, match=r"^observe\.asr\.compute_type: float16: the processor of \S+ does not have it"
    ):
        observe(corpus, tiny_en, out)
    assert list(files(out)) == [precision.NAME]
    assert observe(corpus, tiny_en, out, observe__asr__compute_type="int8").blocks_observed == 1


def test_a_file_of_somebody_else_is_not_replaced(corpus: Path, tiny_en: Path, tmp_path: Path) -> None:
    (tmp_path / precision.NAME).write_text('{"digits": 12}')
    with pytest.raises(LLaSOError, match=r"precision\.json exists and was not written by"):
        observe(corpus, tiny_en, tmp_path)


def labelled() -> bool:
    """What a node's processor would say: whether the node was started with the resource ``bfloat16``."""
    ray = importlib.import_module("ray")
    own = ray.get_runtime_context().get_node_id()
    return any(row["NodeID"] == own and "bfloat16" in row["Resources"] for row in ray.nodes())


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A head without CPUs, and a node with bfloat16."""
    cluster_utils = importlib.import_module("ray.cluster_utils")
    with this_machine_alone():
        made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.add_node(num_cpus=1, resources={"bfloat16": 1})
        with cluster(Run(engine="ray", address=made.address)):
            yield made
        made.shutdown()


@pytest.mark.slow
def test_every_node_that_can_observe_is_asked(nodes: Any) -> None:
    assert ask_nodes(labelled) == [True]
    nodes.add_node(num_cpus=1)
    assert sorted(ask_nodes(labelled)) == [False, True]
