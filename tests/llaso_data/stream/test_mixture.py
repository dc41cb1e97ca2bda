"""Mixtures: shares, nesting, temperature, changes, and what is said of a wrong file."""

from __future__ import annotations

from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.stream import Mixture
from llaso_data.stream.budget import Budget
from llaso_data.stream.mixture import SHARE, Node, reweighted, shares
from llaso_data.stream.planner import Planner, StreamPosition
from tests.support.shard_sets import durations, write_set


def test_shares_multiply_down_the_tree():
    group = Node("g", 1.0, 300, (Node("g/a", 2.0, 100), Node("g/b", 1.0, 200)))
    tree = Node("", None, 400, (Node("x", 3.0, 100), group))
    assert [round(share / SHARE, 3) for share in shares(tree, None)] == [0.75, 0.167, 0.083]
    changed = reweighted(tree, {"g/a": 0.0, "g": 3.0})
    assert [round(share / SHARE, 3) for share in shares(changed, None)] == [0.5, 0.0, 0.5]


def test_temperature_flattens_the_sizes():
    tree = Node("", None, 110, (Node("a", None, 100), Node("b", None, 1), Node("empty", None, 0)))
    assert [round(share / SHARE, 4) for share in shares(tree, 1.0)] == [0.9901, 0.0099, 0.0]
    assert [round(share / SHARE, 4) for share in shares(tree, 2.0)] == [0.9091, 0.0909, 0.0]


def test_a_wrong_mixture_is_told_with_file_and_line(tmp_path):
    path = tmp_path / "mixture.yaml"
    path.write_text("sources:\n  - path: a\n    wieght: 2\n")
    with pytest.raises(LLaSOError, match=r"mixture.yaml:3: sources.0.wieght: unknown key; did you mean weight"):
        Mixture.from_yaml(str(path))
    path.write_text(
        "sources:\n  - path: a\n    weight: 1\n  - path: b/a\n  - name: none\n"
        "changes:\n  - step: 5\n    weights: {c: 1, none: 2}\n"
    )
    with pytest.raises(LLaSOError) as error:
        Mixture.from_yaml(str(path))
    lines = str(error.value).splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "sources: some of these have a weight and some have none",
        "sources.1: another source is called a already; give it a name",
        "sources.2: a source has either a path or sources",
        "changes.0.weights.c: no such source; there are a, none",
        "changes.0.weights.none: it has no weight to be changed; give it and its siblings one",
    ]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixture")
    for name, count in (("a", 400), ("b", 100), ("c", 200)):
        write_set(root / name, durations(count), 25)
    return root


def streamed(mixture: Mixture, steps: int, changes: dict[int, dict[str, float]]) -> list[list[str]]:
    """The names of the sources that each step's samples come from."""
    plan = Planner(mixture, Budget.of("60s"), seed=1, micro_batches=2, window=4)
    found = zip(range(steps), plan.steps(StreamPosition(), changes), strict=False)
    return [
        [plan.samplers[int(step.window.source[n])].name for batch in step.batches for n in batch]
        for _, (step, _) in found
    ]


def test_weights_change_exactly_at_their_step(three):
    sources = [{"path": str(three / name), "weight": weight} for name, weight in (("a", 1.0), ("b", 0.5))]
    changes = [{"step": 23, "weights": {"a": 0.0, "b": 1.0}}, {"step": 40, "weights": {"a": 1.0, "b": 0.0}}]
    mixture = Mixture.model_validate({"sources": sources, "epochs": None, "changes": changes})
    found = streamed(mixture, 60, {})
    assert {name for step in found[:23] for name in step} == {"a", "b"}
    assert {name for step in found[23:40] for name in step} == {"b"}
    assert {name for step in found[40:] for name in step} == {"a"}
    plain = Mixture.model_validate({"sources": sources, "epochs": None})
    assert streamed(plain, 23, {}) == found[:23]
    assert streamed(plain, 60, {one["step"]: one["weights"] for one in changes}) == found


def test_groups_and_a_filter_from_a_file(three, tmp_path):
    (tmp_path / "m.yaml").write_text(f"""
sources:
  - name: pair
    weight: 1
    sources:
      - {{path: "{three}/a", weight: 3}}
      - {{path: "{three}/b", weight: 1, filter: {{duration_s: [2, null]}}}}
  - path: {three}/c
    weight: 1
epochs: null
""")
    plan = Planner(Mixture.from_yaml(str(tmp_path / "m.yaml")), Budget.of("60s"), seed=1, micro_batches=2, window=4)
    drawn = [stop - start for start, stop in plan.ranges(StreamPosition(window=0))]
    assert [count / plan.window_samples for count in drawn] == pytest.approx([0.375, 0.125, 0.5], abs=0.01)
    assert [sampler.name for sampler in plan.samplers] == ["pair/a", "pair/b", "c"]
    assert plan.samplers[1].size < 100
