"""Training on shards with samples that it cannot take: they are left out, counted and named, and the rest is learnt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.stream import Mixture, StreamingLoader
from llaso_model.configuration import LLaSOConfig
from llaso_model.processing import LLaSOProcessor
from llaso_model.train.checkpoint import TrainProgress
from llaso_model.train.collate import Collator, TrainBatch
from llaso_model.train.config import TrainRecipe
from llaso_model.train.log import BAD_FILE, read_metrics
from llaso_model.train.loop import train
from tests.support.bad_samples import ODD, Content, content_of, good, with_odd, write_tar
from tests.support.shard_sets import flac
from tests.support.training_fixtures import made_model


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    return made_model(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def collator(start: Path) -> Collator:
    config = LLaSOConfig.from_pretrained(start)
    config.text_config.max_position_embeddings = 200
    return Collator(LLaSOProcessor.from_pretrained(start), config, reconstruct=True)


def loaded(folder: Path, collator: Collator, **options: Any) -> tuple[list[TrainBatch], StreamingLoader]:
    one = StreamingLoader(Mixture.of(str(folder)), "4s", seed=3, micro_batches=2, **options)
    one.transform = collator
    return [batch.made for batch in one], one


def as_json(change: Callable[[Content], Any]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """The sample with its JSON changed."""
    return lambda parts: {**parts, "json": json.dumps(change(json.loads(parts["json"]))).encode()}


def with_messages(*messages: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return as_json(lambda content: {**content, "messages": list(messages)})


def with_words(*words: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return as_json(lambda content: {**content, "audios": [{**content["audios"][0], "words": list(words)}]})


USER, ASSISTANT = content_of(7)["messages"]
AUDIO = {"type": "audio", "audio": "flac"}

ODD_SAMPLES = {
    "no JSON": (lambda parts: {"flac": parts["flac"]}, "it has no JSON with messages"),
    "no messages": (as_json(lambda content: {"text": "said"}), "it has no JSON with messages"),
    "messages are none": (as_json(lambda content: {**content, "messages": None}), "it has no JSON with messages"),
    "messages are text": (as_json(lambda content: {**content, "messages": "said"}), "it has no JSON with messages"),
    "no audio": (lambda parts: {"json": parts["json"]}, "'flac', which it does not have"),
    "no audio and no record of it": (
        lambda parts: {"json": as_json(lambda content: {**content, "audios": []})(parts)["json"]},
        "message 1 names the audio 'flac', which it does not have",
    ),
    "contents are texts": (with_messages({**USER, "content": "Write."}, ASSISTANT), "no message names its audio flac"),
    "a content is a number": (with_messages({**USER, "content": 7}, ASSISTANT), "content of message 1 is neither"),
    "no content": (with_messages(USER, {"role": "assistant"}), "content of message 2 is neither"),
    "a part is a text": (with_messages({**USER, "content": ["Write."]}, ASSISTANT), "part of message 1 is neither"),
    "a part's text is a number": (
        with_messages({**USER, "content": [{"type": "text", "text": 1}, AUDIO]}, ASSISTANT),
        "part of message 1 is neither",
    ),
    "a part is an address": (
        with_messages({**USER, "content": [{"type": "audio", "url": "http://x"}]}, ASSISTANT),
        "part of message 1 is neither",
    ),
    "a part is a picture": (with_messages({**USER, "content": [{"type": "image"}]}, ASSISTANT), "message 1 is neither"),
    "another part is named": (
        with_messages({**USER, "content": [{"type": "audio", "audio": "wav"}]}, ASSISTANT),
        "message 1 names the audio 'wav', which it does not have",
    ),
    "an unknown role": (with_messages({**USER, "role": "human"}, ASSISTANT), "message 1 is by 'human'"),
    "no role": (with_messages({"content": []}, ASSISTANT), "message 1 is by None"),
    "a message is a text": (with_messages("Write.", ASSISTANT), "message 1 is by 'Write.'"),
    "no answer": (with_messages(USER), "the assistant says nothing"),
    "an empty answer": (with_messages(USER, {**ASSISTANT, "content": ""}), "the assistant says nothing"),
    "a blank answer": (
        with_messages(USER, {**ASSISTANT, "content": [{"type": "text", "text": " \n"}]}),
        "the assistant says nothing",
    ),
    "too long": (
        with_messages(USER, {**ASSISTANT, "content": "one and two and three " * 60}),
        "more than the 200 that the language model takes",
    ),
    "audios are no list": (as_json(lambda content: {**content, "audios": {"part": "flac"}}), "not a list of objects"),
    "audios are texts": (as_json(lambda content: {**content, "audios": ["flac"]}), "not a list of objects"),
    "a record of nothing": (as_json(lambda content: {**content, "audios": [{"text": "said"}]}), "the part None"),
    "a record of another part": (as_json(lambda content: {**content, "audios": [{"part": "wav"}]}), "part 'wav'"),
    "two records": (as_json(lambda content: {**content, "audios": content["audios"] * 2}), "or twice"),
    "times are texts": (with_words({"text": "a", "start_s": "0", "end_s": "1"}), "a word is not a text with times"),
    "times are not finite": (
        with_words({"text": "a", "start_s": float("nan"), "end_s": 1}),
        "a word is not a text with times",
    ),
    "a word without an end": (with_words({"text": "a", "start_s": 0}), "a word is not a text with times"),
    "a word is a text": (with_words("said"), "a word is not a text with times"),
    "a text is a number": (
        as_json(lambda content: {**content, "audios": [{**content["audios"][0], "text": 7}]}),
        "Error",
    ),
}


@pytest.fixture(scope="module")
def reasons(collator: Collator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A set with every odd sample among as many good ones, streamed: what is said of each that is replaced."""
    changes = [change for change, _ in ODD_SAMPLES.values()]

    def parts(number: int) -> dict[str, bytes]:
        short = {**good(number), "flac": flac(0.3 + number / 200, number)}
        return changes[number](short) if number < len(changes) else short

    folder = write_tar(tmp_path_factory.mktemp("odd") / "set", parts, 2 * len(changes))
    examples, one = loaded(folder, collator)
    keys = [key for example in examples for key in example.keys]
    assert len(keys) == 2 * len(changes) and set(keys) == {f"k{len(changes) + n:03d}" for n in range(len(changes))}
    assert all(replaced.bad.shard.endswith("a.tar") for replaced in one.replaced)
    assert len(one.replaced) == len({replaced.bad.key for replaced in one.replaced})
    return {replaced.bad.key: replaced.bad.reason for replaced in one.replaced}


@pytest.mark.parametrize("name", ODD_SAMPLES)
def test_a_sample_that_training_cannot_take_is_replaced_and_named(reasons, name):
    number = list(ODD_SAMPLES).index(name)
    assert ODD_SAMPLES[name][1] in reasons[f"k{number:03d}"]


def test_conversations_without_records_and_contents_that_are_texts_are_trained_on(collator, tmp_path):
    def parts(number: int) -> dict[str, bytes]:
        if number % 2:
            said = [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": f"{number}!"}]
            return {"json": json.dumps({"messages": said}).encode()}
        messages = content_of(number)["messages"]
        asked = [messages[0], {"role": "assistant", "content": f"said {number}"}]
        return {"flac": good(number)["flac"], "json": json.dumps({"messages": asked}).encode()}

    examples, one = loaded(write_tar(tmp_path / "set", parts), collator)
    assert not one.replaced and sum(len(example.keys) for example in examples) == 24
    described, _ = loaded(write_tar(tmp_path / "described", lambda number: {**good(number), **parts(number)}), collator)
    assert sum(example.audio_s for example in examples) == pytest.approx(
        sum(0.4 + number / 40 for number in range(0, 24, 2)), abs=0.01
    )
    assert sum(example.targets for example in examples) > 24 and len(described) > 0


def test_records_belong_to_their_audio_whatever_their_order(collator, tmp_path):
    words = {part: [{"text": part, "start_s": 0.1, "end_s": 0.3}] for part in ("one", "two")}
    records = [{"part": f"{number}.flac", "text": name, "words": words[name]} for number, name in enumerate(words)]
    named = [{"type": "audio", "audio": f"{number}.flac"} for number in range(2)]

    def made(name: str, audios: list[Content]) -> list[TrainBatch]:
        content = {"messages": [{"role": "user", "content": named}, ASSISTANT], "audios": audios}
        sounds = {f"{number}.flac": flac(0.5 + number, number) for number in range(2)}
        folder = write_tar(tmp_path / name, lambda number: {**sounds, "json": json.dumps(content).encode()}, 2)
        return loaded(folder, collator)[0]

    for one, other in zip(made("same", records), made("turned", records[::-1]), strict=True):
        assert one.words.texts == other.words.texts and one.utterances.texts == other.utterances.texts
        assert one.words.embedding_index.tolist() == other.words.embedding_index.tolist()
        assert one.inputs["feature_lengths"].tolist() == other.inputs["feature_lengths"].tolist()


def test_without_completion_a_sample_needs_no_answer(collator, tmp_path):
    folder = with_odd(tmp_path / "set", with_messages(USER))
    examples, one = loaded(folder, Collator(collator.processor, collator.config, answers=False))
    assert not one.replaced and ODD in {key for example in examples for key in example.keys}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 samples, three of which cannot be used."""

    def parts(number: int) -> dict[str, bytes]:
        if number in (3, 4):
            return {"flac": good(number)["flac"]}
        return {**good(number), "flac": b"fLaC"} if number == 5 else good(number)

    return write_tar(tmp_path_factory.mktemp("spoilt") / "set", parts)


def recipe_of(start: Path, folder: Path, **parts: Any) -> TrainRecipe:
    values: dict[str, dict[str, Any]] = {
        "model": {"start": str(start), "train": ("aligner",)},
        "data": {"sources": [{"path": str(folder)}], "budget": "4s", "micro_batches": 2, "num_workers": 0},
        "objectives": {"completion": 1.0, "word": 0.5, "negatives": 32},
        "optimizer": {"lr": 1e-3, "schedule": "constant", "warmup": 0},
        "run": {"num_epochs": 2, "save_steps": 2, "precision": "fp32", "tensorboard": False, "save": "trainable"},
    }
    for name, more in parts.items():
        values[name] = {**values[name], **more}
    return TrainRecipe.model_validate(values)


@pytest.fixture(scope="module")
def whole(start: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    train(recipe_of(start, spoilt), str(out))
    return out


def bad_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / BAD_FILE).read_text().splitlines()]


def losses(out: Path) -> list[tuple[float, float]]:
    return [(one["loss"], one["grad_norm"]) for one in read_metrics(out)]


def test_a_run_goes_past_bad_samples_and_names_each_once(whole):
    found = bad_lines(whole)
    assert sorted(one["key"] for one in found) == ["k003", "k004", "k005"]
    assert all(one["shard"].endswith("a.tar") and one["reason"] and one["by"] for one in found)
    assert read_metrics(whole)[-1]["bad_samples"] == 3


def test_a_resumed_run_passes_them_as_the_undisturbed_one_did(start, spoilt, whole, tmp_path):
    train(recipe_of(start, spoilt, run={"max_steps": 3}), str(tmp_path))
    train(recipe_of(start, spoilt), str(tmp_path))
    assert losses(tmp_path) == losses(whole) and bad_lines(tmp_path) == bad_lines(whole)


def test_more_bad_samples_than_allowed_end_a_run_that_goes_on_when_more_are(start, spoilt, whole, tmp_path):
    for _ in range(2):
        with pytest.raises(LLaSOError, match=r"samples were bad, more than (data.)?max_bad=2.*a.tar"):
            train(recipe_of(start, spoilt, data={"max_bad": 2}), str(tmp_path))
    train(recipe_of(start, spoilt, data={"max_bad": 3}), str(tmp_path))
    assert losses(tmp_path) == losses(whole)


def test_held_out_samples_that_are_bad_are_named_too(start, spoilt, tmp_path):
    data = {"sources": [{"path": str(write_tar(tmp_path / "good", good, 6))}], "validation": str(spoilt)}
    recipe = recipe_of(start, spoilt, data={**data, "validation_samples": 2}, run={"max_steps": 2, "save_steps": 1})
    train(recipe, str(tmp_path / "out"))
    assert sorted(one["key"] for one in bad_lines(tmp_path / "out")) == ["k003", "k004", "k005"]
    counts = [one["bad_samples"] for one in read_metrics(tmp_path / "out") if "bad_samples" in one]
    assert counts == [0, 0]  # they are none of the training's


@pytest.mark.slow
@pytest.mark.parametrize("most", [2, 3])
def test_bad_samples_are_counted_over_all_ranks(start, spoilt, whole, tmp_path, most):
    path = tmp_path / "recipe.json"
    path.write_text(recipe_of(start, spoilt, data={"max_bad": most}).model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "llaso_model.cli", "train", str(path), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = bad_lines(tmp_path / "out")
    assert {one["key"] for one in found} == {"k003", "k004", "k005"}
    if most == 2:
        assert done.returncode != 0 and "3 samples were bad, more than data.max_bad=2" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        for one, two in zip(losses(tmp_path / "out"), losses(whole), strict=True):
            assert one == pytest.approx(two, rel=1e-5)


@pytest.mark.parametrize(
    "said",
    [None, [], {"step": 4, "strem": {}}, {"step": 4}, {"step": "4", "stream": {"step": "4"}}, {"step": 4, "stream": []},
     {"step": 4, "stream": {"step": 3}}, {"step": 4, "stream": {"step": 4}, "bad": [7]}],
)  # fmt: skip
def test_a_progress_that_cannot_be_is_none(said):
    with pytest.raises((TypeError, ValueError)):
        TrainProgress.of(said)
