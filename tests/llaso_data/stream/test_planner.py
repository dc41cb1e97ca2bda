"""The planner: every sample once, budgets held, whole steps, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.io.prng import noise, shuffled
from llaso_data.stream import Mixture
from llaso_data.stream.batching import MicroBatches, packed, padded
from llaso_data.stream.budget import Budget
from llaso_data.stream.planner import Planner, StreamPosition
from tests.support.shard_sets import durations, write_set

BUDGET = 30_000

costs = st.lists(st.integers(0, BUDGET), min_size=8, max_size=300).map(lambda values: np.asarray(values, np.int64))


def members(assignment: MicroBatches) -> list[list[int]]:
    return [assignment.samples(turn).tolist() for turn in assignment.schedule.ravel().tolist()]


@pytest.mark.parametrize("assign", [padded, packed])
@given(costs=costs, key=st.integers(0, 2**64 - 1), groups=st.integers(1, 8))
def test_every_sample_is_assigned_once_and_every_step_is_whole(assign, costs, key, groups):  # type: ignore[no-untyped-def]
    assignment = assign(costs, BUDGET, key, groups)
    batches = members(assignment)
    once = assignment.order[: len(assignment.order) - assignment.repeated].tolist()
    assert sorted(once) == list(range(len(costs)))
    assert sorted(sample for batch in batches for sample in batch) == sorted(assignment.order.tolist())
    assert assignment.schedule.shape[1] == groups and all(batches)
    assert assignment.repeated < groups and (not assignment.repeated or max(map(len, batches)) == 1)


@given(costs=costs, key=st.integers(0, 2**64 - 1), groups=st.integers(1, 8))
def test_a_padded_batch_stays_within_the_budget(costs, key, groups):  # type: ignore[no-untyped-def]
    for batch in members(padded(costs, BUDGET, key, groups)):
        assert len(batch) * costs[batch].max() <= BUDGET


@given(costs=costs, key=st.integers(0, 2**64 - 1), groups=st.integers(1, 8))
def test_a_packed_batch_stays_within_the_budget(costs, key, groups):  # type: ignore[no-untyped-def]
    for batch in members(packed(costs, BUDGET, key, groups)):
        assert costs[batch].sum() <= BUDGET


def test_full_steps_of_single_samples_take_some_twice():
    assignment = padded(np.full(10, 25_000), BUDGET, 0, 4)
    assert assignment.repeated == 2 and all(len(batch) == 1 for batch in members(assignment))
    assert set(assignment.order.tolist()) == set(range(10)) and assignment.schedule.shape == (3, 4)


def test_samples_that_are_fewer_than_the_micro_batches_are_an_error():
    with pytest.raises(ValueError, match="3 samples cannot fill 4 micro-batches"):
        padded(np.asarray([5, 5, 5]), BUDGET, 0, 4)


def test_the_random_numbers_are_the_published_ones():
    # SplitMix64's reference output for the seed 1234567.
    assert noise(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert sorted(shuffled(3, 100).tolist()) == list(range(100))


def test_little_is_padded_and_batches_are_full():
    lengths = np.rint(np.asarray(durations(20_000)) * 1000).astype(np.int64)
    batches = [lengths[batch] for batch in members(padded(lengths, 300_000, 1, 8))]
    area = sum(len(batch) * batch.max() for batch in batches)
    assert 1 - lengths.sum() / area < 0.03
    assert area / (300_000 * len(batches)) > 0.95


def test_budgets_are_written_with_their_unit():
    assert Budget.of("300s").limit == 300_000
    assert Budget.of(64).unit == "samples"
    assert Budget.of("8000t", per_second=12.5).per_second == 12.5
    for text in ("300 m", "s", "0s", "-3s"):
        with pytest.raises(LLaSOError, match="write 300s"):
            Budget.of(text)


def test_tokens_are_frames_and_text():
    columns = {
        "duration_s": np.asarray([1.01, 2.0]),
        "text_bytes": np.asarray([8.0, 9.0]),
        "smol": np.asarray([1.0, 7.0]),
    }
    assert Budget.of("100t", per_second=50).costs(columns.__getitem__, 2).tolist() == [53_000, 103_000]
    assert Budget.of("100t", per_second=50, tokens="smol").costs(columns.__getitem__, 2).tolist() == [52_000, 107_000]


@pytest.fixture(scope="module")
def set_of_2000(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("stream") / "set"
    return out, write_set(out, durations(2000), 50, tasks=("asr", "asr", "asr", "emotion"), languages=("en", "de"))


def plan(mixture: Mixture, **options) -> Planner:  # type: ignore[no-untyped-def]
    return Planner(mixture, **{"budget": Budget.of("60s"), "seed": 3, "micro_batches": 4, "window": 5, **options})


def rows_of(steps) -> list[list[tuple[int, int]]]:  # type: ignore[no-untyped-def]
    """(source, row) of every sample, step by step."""
    return [
        [(int(step.window.source[n]), int(step.window.row[n])) for batch in step.batches for n in batch]
        for step, _ in steps
    ]


def test_an_epoch_has_every_sample_exactly_once_and_the_next_another_order(set_of_2000):
    found = plan(Mixture.of(str(set_of_2000[0]), epochs=2), budget=Budget.of("30s"), micro_batches=2)
    steps = list(found.steps(StreamPosition(), {}))
    epochs: list[list[tuple[int, int]]] = [[], []]
    for (step, _), rows in zip(steps, rows_of(steps), strict=True):
        epochs[step.window.number // found.windows_per_epoch] += rows
    assert found.windows_per_epoch > 3
    for epoch in epochs:
        assert sorted(row for _, row in epoch) == list(range(2000))
    assert epochs[0] != epochs[1]


def test_two_folders_are_mixed_throughout_and_each_sample_comes_once(set_of_2000, tmp_path):
    write_set(tmp_path / "b", durations(600, 5), 40)
    found = plan(Mixture.of(str(set_of_2000[0]), str(tmp_path / "b")))
    samples = [row for step in rows_of(found.steps(StreamPosition(), {})) for row in step]
    assert sorted(samples) == [(0, row) for row in range(2000)] + [(1, row) for row in range(600)]
    second_half = [source for source, _ in samples[1300:]]
    assert 0.15 < np.mean(second_half) < 0.31  # 600 of 2600


def test_any_step_is_found_without_the_ones_before_it(set_of_2000):
    found = plan(Mixture.of(str(set_of_2000[0]), epochs=None))
    steps = [next_ for _, next_ in zip(range(60), found.steps(StreamPosition(), {}), strict=False)]
    again = plan(Mixture.of(str(set_of_2000[0]), epochs=None))
    for at in (1, 17, 45):
        rest = [one for _, one in zip(range(60 - at), again.steps(steps[at - 1][1], {}), strict=False)]
        assert rows_of(rest) == rows_of(steps[at:])
        assert [step.number for step, _ in rest] == list(range(at, 60))


def test_filters_take_what_they_say(set_of_2000):
    source = {"path": str(set_of_2000[0]), "filter": {"task": ("emotion",), "duration_s": (2.0, 6.0)}}
    found = plan(Mixture(sources=(source,)))
    rows = np.asarray([row for step in rows_of(found.steps(StreamPosition(), {})) for _, row in step])
    table = found.samplers[0].columns.index.table.select(["task", "duration_s"]).to_pylist()
    wanted = [i for i, row in enumerate(table) if row["task"] == "emotion" and 2.0 <= row["duration_s"] <= 6.0]
    assert sorted(rows.tolist()) == wanted and len(wanted) > 50


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"duration_s": (1.0,)}, "duration_s is a column of numbers"),
        ({"task": (1.0, 2.0)}, "task is a column of text"),
        ({"colour": ("red",)}, "no column colour; it has shard, key"),
        ({"task": ("none",)}, "its filters take none"),
    ],
)
def test_a_filter_that_cannot_be_is_told(set_of_2000, wanted, said):
    with pytest.raises(LLaSOError, match=said):
        plan(Mixture.model_validate({"sources": [{"path": str(set_of_2000[0]), "filter": wanted}]}))


def test_balance_gives_every_task_the_same_share(set_of_2000):
    found = plan(Mixture.of(str(set_of_2000[0])).model_copy(update={"balance": "task"}))
    assert [source.name for source in found.samplers] == ["set/asr", "set/emotion"]
    counts = np.zeros(2, int)
    for step in rows_of(found.steps(StreamPosition(), {})):
        for source, _ in step:
            counts[source] += 1
    assert abs(counts[0] - counts[1]) <= 2 and counts.sum() == pytest.approx(2000, abs=4)


def test_a_sample_that_no_batch_can_hold_is_named_before_anything_is_read(set_of_2000):
    with pytest.raises(LLaSOError, match=r"the sample [0-9a-f]{32} in .*tar costs .* seconds, more than the budget 3s"):
        plan(Mixture.of(str(set_of_2000[0])), budget=Budget.of("3s"))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=2), st.integers(1, 30))
def test_shares_hold_over_any_stretch(tmp_path_factory, weights, windows):  # type: ignore[no-untyped-def]
    root = tmp_path_factory.getbasetemp() / "shares"
    for name, count in (("a", 60), ("b", 200)):
        if not (root / name).exists():
            write_set(root / name, durations(count), 20)
    sources = [{"path": str(root / name), "weight": weight} for name, weight in zip("ab", weights, strict=True)]
    found = plan(Mixture.model_validate({"sources": sources, "epochs": None}))
    start, stop = (found.ranges(StreamPosition(window=number)) for number in (0, windows))
    drawn = [after[0] - before[0] for before, after in zip(start, stop, strict=True)]
    total = windows * found.window_samples
    for count, weight in zip(drawn, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) < 2
