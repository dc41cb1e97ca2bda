"""`llaso-data plan`: what it says of an epoch is what the loader then does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.stream import Mixture, StreamingLoader
from tests.support.shard_sets import durations, write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulate") / "set"
    write_set(out, durations(2000), 50, tasks=("asr", "asr", "st"))
    return out


def output_of(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["plan", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_numbers_are_those_of_the_stream(folder):
    options = ["--budget", "60s", "--micro-batches", 4, "--world-size", 2, "--seed", 3, "--window", 5]
    found = json.loads(output_of(folder, *options, "--json"))
    ranks = [
        list(
            StreamingLoader(
                Mixture.of(str(folder)), "60s", seed=3, micro_batches=4, rank=rank, world_size=2, decode=False, window=5
            )
        )
        for rank in range(2)
    ]
    batches = [batch for rank in ranks for batch in rank]
    read = [sum(len(part) for batch in rank for one in batch.samples for part in one.parts.values()) for rank in ranks]
    assert found["samples"] == sum(map(len, batches)) == 2000
    assert found["steps"] * 2 == len(ranks[0]) == len(ranks[1])
    assert found["by_task"] == {"asr": 1334, "st": 666} and found["by_source"] == {"set": 2000}
    # Between the parts of a sample lie the padding of the first and the header of the second.
    assert 2 * found["rank_bytes"] == pytest.approx(sum(read) + 2000 * 992, rel=0.05)
    assert 0 < found["padding"] < 0.1 and found["fill"] > 0.8


def test_a_cache_that_holds_a_window_and_one_that_holds_all(folder, tmp_path):
    options = ["--budget", "30s", "--micro-batches", 2, "--window", 3, "--json"]  # windows end within groups
    size_gb = sum(path.stat().st_size for path in folder.glob("*.tar")) / 1e9
    large, small = (json.loads(output_of(folder, *options, "--cache-gb", share * size_gb)) for share in (1.1, 0.01))
    assert large["node_bytes"] == pytest.approx(size_gb * 1e9)
    assert small["node_bytes"] > large["node_bytes"] and small["cache_hit_rate"] < large["cache_hit_rate"]


def test_it_is_told_in_words_and_drawn(folder, tmp_path):
    text = output_of(folder, "--world-size", 4, "--figure", tmp_path / "plan.png", "--cache-gb", 1)
    for words in ("an epoch has 2,000 samples", "for each of 4 ranks", "padding", "task asr: 1,334", "with the cache"):
        assert words in text
    assert (tmp_path / "plan.png").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_is_refused(folder, tmp_path):
    assert "3 micro-batches a step cannot be shared by 2 ranks" in output_of(
        folder, "--micro-batches", 3, "--world-size", 2, code=2
    )
    (tmp_path / "m.yaml").write_text("sources: []\n")
    assert "m.yaml:1: sources" in output_of(tmp_path / "m.yaml", code=2)
    assert "has no index.arrow" in output_of(tmp_path, code=2)
