"""The losses of both stages, as sums that are divided by what the whole global step has of each.

So the gradient of a step is the same however its micro-batches are cut and dealt to ranks. The contrastive losses
compare speech with the texts of the whole step (:class:`Bank`); no gradient flows into those, so they are sums over
samples, too (InfoNCE, van den Oord et al. 2018, in the direction from speech to text).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from llaso_data.io.prng import shuffled
from llaso_data.stream.batching import key_of
from llaso_model.configuration import IGNORED
from llaso_model.modeling.speech_decoder import SpeechDecoder
from llaso_model.train.collate import ReconstructionTargets, SpanTargets, TrainBatch
from llaso_model.train.config import Objectives

CONTRASTIVE = ("utterance", "word")
_TEMPERATURE = 0.07
_COLDEST = 0.01
_SILENT_FRAMES = 100
_UNREAD = ReconstructionTargets.of([(0, [[0]], [0, 1, 0])])  # a word of one frame

Sums = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Bank:
    """The different texts of a global step, that speech is to find its own among. ``tokens`` are a text's ids."""

    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    number: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Any, more: Mapping[str, tuple[int, ...]] | None = None) -> Bank:
        """Equal texts are one entry, so no text is its own wrong answer; ``more`` are texts that nobody says."""
        own = {text: tuple(tokenizer(" " + text, add_special_tokens=False)["input_ids"]) for text in sorted(set(texts))}
        both = {**own, **{text: ids for text, ids in (more or {}).items() if text not in own}}
        return cls(tuple(both), tuple(both.values()), {text: place for place, text in enumerate(both)})

    def numbers(self, spans: SpanTargets) -> torch.Tensor:
        return torch.tensor([self.number[text] for text in spans.texts], dtype=torch.int64)


class Vocabulary:
    """The words of a language model's vocabulary, of which each step takes some as further wrong answers."""

    def __init__(self, tokenizer: Any) -> None:
        words: dict[str, tuple[int, ...]] = {}
        for number in range(len(tokenizer)):
            text = tokenizer.decode([number])
            if text[:1] == " " and text[1:].isalpha() and len(text) > 2:
                words.setdefault(text[1:].lower(), (number,))
        self._words = sorted(words.items())

    def draw(self, count: int, seed: int, step: int) -> dict[str, tuple[int, ...]]:
        order = shuffled(key_of("negatives", seed, step), len(self._words))[:count]
        return dict(self._words[place] for place in order.tolist())


@dataclass(frozen=True, slots=True)
class Targets:
    """What the examples of a global step are compared with, and how many there are of what, over all ranks."""

    banks: Mapping[str, Bank]
    counts: Mapping[str, float]


class Heads(nn.Module):
    """What the objectives learn beside the model: temperatures, which speech counts for a whole clip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.ParameterDict(
            {name: nn.Parameter(torch.full((1,), -np.log(_TEMPERATURE))) for name in CONTRASTIVE}
        )
        self.attend = nn.Linear(width, 1)
        nn.init.zeros_(self.attend.weight)
        nn.init.zeros_(self.attend.bias)


class Trainee(nn.Module):
    """The model with its objectives: the module whose forward gives the loss.

    ``together``: whatever a micro-batch holds, all parts take part in its loss, as they must where ranks gather the
    parameters of each together.
    """

    def __init__(self, model: Any, weights: Objectives, decoder: SpeechDecoder | None = None) -> None:
        super().__init__()
        self.model, self.together = model, False
        self.heads = Heads(model.config.hidden_size)
        self.decoder = decoder
        self.weights = weights
        self._kept: torch.Tensor | None = None

    def forward(self, example: TrainBatch, targets: Targets) -> tuple[torch.Tensor, Sums]:
        """The example's part of the step's loss, and the sums of what it is made of (detached)."""
        features, lengths = example.inputs.get("input_features"), example.inputs.get("feature_lengths")
        device, total = example.rows.device, torch.zeros(())
        silence = torch.zeros(1, self.model.config.audio_config.num_mel_bins, _SILENT_FRAMES, device=device)
        speech = None
        if features is not None:
            speech = self.model.get_audio_features(features, lengths)
            total = speech.float().sum() * 0  # every rank has a gradient
        elif self.together:
            unheard = self.model.get_audio_features(silence, torch.tensor([_SILENT_FRAMES], device=device))
            total = unheard.float().sum() * 0
        losses: Sums = {}
        told: Sums = {}
        if speech is not None:
            for name, spans in (("word", example.words), ("utterance", example.utterances)):
                if getattr(self.weights, name) and spans.texts:
                    losses[name], told[f"{name}_found"] = self._contrast(name, speech, spans, targets.banks[name])
        if self.together:
            for part in (self.heads, self.model.aligner):
                total = total + sum(value.sum() for value in part.parameters()) * 0
        if self.weights.completion:
            by_row = self._completion(example, speech)
            losses["completion"] = by_row.sum()
            for task in sorted(set(example.tasks)):
                own = torch.tensor([task == one for one in example.tasks], device=by_row.device)
                told[f"completion/{task}"] = (by_row * own).sum()
        if self.decoder is not None:
            if example.readings is not None:
                losses["reconstruction"] = self._reconstruction(example.readings, features)
            elif self.together:
                total = total + self._reconstruction(_UNREAD.to(device), silence) * 0
        for name, loss in losses.items():
            # A whole step may have nothing to learn of a kind: its sum is 0 then, on every rank.
            total = total + getattr(self.weights, name) / max(targets.counts[name], 1) * loss
        sums = {name: value.detach().double() for name, value in (losses | told).items()}
        return total, sums

    def _reconstruction(self, readings: ReconstructionTargets, features: Any) -> torch.Tensor:
        """The clips' log-mel from their texts alone."""
        assert self.decoder is not None
        decoder = self.model.language_model.get_decoder()
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in decoder.parameters())):
            states = decoder(input_ids=readings.ids, use_cache=False).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):
            wanted = features[readings.windows].float()
            found: torch.Tensor = self.decoder.loss(states.float(), readings.slots, readings.frames, wanted)
        return found

    def speech_vectors(self, speech: torch.Tensor, spans: SpanTargets, name: str) -> torch.Tensor:
        """One vector of unit length for each span, (S, width)."""
        share = spans.share.to(speech.device)
        place, span = spans.place.to(speech.device), spans.span.to(speech.device)
        count = len(spans.texts)
        if name == "utterance":
            score = self.heads.attend(speech.float())[place, 0].float()  # a GPU computes it in lower precision
            most = torch.full((count,), -torch.inf, device=score.device).scatter_reduce(0, span, score.detach(), "amax")
            share = share * torch.exp(score - most[span])
            share = share / torch.zeros(count, device=share.device).index_add(0, span, share)[span]
        summed = torch.zeros(count, speech.shape[1], device=speech.device)
        summed = summed.index_add(0, span, speech.float()[place] * share[:, None])
        return nn.functional.normalize(summed - self._middle(), dim=1)

    def text_vectors(self, bank: Bank) -> torch.Tensor:
        """One vector of unit length for each text: the mean of its tokens' embeddings in the language model."""
        table = self.model.get_input_embeddings().weight.detach()
        ids = torch.tensor([one for text in bank.tokens for one in text], device=table.device)
        of = torch.tensor(np.repeat(np.arange(len(bank.tokens)), [len(text) for text in bank.tokens])).to(table.device)
        size = torch.bincount(of, minlength=len(bank.tokens))[:, None]
        summed = torch.zeros(len(bank.tokens), table.shape[1], device=table.device).index_add(0, of, table[ids].float())
        return nn.functional.normalize(summed / size - self._middle(), dim=1)

    def _middle(self) -> torch.Tensor:
        """The mean of all embeddings: what they have in common tells nothing apart."""
        table = self.model.get_input_embeddings().weight
        if self._kept is None or table.requires_grad:
            self._kept = table.detach().float().mean(dim=0)
        return self._kept

    def _contrast(
        self, name: str, speech: torch.Tensor, spans: SpanTargets, bank: Bank
    ) -> tuple[torch.Tensor, torch.Tensor]:
        own = bank.numbers(spans).to(speech.device)
        scale = self.heads.scale[name].exp().clamp(max=1 / _COLDEST)
        with torch.autocast(speech.device.type, enabled=False):
            scores = scale * self.speech_vectors(speech, spans, name) @ self.text_vectors(bank).T
            loss = nn.functional.cross_entropy(scores, own, reduction="sum")
        return loss, (scores.argmax(dim=1) == own).sum()

    def _completion(self, example: TrainBatch, speech: torch.Tensor | None) -> torch.Tensor:
        """Cross-entropy of what is to be said, summed for each sample (B,)."""
        inputs = example.inputs
        if speech is not None and self.weights.state_noise and self.training:
            size = speech.detach().float().square().mean().sqrt()
            speech = speech + self.weights.state_noise * size * torch.randn_like(speech)
        hidden = self.model.hidden_states(
            inputs["input_ids"],
            speech,
            inputs.get("feature_lengths"),
            inputs.get("audio_rows"),
            inputs.get("attention_mask"),
            inputs.get("position_ids"),
            inputs["labels"],
        )
        wanted = inputs["labels"][:, 1:]
        said = wanted != IGNORED  # logits are made where they are wanted only
        logits = self.model.get_output_embeddings()(hidden[:, :-1][said]).float()
        losses = nn.functional.cross_entropy(logits, wanted[said], reduction="none")
        by_row = torch.zeros(len(example.keys), device=losses.device)
        return by_row.index_add(0, example.rows[:, 1:][said], losses)


def counts_of(examples: Sequence[TrainBatch], weights: Objectives) -> dict[str, float]:
    """How many tokens, words, clips there are to divide by, tokens by task, and how many samples were replaced."""
    found: dict[str, float] = {"replaced": sum(len(example.replaced) for example in examples)}
    for example in examples:
        here = {"completion": example.targets, "word": len(example.words.texts)}
        here["utterance"] = len(example.utterances.texts)
        if example.readings is not None:
            here["reconstruction"] = int(example.readings.frames.sum()) * example.inputs["input_features"].shape[1]
        for name, count in here.items():
            if getattr(weights, name):
                found[name] = found.get(name, 0) + count
        if weights.completion:
            labels = example.inputs["labels"][:, 1:]
            by_row = torch.zeros(len(example.keys)).index_add(
                0, example.rows[:, 1:].reshape(-1), (labels != IGNORED).float().reshape(-1)
            )
            for task, count in zip(example.tasks, by_row.tolist(), strict=True):
                found[f"completion/{task}"] = found.get(f"completion/{task}", 0) + count
    return found
