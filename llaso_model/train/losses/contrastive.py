"""Contrastive losses: speech is matched with its text among those of the whole step, for clips and for words.

They are InfoNCE (van den Oord et al. 2018) in the direction from speech to text. No gradient flows into the texts, so
the losses are sums over samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from llaso_data.io.prng import shuffled
from llaso_data.stream.batching import key_of
from llaso_model.train.losses import LOSSES, Loss, LossSums, StepContext

if TYPE_CHECKING:
    from llaso_model.train.collate import SpanTargets, TrainBatch
    from llaso_model.train.config import TrainRecipe
    from llaso_model.train.module import TrainingModule

CONTRASTIVE = ("utterance", "word")
_TEMPERATURE = 0.07
_MIN_TEMPERATURE = 0.01


@dataclass(frozen=True, slots=True)
class CandidateTexts:
    """The different texts of a global step, among which speech is matched with its own.

    Attributes:
        texts: The texts (N,).
        tokens: Token ids of each.
        number: The index of each text.
    """

    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    number: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, texts: Sequence[str], tokenizer: Any, negatives: Mapping[str, tuple[int, ...]] | None = None
    ) -> CandidateTexts:
        """From texts, of which equal ones become one entry, and ``negatives``, further texts with their tokens."""
        own = {text: tuple(tokenizer(" " + text, add_special_tokens=False)["input_ids"]) for text in sorted(set(texts))}
        both = {**own, **{text: ids for text, ids in (negatives or {}).items() if text not in own}}
        return cls(tuple(both), tuple(both.values()), {text: index for index, text in enumerate(both)})

    def numbers(self, spans: SpanTargets) -> torch.Tensor:
        """The index of each span's text (S,)."""
        return torch.tensor([self.number[text] for text in spans.texts], dtype=torch.int64)


class NegativeWords:
    """The words of a language model's vocabulary. Each step draws some as further negatives."""

    def __init__(self, tokenizer: Any) -> None:
        words: dict[str, tuple[int, ...]] = {}
        for number in range(len(tokenizer)):
            text = tokenizer.decode([number])
            if text[:1] == " " and text[1:].isalpha() and len(text) > 2:
                words.setdefault(text[1:].lower(), (number,))
        self._words = sorted(words.items())

    def draw(self, count: int, seed: int, step: int) -> dict[str, tuple[int, ...]]:
        """So many words with their tokens. They depend on seed and step alone."""
        order = shuffled(key_of("negatives", seed, step), len(self._words))[:count]
        return dict(self._words[index] for index in order.tolist())


class ContrastiveHeads(nn.Module):
    """What both losses learn beside the model: temperatures, and attention weights of a clip's embeddings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.ParameterDict(
            {name: nn.Parameter(torch.full((1,), -np.log(_TEMPERATURE))) for name in CONTRASTIVE}
        )
        self.attend = nn.utils.skip_init(nn.Linear, width, 1)
        nn.init.zeros_(self.attend.weight)
        nn.init.zeros_(self.attend.bias)
        self._mean: torch.Tensor | None = None

    def speech_vectors(self, model: Any, speech: torch.Tensor, spans: SpanTargets, name: str) -> torch.Tensor:
        """One vector of unit length for each span of speech.

        Args:
            model: The speech-language model.
            speech: Embeddings of all speech of a micro-batch (N, width).
            spans: S spans of it.
            name: Of the loss. With ``utterance`` the mean over a span has learnt weights.

        Returns:
            Vectors (S, width).
        """
        weight = spans.weight.to(speech.device)
        index, span = spans.embedding_index.to(speech.device), spans.span_index.to(speech.device)
        count = len(spans.texts)
        if name == "utterance":
            score = self.attend(speech.float())[index, 0].float()  # autocast gives lower precision
            peak = torch.full((count,), -torch.inf, device=score.device).scatter_reduce(0, span, score.detach(), "amax")
            weight = weight * torch.exp(score - peak[span])
            weight = weight / torch.zeros(count, device=weight.device).index_add(0, span, weight)[span]
        summed = torch.zeros(count, speech.shape[1], device=speech.device)
        summed = summed.index_add(0, span, speech.float()[index] * weight[:, None])
        return nn.functional.normalize(summed - self._mean_embedding(model), dim=1)

    def text_vectors(self, model: Any, candidates: CandidateTexts) -> torch.Tensor:
        """One vector of unit length for each text: the mean of its tokens' embeddings in the language model."""
        table = model.get_input_embeddings().weight.detach()
        tokens = candidates.tokens
        ids = torch.tensor([token for text in tokens for token in text], device=table.device)
        of = torch.tensor(np.repeat(np.arange(len(tokens)), [len(text) for text in tokens])).to(table.device)
        size = torch.bincount(of, minlength=len(tokens))[:, None]
        summed = torch.zeros(len(tokens), table.shape[1], device=table.device).index_add(0, of, table[ids].float())
        return nn.functional.normalize(summed / size - self._mean_embedding(model), dim=1)

    def _mean_embedding(self, model: Any) -> torch.Tensor:
        """The mean of all token embeddings, which is subtracted since it distinguishes nothing."""
        table = model.get_input_embeddings().weight
        if self._mean is None or table.requires_grad:
            self._mean = table.detach().float().mean(dim=0)
        return self._mean


class Contrastive(Loss):
    """Cross-entropy over the step's texts, summed over spans of speech, and how many spans match their text best."""

    module_name = "heads"
    keeps_module = True

    def module(self, model: Any, recipe: TrainRecipe) -> ContrastiveHeads:
        """The heads. What no loss uses is frozen, so that checkpoints leave it out."""
        heads = ContrastiveHeads(model.config.hidden_size)
        for name, scale in heads.scale.items():
            scale.requires_grad_(bool(recipe.objectives.weight(name)))
        heads.attend.requires_grad_(bool(recipe.objectives.utterance))
        return heads

    def spans(self, batch: TrainBatch) -> SpanTargets:
        """The spans of speech that the loss compares."""
        raise NotImplementedError

    def counts(self, batch: TrainBatch) -> dict[str, float]:
        """The number of spans."""
        return {self.name: len(self.spans(batch).texts)}

    def targets(self, batches: Sequence[TrainBatch], step: StepContext) -> CandidateTexts:
        """The texts of all ranks."""
        texts = [
            text for own in step.all_gather([self.spans(one).texts for one in batches]) for some in own for text in some
        ]
        return CandidateTexts.of(texts, step.tokenizer, self.further(step))

    def further(self, step: StepContext) -> dict[str, tuple[int, ...]] | None:
        """Further texts as negatives; None: none."""
        return None

    def sums(
        self, module: TrainingModule, batch: TrainBatch, speech: torch.Tensor | None, targets: Any
    ) -> LossSums | None:
        """See :meth:`Loss.sums`."""
        spans = self.spans(batch)
        if speech is None or not spans.texts:
            return None
        heads: Any = module.heads
        own = targets.numbers(spans).to(speech.device)
        scale = heads.scale[self.name].exp().clamp(max=1 / _MIN_TEMPERATURE)
        with torch.autocast(speech.device.type, enabled=False):
            vectors = heads.speech_vectors(module.model, speech, spans, self.name)
            scores = scale * vectors @ heads.text_vectors(module.model, targets).T
            loss = nn.functional.cross_entropy(scores, own, reduction="sum")
        return LossSums(loss, {self.measures[0]: (scores.argmax(dim=1) == own).sum()})


class WordLoss(Contrastive):
    """Words with times are matched with their texts."""

    name = "word"
    order = 10
    needs = frozenset(("spans", "negative_words"))
    measures = ("word_found",)

    def spans(self, batch: TrainBatch) -> SpanTargets:
        """Words with times."""
        return batch.words

    def further(self, step: StepContext) -> dict[str, tuple[int, ...]] | None:
        """Words of the language model's vocabulary."""
        if step.negative_words is None:
            return None
        return step.negative_words.draw(step.objectives.negatives, step.seed, step.number)


class UtteranceLoss(Contrastive):
    """Clips are matched with their texts."""

    name = "utterance"
    order = 20
    needs = frozenset(("spans", "negative_words"))
    measures = ("utterance_found",)

    def spans(self, batch: TrainBatch) -> SpanTargets:
        """Whole clips."""
        return batch.utterances


LOSSES.register(WordLoss.name, WordLoss())
LOSSES.register(UtteranceLoss.name, UtteranceLoss())
