"""Validation during training: losses of held-out samples, the word error rate of answers, and retrieval of texts."""

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

_MAX_TOKENS_PER_S = 10  # of an answer, for each second of the longest audio
_MIN_TOKENS = 32  # that an answer may have


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """A micro-batch of held-out samples, collated, with its conversations and their languages."""

    batch: TrainBatch
    conversations: list[list[Message]]
    languages: list[str | None]
    longest_s: float  # the longest audio


@dataclass(frozen=True, slots=True)
class _Question:
    """The messages before a conversation's last answer, and that answer."""

    messages: list[Message]
    reference: str
    language: str | None

    @property
    def has_audio(self) -> bool:
        """Whether a message has audio."""
        return any(part["type"] == "audio" for message in self.messages for part in message["content"])


@dataclass(frozen=True, slots=True)
class _Round:
    """What one rank has to do in a round."""

    has_batch: bool
    generates: bool
    generates_from_audio: bool
    retrieves: bool  # the text of each utterance

    @classmethod
    def joint(cls, rounds: Sequence[_Round]) -> _Round:
        """What any rank has to do, so that all take part: they gather the parameters of each block together."""
        return cls(*(any(getattr(own, name) for own in rounds) for name in cls.__slots__))


class Validation:
    """Measures a model on held-out samples: the same in the same micro-batches, whatever the number of ranks.

    Micro-batches are distributed to the ranks. Sharded ranks gather the parameters of each block together. So they
    agree for each round of micro-batches on what is computed, and a rank without a part in it computes a second of
    silence, which is not counted.
    """

    def __init__(self, data: DataPart, processor: LLaSOProcessor, context: RankContext) -> None:
        self._data, self._processor, self._context = data, processor, context
        self.replaced: list[Replaced] = []

    def due(self, done: int, every: int | None, saves: bool) -> bool:
        """Whether to validate after ``done`` steps: each ``every`` steps, or None: with every checkpoint."""
        if self._data.validation is None:
            return False
        return saves if every is None else done % every == 0

    def __call__(self, run: TrainingRun) -> dict[str, float]:
        """Validates. Called on all ranks.

        A sample that cannot be used is replaced as in training. ``replaced`` then has those of all ranks.

        Returns:
            Means over all held-out samples by name: ``completion``, ``wer``, ``rank1``, as the objectives have them,
            and ``value``, by which the best checkpoint is chosen (lowest).
        """
        run.module.eval()
        # Compiled blocks would be compiled again for each layer's cache of an answer.
        compiled = torch.compiler.set_stance("force_eager") if run.recipe.model.compile else nullcontext()
        try:
            with torch.no_grad(), compiled:
                return self._measure(run)
        finally:
            run.module.train()

    def _measure(self, run: TrainingRun) -> dict[str, float]:
        objectives = run.recipe.objectives
        sums: dict[str, float] = {}
        speech: list[torch.Tensor] = []
        texts: list[str] = []
        loader = self._loader(run)
        silence = self._held_out(run, _silence())
        for held_out, questions in self._assigned(loader):
            own = _Round(
                has_batch=held_out is not None,
                generates=bool(questions),
                generates_from_audio=any(question.has_audio for question in questions),
                retrieves=bool(objectives.utterance) and held_out is not None and bool(held_out.batch.utterances.texts),
            )
            joint = _Round.joint(self._context.all_gather(own))
            if not joint.has_batch:
                break
            if objectives.completion:
                losses = self._losses(run, held_out or silence)
                _add(sums, losses if own.has_batch else {})
            if joint.generates and objectives.completion:
                _add(
                    sums, self._word_errors(run, questions, joint.generates_from_audio, (held_out or silence).longest_s)
                )
            if joint.retrieves:
                utterances = held_out if held_out is not None and own.retrieves else silence
                vectors = self._speech_vectors(run, utterances)
                if own.retrieves:
                    speech.append(vectors)
                    texts += utterances.batch.utterances.texts
        self.replaced = [sample for of_rank in self._context.all_gather(loader.replaced) for sample in of_rank]
        return self._means(run, self._context.all_reduce_sum(sums), speech, texts)

    def _means(
        self, run: TrainingRun, sums: dict[str, float], speech: list[torch.Tensor], texts: list[str]
    ) -> dict[str, float]:
        means: dict[str, float] = {}
        if run.recipe.objectives.completion:
            means["completion"] = sums["sum/completion"] / max(sums["completion"], 1)
            if sums.get("words"):
                means["wer"] = sums["word_errors"] / sums["words"]
        if run.recipe.objectives.utterance and (rank1 := self._rank1(run, speech, texts)) is not None:
            means["rank1"] = rank1
        values = [means[name] for name in ("wer", "completion") if name in means]
        values += [1 - means["rank1"]] if "rank1" in means else []
        return {**means, "value": values[0]} if values else means

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
        """This rank's micro-batches, each with its questions, then None without end.

        Questions are those of the first ``validation_samples`` of the plan, whichever rank has them.
        """
        samples_before: dict[int, int] = {}  # by step
        count = 0
        for step, _ in loader.plan.steps(StreamPosition(), {}):
            if count >= self._data.validation_samples:
                break
            samples_before[step.number] = count
            count += sum(map(len, step.batches))
        for batch in loader:
            held_out: _HeldOut = batch.made
            remaining = self._data.validation_samples - samples_before.get(batch.step, self._data.validation_samples)
            yield held_out, _questions(held_out, remaining)
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

        Sharded ranks all generate where one does, and all encode audio where one does.
        """
        prompts = [question.messages for question in questions]
        if self._context.sharded and with_audio and not any(question.has_audio for question in questions):
            prompts.append([_user({"type": "audio", "audio": _SILENCE})])
        elif self._context.sharded and not prompts:
            prompts.append([_user({"type": "text", "text": "?"})])
        if not prompts:
            return {}
        with run.compute, gathered_parameters(run):
            texts = answers(
                run.module.model,
                self._processor,
                prompts,
                num_beams=1,
                max_new_tokens=_MIN_TOKENS + round(_MAX_TOKENS_PER_S * longest_s),
                no_repeat_ngram_size=self._data.validation_no_repeat or None,
                synced_gpus=self._context.sharded,  # ranks gather each block together, as long as one generates
            )
        errors = words = 0
        for question, answer in zip(questions, texts, strict=False):  # an added prompt has no question
            wrong, count = word_error_count(question.reference, answer, question.language)
            errors, words = errors + wrong, words + count
        return {"word_errors": errors, "words": words}

    def _speech_vectors(self, run: TrainingRun, held_out: _HeldOut) -> torch.Tensor:
        moved = held_out.batch.to(self._context.device)
        with run.compute, gathered_parameters(run):
            model = run.module.model
            embeds = model.get_audio_features(moved.inputs["input_features"], moved.inputs["feature_lengths"])
            vectors: torch.Tensor = _heads(run).speech_vectors(model, embeds, moved.utterances, "utterance")
            vectors = vectors.float().cpu()
        return vectors

    def _rank1(self, run: TrainingRun, speech: list[torch.Tensor], own_texts: list[str]) -> float | None:
        """The share of clips that are nearest to their own among all held-out texts; None where no clip has one."""
        texts = [text for own in self._context.all_gather(own_texts) for text in own]
        if not texts:
            return None
        candidates = CandidateTexts.of(texts, self._processor.tokenizer)
        own = torch.tensor([candidates.number[text] for text in own_texts], dtype=torch.int64)
        with gathered_parameters(run):
            text_vectors = _heads(run).text_vectors(run.module.model, candidates).float().cpu()
        correct = 0.0
        if speech:
            nearest = (torch.cat(speech) @ text_vectors.T).argmax(dim=1)
            correct = float((nearest == own).sum())
        return self._context.all_reduce_sum({"correct": correct})["correct"] / len(texts)


def _heads(run: TrainingRun) -> ContrastiveHeads:
    heads = run.module.heads
    assert isinstance(heads, ContrastiveHeads)
    return heads


@contextmanager
def gathered_parameters(run: TrainingRun) -> Iterator[None]:
    """Gathers the sharded parameters outside of blocks, for uses outside of the root module's forward."""
    if run.context.sharded:
        run.module.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        if run.context.sharded:
            run.module.reshard()  # type: ignore[operator]


_SILENCE = np.zeros(SAMPLE_RATE_HZ, np.float32)


def _user(part: Message) -> Message:
    return {"role": "user", "content": [part]}


def _silence() -> Batch:
    """A micro-batch of one conversation about a second of silence."""
    sample = StreamSample("", "", "", None, None, {}, content=_CONTENT, sounds=(_SILENCE,), audio_parts=("flac",))
    return Batch(step=0, micro_batch=0, **collate((sample,), packed=False))


_CONTENT = {
    "messages": layout.messages_json(asr.conversation("", "."), ["flac"]),
    "audios": [{"part": "flac", "text": "."}],
}


def _without_spans(batch: TrainBatch) -> TrainBatch:
    return replace(batch, words=SpanTargets(), utterances=SpanTargets(), reconstruction=None)


def _questions(held_out: _HeldOut, most: int) -> list[_Question]:
    """The questions of the first ``most`` conversations that have an answer."""
    questions = []
    for messages, language in list(zip(held_out.conversations, held_out.languages, strict=True))[: max(most, 0)]:
        if (question := question_of(messages)) is not None:
            questions.append(_Question(*question, language))
    return questions


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
