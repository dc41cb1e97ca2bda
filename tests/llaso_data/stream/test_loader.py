"""The loader: exact whatever the ranks and workers, resumed as if nothing had been, and nothing bad goes unseen."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import multiprocessing
import pickle
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from llaso_data.audio.surroundings import faster, noisy
from llaso_data.errors import LLaSOError
from llaso_data.shards.foreign import index_foreign
from llaso_data.shards.index import open_arrow
from llaso_data.stream import Augment, Batch, Mixture, StreamingLoader
from llaso_data.stream.augment import retimed
from llaso_data.stream.batch import StreamSample, decoded
from llaso_data.stream.fetch import BadSample, Fetcher
from llaso_data.stream.index_columns import SampleLocation
from llaso_data.stream.shared_memory import BatchHandle, Receiver, Sender
from tests.support.shard_sets import durations, flac, write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 samples in 12 shards without sound."""
    out = tmp_path_factory.mktemp("loader") / "set"
    write_set(out, durations(600), 50, tasks=("asr", "st"))
    return out


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 samples in 4 shards with sound."""
    out = tmp_path_factory.mktemp("loader") / "sounds"
    write_set(out, durations(60, most_s=3.0), 15, sound=True)
    return out


def loader(folder: Path, **options: Any) -> StreamingLoader:
    settings = {"budget": "60s", "seed": 5, "micro_batches": 8, "decode": False, "window": 3, **options}
    return StreamingLoader(Mixture.of(str(folder), epochs=settings.pop("epochs", 1)), **settings)


def steps(batches: Iterable[Batch]) -> dict[int, str]:
    """Global step to a hash of what its micro-batches hold, in their order."""
    found: dict[int, dict[int, list[str]]] = {}
    for batch in batches:
        found.setdefault(batch.step, {})[batch.micro_batch] = batch.ids
    return {
        step: hashlib.sha256(json.dumps([held[turn] for turn in sorted(held)]).encode()).hexdigest()
        for step, held in sorted(found.items())
    }


def all_ranks(folder: Path, world_size: int, state: dict[str, Any] | None = None, count: int | None = None, **options):  # type: ignore[no-untyped-def]
    """The batches of every rank for so many steps, and the state of the last of them."""
    batches, states = [], []
    for rank in range(world_size):
        one = loader(folder, rank=rank, world_size=world_size, **options)
        if state is not None:
            one.load_state_dict(state)
        first = one.state_dict()["step"]
        for batch in one:
            batches.append(batch)
            if count is not None and one.state_dict()["step"] == first + count:
                break
        states.append(one.state_dict())
    assert all(one == states[0] for one in states)
    return batches, states[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_steps_are_the_same_micro_batches_for_any_number_of_ranks(folder, workers):
    one = {batch.step: batch.ids for batch in loader(folder, micro_batches=1)}
    assert sorted(itertools.chain(*one.values())) == sorted(set(itertools.chain(*one.values()))) and len(one) % 3
    for world_size in (3, len(one) + 1):  # with more ranks than steps the last one has none
        found = {}
        for rank in range(0, world_size, 1 if world_size == 3 else world_size - 1):
            options = {"rank": rank, "world_size": world_size, "micro_batches": 1, "by_steps": True}
            own = {batch.step: batch.ids for batch in loader(folder, num_workers=workers, **options)}
            assert not own.keys() & found.keys()
            found |= own
        assert found == (one if world_size == 3 else {0: one[0]})


def test_there_is_no_state_of_whole_steps(folder):
    with pytest.raises(LLaSOError, match="no state"):
        loader(folder, rank=0, world_size=2, micro_batches=1, by_steps=True).state_dict()


def test_every_sample_comes_once_with_its_provenance(folder):
    batches = list(loader(folder))
    table = open_arrow(str(folder / "index.arrow"))
    assert sorted(key for batch in batches for key in batch.ids) == sorted(table["key"].to_pylist())
    shard = dict(zip(table["key"].to_pylist(), table["shard"].to_pylist(), strict=True))
    task = dict(zip(table["key"].to_pylist(), table["task"].to_pylist(), strict=True))
    for batch in batches:
        for uri, key, named in batch.provenance:
            assert uri.endswith(f"shard-{shard[key]:06d}.tar") and named == task[key]
        for sample in batch.samples:
            assert json.loads(sample.parts["json"])["key"] == sample.key


@pytest.mark.parametrize(("first", "second", "third"), [((4, 0), (2, 0), (8, 0)), ((1, 2), (1, 1), (1, 3))])
def test_other_numbers_of_ranks_and_workers_give_the_same_steps(folder, first, second, third):
    whole = steps(loader(folder, epochs=2))
    done: dict[int, str] = {}
    state = None
    for (ranks, workers), count in ((first, 3), (second, 4), (third, None)):
        batches, state = all_ranks(folder, ranks, state, count, num_workers=workers, epochs=2)
        done |= steps(batches)
    assert done == whole and len(whole) > 12


def test_a_state_within_a_step_goes_on_there(folder):
    one = loader(folder)
    before = list(itertools.islice(one, 13))
    state = one.state_dict()
    assert (state["step"], state["delivered"]) == (1, 5) and len(json.dumps(state)) < 1024
    again = loader(folder)
    again.load_state_dict(json.loads(json.dumps(state)))
    assert [batch.ids for batch in [*before, *again]] == [batch.ids for batch in loader(folder)]
    with pytest.raises(LLaSOError, match="within step 1 by 1 ranks"):
        loader(folder, rank=0, world_size=2).load_state_dict(state)


def test_a_state_of_another_stream_is_refused(folder):
    state = loader(folder).state_dict()
    with pytest.raises(LLaSOError, match="another stream: budget, seed differ"):
        loader(folder, seed=6, budget="50s").load_state_dict(state)
    with pytest.raises(LLaSOError, match="no state of a stream"):
        loader(folder).load_state_dict({"version": 1, "plan": state["plan"]})
    with pytest.raises(LLaSOError, match="has version None"):
        loader(folder).load_state_dict({})


def test_ranks_come_from_the_launcher_and_must_divide_the_step(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (loader(folder).rank, loader(folder).world_size) == (1, 4)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(LLaSOError, match="8 micro-batches a step cannot be shared by 3 ranks"):
        loader(folder)
    with pytest.raises(LLaSOError, match="rank 2 of 2 ranks"):
        loader(folder, rank=2, world_size=2)


def test_iterating_again_goes_on(folder):
    one = loader(folder)
    first = [batch.ids for batch in itertools.islice(one, 8)]
    rest = [batch.ids for batch in one]
    assert first + rest == [batch.ids for batch in loader(folder)]


def test_batches_are_padded_with_lengths_and_masks(sounds):
    keys = open_arrow(str(sounds / "index.arrow"))["key"].to_pylist()
    length_s = dict(zip(keys, open_arrow(str(sounds / "index.arrow"))["duration_s"].to_pylist(), strict=True))
    seen = []
    for batch in loader(sounds, decode=True, budget="9s", micro_batches=2):
        assert batch.audio is not None and batch.lengths is not None and batch.mask is not None
        assert batch.audio.dtype == torch.float32 and batch.audio.shape == batch.mask.shape
        assert batch.lengths.tolist() == [round(16_000 * length_s[key]) for key in batch.ids]
        assert torch.equal(batch.mask.sum(1), batch.lengths) and not batch.audio[~batch.mask].any()
        assert batch.audio_of is not None and batch.audio_of.tolist() == list(range(len(batch)))
        assert batch.audio.numel() <= 9 * 16_000
        for row, size, sample in zip(batch.audio, batch.lengths.tolist(), batch.samples, strict=True):
            number = sample.content["number"]
            expected, _ = soundfile.read(io.BytesIO(flac(length_s[sample.key], number)), dtype="float32")
            assert np.array_equal(row[:size].numpy(), expected)
        seen += batch.ids
    assert sorted(seen) == sorted(keys)


def test_many_audios_come_in_the_order_that_their_json_says():
    lengths = {f"{number}.flac": 0.1 + number / 50 for number in range(12)}
    parts = {name: flac(lengths[name], 0) for name in sorted(lengths)}  # as a tar has them: 1, 10, 11, 2
    parts["json"] = json.dumps({"audios": [{"part": name} for name in lengths]}).encode()
    found = decoded(StreamSample("key", "shard", "source", None, None, parts))
    assert isinstance(found, StreamSample)
    assert [len(one) for one in found.sounds] == [round(16_000 * length) for length in lengths.values()]


def test_packed_batches_lie_end_to_end(sounds):
    padded = {}
    for batch in loader(sounds, decode=True, budget="9s", micro_batches=2):
        for row, size, key in zip(batch.audio, batch.lengths.tolist(), batch.ids, strict=True):
            padded[key] = row[:size]
    packed = list(loader(sounds, decode=True, budget="9s", micro_batches=2, pack=True))
    for batch in packed:
        assert (
            batch.audio.shape == (int(batch.lengths.sum()),) and len(batch.audio) <= 9 * 16_000 and batch.mask is None
        )
        pieces = torch.split(batch.audio, batch.lengths.tolist())
        assert all(torch.equal(piece, padded[key]) for piece, key in zip(pieces, batch.ids, strict=True))
    assert sum(map(len, packed)) == 60


def test_tars_made_elsewhere_are_streamed_after_indexing(tmp_path):
    names = ["a/b.c.d/deep.er.flac", "x" * 150 + ".flac", "plain.flac", "plain.en.txt", "ütf.flac"]
    with tarfile.open(tmp_path / "one.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number, name in enumerate(names):
            data = f"said {number}".encode() if name.endswith("txt") else flac(0.5, number)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    index_foreign(str(tmp_path))
    batches = list(loader(tmp_path, decode=False, budget="1", micro_batches=1))
    found = {sample.key: sample.parts for batch in batches for sample in batch.samples}
    assert set(found) == {"a/b.c.d/deep", "x" * 150, "plain", "ütf"}
    assert found["plain"] == {"flac": flac(0.5, 2), "en.txt": b"said 3"} and set(found["a/b.c.d/deep"]) == {"er.flac"}
    heard = list(loader(tmp_path, decode=True, budget="1", micro_batches=1))
    assert sorted(int(length) for batch in heard for length in batch.lengths) == [8000] * 4


def test_the_dataset_works_in_a_dataloader_of_ones_own(sounds):
    options = {"decode": True, "budget": "9s", "micro_batches": 2}
    own = DataLoader(loader(sounds, **options).dataset, batch_size=None, num_workers=2)
    assert [batch.ids for batch in own] == [batch.ids for batch in loader(sounds, **options)]


def test_a_plan_travels_to_a_worker_that_is_spawned(folder):
    dataset = loader(folder).dataset
    assert [batch.ids for batch in pickle.loads(pickle.dumps(dataset))] == [batch.ids for batch in dataset]


def test_weights_set_while_streaming_are_those_of_the_mixture_and_of_the_state(folder, tmp_path):
    write_set(tmp_path / "b", durations(200, 3), 20)
    sources = [{"path": str(folder), "weight": 1.0}, {"path": str(tmp_path / "b"), "weight": 1.0}]
    changes = [{"step": 4, "weights": {"b": 0.0}}]

    def stream(**more: Any) -> StreamingLoader:
        mixture = Mixture.model_validate({"sources": sources, "epochs": 3, **more})
        return StreamingLoader(mixture, "60s", seed=5, micro_batches=2, decode=False, window=3)

    def until(one: StreamingLoader, step: int) -> Iterator[Batch]:
        return (batch for batch in itertools.takewhile(lambda batch: batch.step < step, one))

    planned = {step: held for step, held in steps(stream(changes=changes)).items() if step < 20}
    one, batches = stream(), []
    for batch in one:
        batches.append(batch)
        if batch.step == 3 and batch.micro_batch == 1:
            one.set_weights({"b": 0.0})
        if one.state_dict()["step"] == 9:
            break
    state = one.state_dict()
    assert {sample.source for batch in batches[8:] for sample in batch.samples} == {"set"}
    again = stream()
    again.load_state_dict(state)
    batches += [batch for batch in again if batch.step < 20]
    assert steps(batches) == planned
    with pytest.raises(LLaSOError, match="step 3 is past"):
        again.set_weights({"b": 1.0}, step=3)
    with pytest.raises(LLaSOError, match="c: no such source; there are b, set"):
        again.set_weights({"c": 1.0})


def test_augmentation_is_the_same_after_a_resume_and_within_the_budget(sounds):
    augment = Augment(noise_snr_db=(5.0, 20.0), speed=(0.8, 1.2), noise_share=0.5)
    options = {"decode": True, "budget": "9s", "micro_batches": 2, "augment": augment}
    whole = list(loader(sounds, **options))
    one = loader(sounds, **options)
    list(itertools.islice(one, 6))
    again = loader(sounds, num_workers=2, **options)
    again.load_state_dict(one.state_dict())
    for before, after in zip(whole[6:], again, strict=True):
        assert before.audio is not None and after.audio is not None and torch.equal(before.audio, after.audio)
    assert all(batch.audio is not None and batch.audio.numel() <= 9 * 16_000 for batch in whole)
    plain = {sample.key: length for batch in loader(sounds, decode=True, budget="9s", micro_batches=2)
             for sample, length in zip(batch.samples, batch.lengths.tolist(), strict=True)}  # fmt: skip
    ratios = [length / plain[sample.key] for batch in whole
              for sample, length in zip(batch.samples, batch.lengths.tolist(), strict=True)]  # fmt: skip
    assert min(ratios) < 0.9 and max(ratios) > 1.1 and len({round(ratio, 2) for ratio in ratios}) > 10


def test_noise_has_the_level_and_words_the_times_that_are_asked_for():
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal(32_000)).astype(np.float32)
    noise = noisy(sound, 10.0, rng) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(noise**2)) == pytest.approx(10.0, abs=0.1)
    assert not noisy(np.zeros(100, np.float32), 10.0, rng).any()
    assert len(faster(sound, 1.25)) == 25_600
    word = {"text": "a", "start_s": 1.0, "end_s": 1.5}
    content = {"duration_s": 2.0, "audios": [{"duration_s": 2.0, "words": [word]}]}
    audio = {"duration_s": 1.6, "words": [{**word, "start_s": 0.8, "end_s": 1.2}]}
    assert retimed(content, 1.25) == {"duration_s": 1.6, "audios": [audio]}
    with pytest.raises(LLaSOError, match="speed is a range"):
        Augment(speed=(1.2, 0.9))


def damage(folder: Path, out: Path, how: str) -> str:
    """A copy of a set with one fault in its first shard; returns the key that it meets, or '' for all after it."""
    shutil.copytree(folder, out)
    row = open_arrow(str(out / "index.arrow")).slice(4, 1).to_pylist()[0]
    part = next(part for part in row["parts"] if part["ext"] == "flac")
    tar = out / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    if how == "payload bit":
        data[part["offset"] + 3] ^= 4
    elif how == "header bit":
        data[part["offset"] - 512 + 130] ^= 1  # the size in the header: the index has it, too
    elif how == "cut between members":
        data = data[: part["offset"] - 512]
    elif how == "cut within a member":
        data = data[: part["offset"] + 7]
    tar.write_bytes(data)
    return str(row["key"])


@pytest.mark.parametrize("how", ["payload bit", "cut between members", "cut within a member"])
def test_damaged_samples_are_counted_and_replaced_alike_whatever_reads_them(folder, tmp_path, how):
    key = damage(folder, tmp_path / "bad", how)
    one = loader(tmp_path / "bad")
    batches = list(one)
    bad = {replaced.bad.key: replaced for replaced in one.replaced}
    assert key in bad and len(bad) == (1 if how == "payload bit" else 46)
    reason = bad[key].bad.reason
    assert reason == "flac has another CRC-32 than the index" if how == "payload bit" else "is cut short" in reason
    assert not {sample.key for batch in batches for sample in batch.samples} & set(bad)
    assert sum(len(batch) for batch in batches) == 600
    others, _ = all_ranks(tmp_path / "bad", 4, num_workers=0)
    assert steps(others) == steps(batches)


def test_a_damaged_header_harms_nothing_that_is_read(folder, tmp_path):
    damage(folder, tmp_path / "bad", "header bit")
    one = loader(tmp_path / "bad")
    assert [batch.ids for batch in one] == [batch.ids for batch in loader(folder)] and not one.replaced


def test_more_bad_samples_than_allowed_stop_the_run(folder, tmp_path):
    damage(folder, tmp_path / "bad", "cut between members")
    with pytest.raises(
        LLaSOError, match=r"1\d samples were bad, more than max_bad=10; the last: [0-9a-f]{32} in .*tar"
    ):
        list(loader(tmp_path / "bad", max_bad=10))


def test_sound_that_no_decoder_takes_is_replaced_too(folder):
    one = loader(folder, decode=True)
    with pytest.raises(LLaSOError, match=r"cannot be decoded|no sample of a whole window"):
        list(one)


def test_an_index_that_asks_for_more_than_there_is_memory_gives_a_bad_sample(folder):
    shard = str(folder / "shard-000000.tar")
    place = SampleLocation("k", 0, (("flac", 512, 1 << 60, 0),), 512, 512 + (1 << 60))
    beyond = SampleLocation("l", 0, (("flac", 1 << 60, 5, 0),), 1 << 60, (1 << 60) + 5)
    for found in Fetcher().read([(shard, place), (shard, beyond)], ""):
        assert isinstance(found, BadSample) and "is cut short" in found.reason


def test_a_missing_shard_is_an_error_and_no_bad_sample(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bad")
    (tmp_path / "bad" / "shard-000003.tar").unlink()
    with pytest.raises(LLaSOError, match=r"shard-000003.tar is missing"):
        list(loader(tmp_path / "bad"))


def test_a_killed_worker_ends_the_run_which_goes_on_where_it_was(folder):
    before = set(multiprocessing.active_children())
    one = loader(folder, num_workers=2, epochs=500)
    seen = []
    with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly"):
        for number, batch in enumerate(one):
            seen.append(batch.ids)
            if number == 5:
                (worker, *_) = set(multiprocessing.active_children()) - before
                worker.kill()
    again = loader(folder, num_workers=1, epochs=500)
    again.load_state_dict(one.state_dict())
    seen += [batch.ids for batch in itertools.islice(again, 40)]
    assert seen == [batch.ids for batch in itertools.islice(loader(folder, epochs=500), len(seen))]


def test_batches_of_workers_stay_as_they_are_while_they_are_kept(sounds):
    alone = list(loader(sounds, decode=True, budget="6s", epochs=2))
    kept = list(loader(sounds, decode=True, budget="6s", epochs=2, num_workers=2))
    assert len(kept) > 20
    for one, other in zip(alone, kept, strict=True):
        assert torch.equal(one.audio, other.audio) and torch.equal(one.lengths, other.lengths)
        assert torch.equal(one.audio_of, other.audio_of) and one.samples == other.samples
        other.audio.add_(1.0)  # it is the user's own


def test_a_worker_uses_memory_again_when_nobody_looks_at_it(sounds):
    receiver = Receiver(1)
    sender = Sender(0, receiver.returned[0])

    def handed(batch: Batch) -> tuple[BatchHandle, Batch]:
        assert batch.audio is not None
        sound = sender.new(batch.audio.numel())
        sound[:] = batch.audio.numpy().ravel()
        shaped = torch.from_numpy(sound).reshape(batch.audio.shape)
        handle = pickle.loads(ForkingPickler.dumps(sender.handle(dataclasses.replace(batch, audio=shaped))))
        return handle, receiver.open(handle)

    batches = list(itertools.islice(loader(sounds, decode=True, budget="6s"), 8))
    first, kept = handed(batches[0])
    second, view = handed(batches[1])
    view = view.audio[:1, 5:]
    third, again = handed(batches[2])
    assert [first.block, second.block, third.block] == [1, 2, 3] and third.memory is not None
    assert torch.equal(again.audio, batches[2].audio)
    del again
    receiver.give_back()
    fourth, again = handed(batches[3])
    assert (fourth.block, fourth.memory) == (3, None)  # of which nobody kept anything
    assert torch.equal(kept.audio, batches[0].audio) and torch.equal(again.audio, batches[3].audio)
    assert torch.equal(view, batches[1].audio[:1, 5:])
    del kept, view
    receiver.give_back()
    assert {handed(batch)[0].block for batch in batches[4:]} <= {1, 2, 4}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_made_of_batches_is_made_where_they_are_read(sounds, workers):
    one = loader(sounds, decode=True, budget="6s", num_workers=workers)
    one.transform = _loudness
    found = list(one)
    plain = list(loader(sounds, decode=True, budget="6s"))
    assert [batch.made for batch in found] == [_loudness(batch) for batch in plain]
    assert not any(batch.samples for batch in found) and [x.after for x in found] == [x.after for x in plain]


def _loudness(batch: Batch) -> tuple[int, float]:
    assert batch.audio is not None
    return len(batch), float(batch.audio.max())
