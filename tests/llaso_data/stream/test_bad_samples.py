"""A sample that turns out bad, wherever that is, is left out and named; what all of them do wrong ends the run soon."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.stream import Augment, Batch, Mixture, StreamingLoader
from llaso_data.stream.batch import StreamSample, decoded
from tests.support.bad_samples import ODD, good, with_odd, write_tar
from tests.support.shard_sets import flac


def loader(folder: Path, **options: Any) -> StreamingLoader:
    return StreamingLoader(Mixture.of(str(folder)), "4s", **{"seed": 3, "micro_batches": 2, **options})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tar(tmp_path_factory.mktemp("bad") / "set", good)


def refuse_odd(batch: Batch) -> list[str]:
    if ODD in batch.ids:
        raise KeyError("messages")
    return batch.ids


def refuse_all(batch: Batch) -> list[str]:
    raise AttributeError("the tokenizer has no such thing")


def refuse_company(batch: Batch) -> list[str]:
    if len(batch) > 1:
        raise ValueError("too many")
    return batch.ids


def need_what_is_not_there(batch: Batch) -> None:
    raise ImportError("no module named nowhere")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_of_which_nothing_can_be_made_is_replaced_and_named(plain, workers):
    one = loader(plain, num_workers=workers)
    one.transform = refuse_odd
    made = [key for batch in one for key in batch.made]
    assert len(made) == 24 and ODD not in made and len(set(made)) == 23
    (replaced,) = one.replaced
    assert (replaced.bad.key, replaced.bad.reason) == (ODD, "KeyError: 'messages'")
    assert replaced.bad.shard.endswith("a.tar") and made.count(replaced.by) == 2


def test_all_numbers_of_ranks_replace_alike_and_their_states_are_the_same(plain):
    def read_by(ranks: int) -> tuple[list[Any], list[Any]]:
        loaders = [loader(plain, rank=rank, world_size=ranks) for rank in range(ranks)]
        for one in loaders:
            one.transform = refuse_odd
        batches = sorted((batch.step, batch.micro_batch, batch.made) for one in loaders for batch in one)
        assert len({json.dumps({**one.state_dict(), "world_size": 0}) for one in loaders}) == 1
        return batches, [replaced for one in loaders for replaced in one.replaced]

    assert read_by(1) == read_by(2)


def test_a_resumed_stream_replaces_alike(plain):
    whole = loader(plain)
    whole.transform = refuse_odd
    batches = [batch.made for batch in whole]
    for stop in range(1, len(batches)):
        first, rest = loader(plain), loader(plain)
        first.transform = rest.transform = refuse_odd
        made = [batch.made for batch in islice(first, stop)]
        rest.load_state_dict(first.state_dict())
        assert made + [batch.made for batch in rest] == batches


def test_what_stands_in_for_a_damaged_sample_can_be_used_too(tmp_path):
    def parts(number: int) -> dict[str, bytes]:
        return {**good(number), "flac": b"no sound"} if number == 8 else good(number)

    folder = write_tar(tmp_path / "set", parts)  # its duration of 0 makes it the cheapest: its stand-ins begin at k000

    def make(batch: Batch) -> list[str]:
        if set(batch.ids) & {"k000", "k001"}:
            raise LLaSOError("not this one")
        return batch.ids

    one = loader(folder)
    one.transform = make
    made = [key for batch in one for key in batch.made]
    found = {replaced.bad.key: (replaced.by, replaced.bad.reason) for replaced in one.replaced}
    assert set(found) == {"k008", "k000", "k001"} and not set(found) & set(made) and len(made) == 24
    assert found["k008"][0] == "k002" and "cannot be decoded" in found["k008"][1]
    assert found["k000"][1] == "not this one"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("max_bad", [0, 5, 100])
def test_what_every_sample_does_wrong_ends_the_run_soon_and_says_why(plain, workers, max_bad):
    one = loader(plain, num_workers=workers, max_bad=max_bad)
    one.transform = refuse_all
    with pytest.raises(LLaSOError, match=r"a.tar cannot be used: AttributeError: the tokenizer has no") as raised:
        list(one)
    assert "Traceback" not in str(raised.value) and f"max_bad={max_bad}" in str(raised.value)


def test_an_error_that_no_single_sample_causes_is_raised_as_it_is(plain):
    one = loader(plain)
    one.transform = refuse_company
    with pytest.raises(ValueError, match="too many"):
        list(one)
    one.transform = need_what_is_not_there
    with pytest.raises(ImportError, match="nowhere"):
        list(one)


def test_a_workers_error_is_told_without_its_traceback(tmp_path):
    folder = write_tar(tmp_path / "set", good)
    one = loader(folder, num_workers=1)
    (folder / "a.tar").unlink()
    with pytest.raises(LLaSOError) as raised:
        list(one)
    assert str(raised.value) == f"{folder}/a.tar is missing; fetch or write the shards again"


def test_a_sample_that_is_bad_in_every_epoch_is_counted_once(plain):
    one = loader(plain, max_bad=1)
    one.transform = refuse_odd
    for _ in range(3):
        assert len(list(one)) > 0
    assert {replaced.bad.key for replaced in one.replaced} == {ODD} and len(one.replaced) == 3


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"json": b"{"}, "JSONDecodeError"),
        ({"json": b"[" * 100_000}, "RecursionError"),
        ({"json": b'{"a": "\xff"}'}, "UnicodeDecodeError"),
        ({"json": b"[1]"}, "of type list"),
        ({"json": b'"text"'}, "of type str"),
        ({"json": b"null"}, "of type NoneType"),
        ({"flac": b""}, "k.flac"),
        ({"flac": b"fLaC" + bytes(100)}, "k.flac"),
    ],
)
def test_parts_that_cannot_be_decoded_are_a_bad_sample(part, said):
    found = decoded(StreamSample("k", "a.tar", "set", None, None, {**good(1), **part}))
    assert (
        not isinstance(found, StreamSample) and found.reason.startswith("cannot be decoded (") and said in found.reason
    )


def test_other_speeds_of_words_that_are_none_are_a_bad_sample(tmp_path):
    folder = with_odd(
        tmp_path / "set", lambda parts: {**parts, "json": json.dumps({"audios": [{"words": 7}]}).encode()}
    )
    one = loader(folder, augment=Augment(speed=(0.8, 0.9)))
    assert sum(map(len, one)) == 24
    assert [replaced.bad.key for replaced in one.replaced] == [ODD]


def test_audios_that_no_record_describes_come_in_the_order_of_the_messages():
    parts = {f"{number}.flac": flac(0.1 + number / 50, 0) for number in (0, 1, 10, 2)}
    named = [{"type": "audio", "audio": f"{number}.flac"} for number in (2, 10, 0)]
    parts["json"] = json.dumps({"messages": [{"role": "user", "content": named}, "odd", {"content": "text"}]}).encode()
    found = decoded(StreamSample("key", "shard", "source", None, None, parts))
    assert isinstance(found, StreamSample)
    assert found.audio_parts == ("2.flac", "10.flac", "0.flac", "1.flac")
    assert [len(one) for one in found.sounds] == [round(16_000 * (0.1 + number / 50)) for number in (2, 10, 0, 1)]
