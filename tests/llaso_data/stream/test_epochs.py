"""Passes over a loader: each is the next epoch, and a state is checked whole before anything is read."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.shards.index import open_arrow
from llaso_data.stream import Mixture, StreamingLoader
from tests.support.shard_sets import durations, write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 samples in 8 shards without sound: several windows an epoch."""
    out = tmp_path_factory.mktemp("epochs") / "set"
    write_set(out, durations(400, most_s=9.0), 50)
    return out


@pytest.fixture(scope="module")
def keys(folder: Path) -> list[str]:
    return sorted(open_arrow(str(folder / "index.arrow"))["key"].to_pylist())


def loader(folder: Path, epochs: int | None = 1, **options: Any) -> StreamingLoader:
    settings = {"budget": "10s", "seed": 5, "micro_batches": 2, "decode": False, "window": 1, **options}
    return StreamingLoader(Mixture.of(str(folder), epochs=epochs), **settings)


def ids(batches: Any) -> list[list[str]]:
    return [batch.ids for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_pass_is_the_next_epoch_shuffled_anew(folder, keys, workers):
    one = loader(folder, num_workers=workers)
    passes = [ids(one) for _ in range(3)]
    assert all(sorted(itertools.chain(*found)) == keys for found in passes)
    assert [*passes[0], *passes[1], *passes[2]] == ids(loader(folder, epochs=3))
    assert passes[0] != passes[1] != passes[2]


def test_a_pass_is_as_many_epochs_as_the_mixture_says(folder):
    one = loader(folder, epochs=2)
    first, second = ids(one), ids(one)
    assert first + second == ids(loader(folder, epochs=4)) and len(first) > 20


def test_a_pass_that_was_broken_off_goes_on_and_then_the_next_one_begins(folder, keys):
    one, whole = loader(folder), ids(loader(folder, epochs=2))
    passes: list[list[list[str]]] = []
    for _ in range(2):
        passes.append([])
        for batch in one:
            passes[-1].append(batch.ids)
            if len(passes[-1]) == 7:
                break
    rest, following = ids(one), ids(one)
    assert sorted(itertools.chain(*passes[0], *passes[1], *rest)) == keys
    assert [*passes[0], *passes[1], *rest, *following] == whole
    assert one.state_dict()["step"] * 2 == len(whole)


def test_a_state_of_an_epochs_end_goes_on_with_the_next_one(folder):
    one = loader(folder)
    list(one)
    again = loader(folder, num_workers=1)
    again.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert ids(again) == ids(one) and again.state_dict() == one.state_dict()


def test_a_state_within_the_second_pass_goes_on_to_its_end(folder):
    whole = ids(loader(folder, epochs=2))
    one = loader(folder)
    first = ids(one)
    second = ids(itertools.islice(one, 10))
    again = loader(folder)
    again.load_state_dict(one.state_dict())
    assert first + second + ids(again) == whole


def test_a_loaded_state_is_gone_to_at_once_and_its_pass_ends_where_it_does(folder):
    one, whole = loader(folder), ids(loader(folder, epochs=2))
    start = one.state_dict()
    list(one)
    found = []
    for batch in one:  # the second pass
        found.append(batch.ids)
        if len(found) == 3:
            one.load_state_dict(start)
    first = len(ids(loader(folder)))
    assert found == [*whole[first : first + 3], *whole[:first]]


def test_weights_that_change_at_the_end_of_a_pass_do_not_lengthen_it(folder, tmp_path):
    write_set(tmp_path / "b", durations(100, 3), 25)
    sources = [{"path": str(folder), "weight": 1.0}, {"path": str(tmp_path / "b"), "weight": 1.0}]
    one = StreamingLoader(Mixture.model_validate({"sources": sources}), "30s", micro_batches=2, decode=False)
    steps = len(list(one)) // 2
    changed = StreamingLoader(Mixture.model_validate({"sources": sources}), "30s", micro_batches=2, decode=False)
    for number, _ in enumerate(changed, 1):
        if number == 2 * steps:
            changed.set_weights({"b": 0.0})
    assert number == 2 * steps
    assert {sample.source for batch in changed for sample in batch.samples} == {"set"}
    again = StreamingLoader(Mixture.model_validate({"sources": sources}), "30s", micro_batches=2, decode=False)
    again.load_state_dict(changed.state_dict())
    assert len(again.state_dict()["phases"]) == 1


def test_two_iterations_at_once_are_refused(folder):
    one = loader(folder)
    older, younger = iter(one), iter(one)
    first, second = next(older), next(younger)
    with pytest.raises(LLaSOError, match="another iteration of this loader began"):
        next(older)
    assert [first.ids, second.ids, *ids(younger)] == ids(loader(folder))


def test_a_loader_travels_with_its_position(folder):
    one, whole = loader(folder, cache=str(folder.parent / "cache")), ids(loader(folder, epochs=2))
    before = ids(itertools.islice(one, 5))
    assert before + ids(pickle.loads(pickle.dumps(one))) + ids(loader(folder))[:0] == whole[: len(whole) // 2]


@pytest.fixture(scope="module")
def state(folder: Path) -> dict[str, Any]:
    """Within a step of the second window of the second pass."""
    one = loader(folder)
    list(one)
    for _ in one:
        found = one.state_dict()
        if found["offset"] == 5 and found["window"] % one.plan.windows_per_epoch == 1 and found["delivered"] == 1:
            return json.loads(json.dumps(found))
    raise AssertionError("no such state")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"window": -1}, "window is -1"),
        ({"step": -3}, "step is -3"),
        ({"offset": -1}, "offset is -1"),
        ({"offset": 1.5}, "offset is 1.5"),
        ({"step": True}, "step is True"),
        ({"step": "12"}, "step is '12'"),
        ({"window": None}, "window is None"),
        ({"window": 10**30}, "cannot lie"),
        ({"step": 0}, "step 0 cannot lie"),
        ({"step": 10**9}, "step 1000000000 cannot lie"),
        ({"offset": 60}, "offset is 60, and window 4 has 43 steps"),
        ({"delivered": 2}, "delivered is 2"),
        ({"world_size": 2}, "delivered is 1, and a rank has 1"),
        ({"delivered": -1}, "delivered is -1"),
        ({"world_size": 0}, "world_size of 0"),
        ({"world_size": 3}, "world_size of 3"),
        ({"phases": [0]}, "1 changes of weights were made"),
        ({"phases": "0"}, "phases are numbers of windows"),
        ({"phases": [-1]}, "phases are numbers of windows"),
        ({"changes": []}, "no changes of weights"),
        ({"changes": {"a": {}}}, "not at 'a'"),
        ({"changes": {"-1": {}}}, "not at '-1'"),
        ({"changes": {"900": {"nobody": 1.0}}}, "nobody: no such source"),
        ({"changes": {"900": 5}}, "weights are numbers by the names"),
        ({"plan": None}, "it has no plan"),
        ({"plan": {}}, "another stream: version, data, mixture"),
        ({"version": 3}, "has version 3, not 1 or 2"),
        ({"version": True}, "has version True"),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(folder, state, changed, said):
    one = loader(folder)
    before = one.state_dict()
    with pytest.raises(LLaSOError, match=said):
        one.load_state_dict({**state, **changed})
    assert one.state_dict() == before
    one.load_state_dict(state)
    assert one.state_dict() == state


@pytest.mark.parametrize("name", ["plan", "step", "window", "offset", "delivered", "world_size", "phases", "changes"])
def test_a_state_that_lacks_something_is_refused(folder, state, name):
    with pytest.raises(LLaSOError, match="this is no state of a stream"):
        loader(folder).load_state_dict({key: value for key, value in state.items() if key != name})


@pytest.mark.parametrize("what", [None, [], "state", 7])
def test_what_is_no_dictionary_is_no_state(folder, what):
    with pytest.raises(LLaSOError, match="this is no state of a stream"):
        loader(folder).load_state_dict(what)


def test_a_plan_with_another_setting_is_another_stream(folder, state):
    with pytest.raises(LLaSOError, match="another stream: shuffle differ"):
        loader(folder).load_state_dict({**state, "plan": {**state["plan"], "shuffle": 3}})


def test_states_of_the_version_before_are_gone_on_from(folder, state):
    before = {**state, "version": 1, "bad": {"count": 2, "digest": "0" * 16}}
    del before["checksum"]  # which came with the next
    one, other = loader(folder), loader(folder)
    one.load_state_dict(before)
    other.load_state_dict(state)
    assert ids(one) == ids(other) and "bad" not in one.state_dict()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "2", True])
def test_weights_that_cannot_be_are_refused(tmp_path, weight):
    write_set(tmp_path / "a", durations(20), 10)
    mixture = Mixture.model_validate({"sources": [{"path": str(tmp_path / "a"), "weight": 1.0}]})
    with pytest.raises(LLaSOError, match="a: a weight is a number from 0"):
        StreamingLoader(mixture, "30s", decode=False).set_weights({"a": weight})
