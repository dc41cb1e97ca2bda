"""Held-out samples during training: their losses, the word error rate of what the model says, and what speech finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.instruct import asr
from llaso_data.shards import layout
from llaso_data.stream import Mixture, StreamingLoader
from llaso_data.stream.batch import Batch, Replaced, StreamSample, collate
from llaso_data.stream.planner import StreamPosition
from llaso_model.chat_format import Message
from llaso_model.conversations import question_of
from llaso_model.evaluate.metrics.error_rates import word_error_count
from llaso_model.generation import answers
from llaso_model.processing import LLaSOProcessor
from llaso_model.train.collate import Collator, SpanTargets, TrainBatch, conversations_of
from llaso_model.train.config import DataPart
from llaso_model.train.distributed import RankContext
from llaso_model.train.losses import LOSSES, StepTargets, counts_of
from llaso_model.train.losses.contrastive import CandidateTexts, ContrastiveHeads
from llaso_model.train.run import TrainingRun

_MOST_TOKENS_PER_S = 10  # of an answer to speech
_LEAST_TOKENS = 32


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """A micro-batch of held-out samples: what its losses need, and its conversations in their languages."""

    batch: TrainBatch
    conversations: list[list[Message]]
    languages: list[str | None]
    longest_s: float


@dataclass(frozen=True, slots=True)
class _Question:
    """What stands before a conversation's last answer, and that answer."""

    messages: list[Message]
    wanted: str
    language: str | None

    @property
    def has_audio(self) -> bool:
        return any(part["type"] == "audio" for message in self.messages for part in message["content"])


@dataclass(frozen=True, slots=True)
class _Round:
    """What one rank has to do in a round. ``there``: it has a micro-batch left."""

    there: bool
    asks: bool
    asks_audio: bool
    finds: bool  # which text an utterance belongs to

    @classmethod
    def joint(cls, rounds: Sequence[_Round]) -> _Round:
        """What any of the ranks has to do, and so all of them together: they gather the parameters of each block."""
        return cls(*(any(getattr(one, name) for one in rounds) for name in cls.__slots__))


class Validation:
    """The same samples each time, in the same micro-batches whatever the number of ranks, dealt to all of these.

    Sharded ranks gather the parameters of each block together. So they decide together, for each round of
    micro-batches, what is done in it, and one that has nothing to do takes part with a second of silence, which is
    not counted.
    """

    def __init__(self, data: DataPart, processor: LLaSOProcessor, context: RankContext) -> None:
        self._data, self._processor, self._context = data, processor, context
        self.replaced: list[Replaced] = []

    def due(self, done: int, every: int | None, saves: bool) -> bool:
        """Whether the held-out samples are measured after that many steps."""
        if self._data.validation is None:
            return False
        return saves if every is None else done % every == 0

    def __call__(self, run: TrainingRun) -> dict[str, float]:
        """Means over all of them; ``value`` is what the best checkpoint is chosen by, lowest best.

        To be called on all ranks. A sample that cannot be used is replaced as in training; ``replaced`` then has those
        of all ranks.
        """
        run.module.eval()
        # Compiled blocks would be compiled again for each layer's cache of an answer.
        compiled = torch.compiler.set_stance("force_eager") if run.recipe.model.compile else nullcontext()
        try:
            with torch.no_grad(), compiled:
                return self._measured(run)
        finally:
            run.module.train()

    def _measured(self, run: TrainingRun) -> dict[str, float]:
        objectives = run.recipe.objectives
        sums: dict[str, float] = {}
        speech: list[torch.Tensor] = []
        texts: list[str] = []
        loader = self._loader(run)
        silence = self._held_out(run, _silence())
        for held_out, questions in self._assigned(loader):
            own = _Round(
                there=held_out is not None,
                asks=bool(questions),
                asks_audio=any(one.has_audio for one in questions),
                finds=bool(objectives.utterance) and held_out is not None and bool(held_out.batch.utterances.texts),
            )
            joint = _Round.joint(self._context.all_gather(own))
            if not joint.there:
                break
            if objectives.completion:
                losses = self._losses(run, held_out or silence)
                _add(sums, losses if own.there else {})
            if joint.asks and objectives.completion:
                _add(sums, self._word_errors(run, questions, joint.asks_audio, (held_out or silence).longest_s))
            if joint.finds:
                heard = held_out if held_out is not None and own.finds else silence
                vectors = self._speech_vectors(run, heard)
                if own.finds:
                    speech.append(vectors)
                    texts += heard.batch.utterances.texts
        self.replaced = [one for ranks_own in self._context.all_gather(loader.replaced) for one in ranks_own]
        return self._means(run, self._context.all_reduce_sum(sums), speech, texts)

    def _means(
        self, run: TrainingRun, sums: dict[str, float], speech: list[torch.Tensor], texts: list[str]
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        if run.recipe.objectives.completion:
            found["completion"] = sums["sum/completion"] / max(sums["completion"], 1)
            if sums.get("words"):
                found["wer"] = sums["word_errors"] / sums["words"]
        if run.recipe.objectives.utterance and (rank1 := self._rank1(run, speech, texts)) is not None:
            found["rank1"] = rank1
        values = [found[name] for name in ("wer", "completion") if name in found]
        values += [1 - found["rank1"]] if "rank1" in found else []
        return {**found, "value": values[0]} if values else found

    def _loader(self, run: TrainingRun) -> StreamingLoader:
        assert self._data.validation is not None
        loader = StreamingLoader(
            Mixture.of(self._data.validation),
            self._data.budget,
            rank=self._context.rank,
            world_size=self._context.world_size,
            max_bad=self._data.max_bad,
            by_steps=True,
        )
        loader.transform = lambda batch: self._held_out(run, batch)
        return loader

    def _held_out(self, run: TrainingRun, batch: Batch) -> _HeldOut:
        completion = bool(run.recipe.objectives.completion)
        return _HeldOut(
            Collator(self._processor, run.module.model.config, answers=completion)(batch),
            conversations_of(batch),
            [sample.language for sample in batch.samples],
            0.0 if batch.lengths is None or not len(batch.lengths) else float(batch.lengths.max()) / SAMPLE_RATE_HZ,
        )

    def _assigned(self, loader: StreamingLoader) -> Iterator[tuple[_HeldOut | None, list[_Question]]]:
        """This rank's micro-batches, each with what is asked of it; then none, without end.

        The first samples of the plan are asked, whoever reads them.
        """
        before: dict[int, int] = {}  # how many samples come before a step
        count = 0
        for step, _ in loader.plan.steps(StreamPosition(), {}):
            if count >= self._data.validation_samples:
                break
            before[step.number] = count
            count += sum(map(len, step.batches))
        for batch in loader:
            held_out: _HeldOut = batch.made
            asked = self._data.validation_samples - before.get(batch.step, self._data.validation_samples)
            yield held_out, _questions(held_out, asked)
        while True:
            yield None, []

    def _losses(self, run: TrainingRun, held_out: _HeldOut) -> dict[str, float]:
        own = counts_of([held_out.batch], run.recipe.objectives)
        targets = StepTargets({}, {**dict.fromkeys(LOSSES, 1.0), **own})
        with run.compute:
            _, losses = run.module(_without_spans(held_out.batch).to(self._context.device), targets)
        return {**own, **{f"sum/{name}": float(value) for name, value in losses.items()}}

    def _word_errors(
        self, run: TrainingRun, questions: Sequence[_Question], with_audio: bool, longest_s: float
    ) -> dict[str, float]:
        """Word errors of greedy answers to this rank's questions.

        Sharded ranks all speak where one does, and all hear where one does.
        """
        asked = [one.messages for one in questions]
        if self._context.sharded and with_audio and not any(one.has_audio for one in questions):
            asked.append([_user({"type": "audio", "audio": _QUIET})])
        elif self._context.sharded and not asked:
            asked.append([_user({"type": "text", "text": "?"})])
        if not asked:
            return {}
        with run.compute, gathered_parameters(run):
            said = answers(
                run.module.model,
                self._processor,
                asked,
                num_beams=1,
                max_new_tokens=_LEAST_TOKENS + round(_MOST_TOKENS_PER_S * longest_s),
                no_repeat_ngram_size=self._data.validation_no_repeat or None,
                synced_gpus=self._context.sharded,  # ranks gather each block together, as long as one still speaks
            )
        errors = words = 0
        for question, answer in zip(questions, said, strict=False):  # more is said where one was added
            wrong, count = word_error_count(question.wanted, answer, question.language)
            errors, words = errors + wrong, words + count
        return {"word_errors": errors, "words": words}

    def _speech_vectors(self, run: TrainingRun, held_out: _HeldOut) -> torch.Tensor:
        moved = held_out.batch.to(self._context.device)
        with run.compute, gathered_parameters(run):
            model = run.module.model
            embeds = model.get_audio_features(moved.inputs["input_features"], moved.inputs["feature_lengths"])
            found: torch.Tensor = _heads(run).speech_vectors(model, embeds, moved.utterances, "utterance").float().cpu()
        return found

    def _rank1(self, run: TrainingRun, speech: list[torch.Tensor], said: list[str]) -> float | None:
        """How often a clip is nearest to its own text among all that are held out; None where no clip has a text."""
        texts = [text for own in self._context.all_gather(said) for text in own]
        if not texts:
            return None
        candidates = CandidateTexts.of(texts, self._processor.tokenizer)
        own = torch.tensor([candidates.number[text] for text in said], dtype=torch.int64)
        with gathered_parameters(run):
            wanted = _heads(run).text_vectors(run.module.model, candidates).float().cpu()
        right = 0.0
        if speech:
            nearest = (torch.cat(speech) @ wanted.T).argmax(dim=1)
            right = float((nearest == own).sum())
        return self._context.all_reduce_sum({"right": right})["right"] / len(texts)


def _heads(run: TrainingRun) -> ContrastiveHeads:
    heads = run.module.heads
    assert isinstance(heads, ContrastiveHeads)
    return heads


@contextmanager
def gathered_parameters(run: TrainingRun) -> Iterator[None]:
    """What lies in no block is gathered for uses outside of the root module's forward."""
    if run.context.sharded:
        run.module.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        if run.context.sharded:
            run.module.reshard()  # type: ignore[operator]


_QUIET = np.zeros(SAMPLE_RATE_HZ, np.float32)


def _user(part: Message) -> Message:
    return {"role": "user", "content": [part]}


def _silence() -> Batch:
    """A micro-batch of one conversation about a second of silence."""
    sample = StreamSample("", "", "", None, None, {}, content=_ABOUT_SILENCE, sounds=(_QUIET,), audio_parts=("flac",))
    return Batch(step=0, micro_batch=0, **collate((sample,), packed=False))


_ABOUT_SILENCE = {
    "messages": layout.messages_json(asr.conversation("", "."), ["flac"]),
    "audios": [{"part": "flac", "text": "."}],
}


def _without_spans(batch: TrainBatch) -> TrainBatch:
    return replace(batch, words=SpanTargets(), utterances=SpanTargets(), reconstruction=None)


def _questions(held_out: _HeldOut, most: int) -> list[_Question]:
    """Of the first ``most`` conversations those that have an answer."""
    found = []
    for messages, language in list(zip(held_out.conversations, held_out.languages, strict=True))[: max(most, 0)]:
        if (question := question_of(messages)) is not None:
            found.append(_Question(*question, language))
    return found


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
