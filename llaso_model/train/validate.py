"""Held-out samples during training: their losses, the word error rate of what the model says, and what speech finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from rapidfuzz.distance import Levenshtein

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.stream import Mixture, StreamingLoader
from llaso_data.stream.batch import Replaced
from llaso_model.conversations import answers, question_of
from llaso_model.evaluate.metrics.errors import whisper as normalised
from llaso_model.processing import LLaSOProcessor, Message
from llaso_model.train.config import DataPart
from llaso_model.train.distributed import Place
from llaso_model.train.examples import Example, Maker, Spans, conversations_of
from llaso_model.train.objectives import Bank, Targets, counts_of

if TYPE_CHECKING:
    from llaso_model.train.loop import Run

_MOST_TOKENS_PER_S = 10  # of an answer to speech
_LEAST_TOKENS = 32


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """What is asked of a micro-batch: its losses, and its conversations in their languages."""

    example: Example
    conversations: list[list[Message]]
    languages: list[str | None]
    longest_s: float


class Validation:
    """The same samples each time, dealt to all ranks."""

    def __init__(self, data: DataPart, processor: LLaSOProcessor, place: Place) -> None:
        self._data, self._processor, self._place = data, processor, place
        self.replaced: list[Replaced] = []

    def due(self, done: int, every: int | None, saves: bool) -> bool:
        if self._data.validation is None:
            return False
        return saves if every is None else done % every == 0

    def __call__(self, run: Run) -> dict[str, float]:
        """Means over all of them; ``value`` is what the best checkpoint is chosen by, lowest best.

        A sample that cannot be used is replaced as in training; ``replaced`` then has those of all ranks.
        """
        run.trainee.eval()
        # Compiled blocks would be compiled again for each layer's cache of an answer.
        compiled = torch.compiler.set_stance("force_eager") if run.recipe.model.compile else nullcontext()
        try:
            with torch.no_grad(), compiled:
                return self._measured(run)
        finally:
            run.trainee.train()

    def _measured(self, run: Run) -> dict[str, float]:
        objectives = run.recipe.objectives
        sums: dict[str, float] = {}
        speech: list[torch.Tensor] = []
        said: list[str] = []
        transcribed = 0
        loader = self._loader(run)
        for batch in loader:
            held_out: _HeldOut = batch.made
            example = held_out.example
            own = counts_of([example], objectives)
            if objectives.completion:
                _add(sums, own)
                bank = {name: Bank.of([], self._processor.tokenizer) for name in ("word", "utterance")}
                targets = Targets(bank, {**_ONES, **own})
                with run.compute:
                    _, losses = run.trainee(_without_spans(example).to(self._place.device), targets)
                _add(sums, {f"sum/{name}": float(value) for name, value in losses.items()})
                if transcribed < self._data.validation_samples:
                    _add(sums, self._transcribed(run, held_out))
                    transcribed += len(held_out.languages) * self._place.world_size
            if objectives.utterance and example.utterances.texts:
                moved = example.to(self._place.device)
                with run.compute, whole(run):
                    embeds = run.trainee.model.get_audio_features(
                        moved.inputs["input_features"], moved.inputs["feature_lengths"]
                    )
                    speech.append(run.trainee.speech_vectors(embeds, moved.utterances, "utterance").float().cpu())
                said += example.utterances.texts
        self.replaced = [one for own in self._place.gathered(loader.replaced) for one in own]
        sums = self._place.total(sums)
        found: dict[str, float] = {}
        if objectives.completion:
            found["completion"] = sums["sum/completion"] / max(sums["completion"], 1)
            if sums.get("words"):
                found["wer"] = sums["word_errors"] / sums["words"]
        if objectives.utterance and said:
            found["rank1"] = self._rank1(run, speech, said)
        values = [found[name] for name in ("wer", "completion") if name in found]
        values += [1 - found["rank1"]] if "rank1" in found else []
        return {**found, "value": values[0]} if values else found

    def _loader(self, run: Run) -> StreamingLoader:
        assert self._data.validation is not None
        loader = StreamingLoader(
            Mixture.of(self._data.validation),
            self._data.budget,
            micro_batches=self._place.world_size,
            rank=self._place.rank,
            world_size=self._place.world_size,
            max_bad=self._data.max_bad,
        )
        completion = bool(run.recipe.objectives.completion)
        make = Maker(self._processor, run.trainee.model.config, answers=completion)
        loader.transform = lambda batch: _HeldOut(
            make(batch),
            conversations_of(batch),
            [sample.language for sample in batch.samples],
            0.0 if batch.lengths is None or not len(batch.lengths) else float(batch.lengths.max()) / SAMPLE_RATE_HZ,
        )
        return loader

    def _transcribed(self, run: Run, held_out: _HeldOut) -> dict[str, float]:
        """Word errors of greedy answers to the conversations before their last answer."""
        asked = [
            (*question, language)
            for language, messages in zip(held_out.languages, held_out.conversations, strict=True)
            if (question := question_of(messages)) is not None
        ]
        if not asked:
            return {}
        questions, wanted, languages = zip(*asked, strict=True)
        with run.compute, whole(run):
            said = answers(
                run.trainee.model,
                self._processor,
                questions,
                self._place.device,
                num_beams=1,
                max_new_tokens=_LEAST_TOKENS + round(_MOST_TOKENS_PER_S * held_out.longest_s),
                no_repeat_ngram_size=self._data.validation_no_repeat or None,
                synced_gpus=self._place.sharded,  # ranks gather each block together, as long as one still speaks
            )
        errors = words = 0
        for reference, answer, language in zip(wanted, said, languages, strict=True):
            right = normalised(reference, language).split()
            errors += Levenshtein.distance(right, normalised(answer, language).split())
            words += len(right)
        return {"word_errors": errors, "words": words}

    def _rank1(self, run: Run, speech: list[torch.Tensor], said: list[str]) -> float:
        """How often a clip is nearest to its own text among all that are held out."""
        texts = [text for own in self._place.gathered(said) for text in own]
        bank = Bank.of(texts, self._processor.tokenizer)
        own = torch.tensor([bank.number[text] for text in said])
        with whole(run):
            wanted = run.trainee.text_vectors(bank).float().cpu()
        nearest = (torch.cat(speech) @ wanted.T).argmax(dim=1)
        right = self._place.total({"right": float((nearest == own).sum()), "all": float(len(said))})
        return right["right"] / right["all"]


@contextmanager
def whole(run: Run) -> Iterator[None]:
    """What lies in no block is gathered for uses outside of the root module's forward."""
    if run.place.sharded:
        run.trainee.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        if run.place.sharded:
            run.trainee.reshard()  # type: ignore[operator]


_ONES = {"completion": 1.0, "word": 1.0, "utterance": 1.0, "reconstruction": 1.0}


def _without_spans(example: Example) -> Example:
    return replace(example, words=Spans(), utterances=Spans(), readings=None)


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
