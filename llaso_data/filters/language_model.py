"""Tier 2's causal language model: is the given text as likely a sentence as what was heard?

A transcript with a swapped or missing word is usually less likely than the hypothesis. Both are compared in the
normalised form, because corpora differ in case and punctuation and the model would score that instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llaso_data.errors import LLaSOError
from llaso_data.io.hub import checkpoint, loading, pretrained, weights_digest
from llaso_data.recipe import LanguageModel as Settings
from llaso_data.recipe import Run
from llaso_data.records import GIVEN, Utterance
from llaso_data.text import normalize

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 1024
"""Longer texts are cut: 30 s of speech are some 200 tokens, and the logits of a text grow with its length."""
BATCH_TOKENS = 2048
"""Rows times length of a batch, padding included; times the vocabulary it bounds the memory of the logits."""
_WRONG = "is damaged, or cannot be loaded as a causal language model"
TRUNCATED = "lm_truncated"
"""``scores.extra``: 1 where the text or the hypothesis was cut at the model's context before it was scored."""


@dataclass(frozen=True, slots=True)
class TextScore:
    """What a language model says of a text.

    Attributes:
        mean_logprob: Mean natural log-probability of the text's tokens; None where there is no token.
        tokens: Tokens that were scored.
        truncated: Whether the text was cut at the model's context.
    """

    mean_logprob: float | None
    tokens: int
    truncated: bool = False


class CausalLanguageModel:
    """A causal language model in Hugging Face format, loaded once.

    Args:
        model: Folder or hub id.
        revision: Commit of a hub id.
        device: ``cpu`` or ``cuda``.
        batch_size: Texts that are scored together at most.

    Raises:
        LLaSOError: The model cannot be had, or is no causal language model.
    """

    def __init__(self, model: str, revision: str | None = None, device: str = "cpu", batch_size: int = 16) -> None:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        folder = resolve(model, revision)
        key_and_model = "language_model.model", model
        with loading(*key_and_model, wrong=_WRONG):
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        loaded = pretrained(
            transformers.AutoModelForCausalLM,
            *key_and_model,
            folder,
            wrong=_WRONG,
            dtype=torch.float32 if device == "cpu" else torch.bfloat16,
            use_safetensors=True,
            trust_remote_code=False,
        )
        self._model = loaded.to(device).eval()
        self._device, self._batch_size = device, batch_size
        # The first token needs something before it. Models without a beginning-of-text token were trained with the
        # end of the text before.
        starts = [t for t in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id) if t is not None]
        self._start: list[int] = starts[:1]
        context = int(getattr(self._model.config.get_text_config(), "max_position_embeddings", MAX_TOKENS))
        self._limit = min(context, MAX_TOKENS) - len(self._start)

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """Mean token log-probability of each text; None where a text has no token to score."""
        return [text_score.mean_logprob for text_score in self.measure(texts)]

    def measure(self, texts: Sequence[str]) -> list[TextScore]:
        """:meth:`score` with the number of tokens and whether the text was cut.

        The batches are fixed by the set of texts (sorted by length, then by text), not by their order.
        """
        distinct = sorted(set(texts))
        tokens = [self._tokenizer.encode(text, add_special_tokens=False) if text else [] for text in distinct]
        order = sorted(range(len(distinct)), key=lambda i: len(tokens[i]))
        scores: dict[str, TextScore] = {}
        for batch in _batches([len(tokens[i]) for i in order], self._batch_size, self._limit):
            members = [order[position] for position in batch]
            rows = [self._start + tokens[i][: self._limit] for i in members]
            for i, row, mean in zip(members, rows, self._means(rows), strict=True):
                scores[distinct[i]] = TextScore(mean, len(row) - len(self._start), len(tokens[i]) > self._limit)
        return [scores[text] for text in texts]

    def _means(self, rows: list[list[int]]) -> list[float | None]:
        """The mean log-probability of each row's tokens after its first."""
        import torch

        longest = max(map(len, rows))
        if longest < 2:
            return [None] * len(rows)
        ids_BL = torch.zeros((len(rows), longest), dtype=torch.long)
        mask_BL = torch.zeros((len(rows), longest), dtype=torch.long)
        for number, row in enumerate(rows):
            ids_BL[number, : len(row)] = torch.tensor(row, dtype=torch.long)
            # A row without tokens attends to its padding: a row that is masked whole would give NaN.
            mask_BL[number, : max(1, len(row))] = 1
        with torch.inference_mode():
            logits_BLV = self._model(input_ids=ids_BL.to(self._device), attention_mask=mask_BL.to(self._device)).logits
            logprobs_BL = _token_logprobs(logits_BLV, ids_BL.to(self._device)).cpu()
        return [float(logprobs_BL[n, : len(row) - 1].mean()) if len(row) > 1 else None for n, row in enumerate(rows)]


class LanguageModelStage:
    """The stage that gives ``lm_logprob`` to every text, and ``lm_delta`` to given text that has a hypothesis."""

    def __init__(self, settings: Settings, run: Run) -> None:
        from llaso_data.whisper.engine import resolve_device

        if settings.model is None:
            raise LLaSOError("observe.language_model.model: must be given for this stage")
        self._model = CausalLanguageModel(settings.model, settings.revision, resolve_device(run), settings.batch_size)

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[object]) -> list[Utterance]:
        """The utterances with ``lm_logprob``, and with ``lm_delta`` where given text has a hypothesis."""
        pairs = [_comparable(utterance) for utterance in utterances]
        texts = sorted({text for pair in pairs for text in pair if text})
        scores = dict(zip(texts, self._model.measure(texts), strict=True))
        return [
            _with_scores(utterance, scores.get(text), scores.get(hypothesis))
            for utterance, (text, hypothesis) in zip(utterances, pairs, strict=True)
        ]


def language_model_digest(model: str, revision: str | None) -> str:
    """What the model weighs, whatever it is called; part of what decides an observation."""
    return weights_digest(resolve(model, revision))


def resolve(model: str, revision: str | None) -> str:
    """The local folder of a model, downloaded from the hub where `model` is an id. Safetensors only."""
    return checkpoint("language_model.model", model, revision)


def _batches(lengths: Sequence[int], rows: int, limit: int) -> Iterator[range]:
    """Cuts ascending lengths into ranges of at most `rows` places and BATCH_TOKENS tokens, padding included."""
    start = 0
    for position in range(len(lengths)):
        longest = min(lengths[position], limit) + 1
        if position > start and (position - start == rows or (position - start + 1) * longest > BATCH_TOKENS):
            yield range(start, position)
            start = position
    if lengths:
        yield range(start, len(lengths))


def _token_logprobs(logits_BLV: torch.Tensor, ids_BL: torch.Tensor) -> torch.Tensor:
    """log p(token t + 1 | tokens to t), float32, shape (B, L - 1). Row by row: the logits are the largest array."""
    import torch

    rows = []
    for logits_LV, ids_L in zip(logits_BLV[:, :-1], ids_BL[:, 1:], strict=True):
        logits_LV = logits_LV.float()
        rows.append(logits_LV.gather(1, ids_L[:, None])[:, 0] - logits_LV.logsumexp(1))
    return torch.stack(rows)


def _comparable(utterance: Utterance) -> tuple[str, str]:
    """(text, hypothesis) normalised; empty where there is none or where it is not needed."""
    if utterance.failure is not None or not utterance.text:
        return "", ""
    has_transcript = utterance.text_origin == GIVEN
    hypothesis = utterance.hypothesis if has_transcript and utterance.hypothesis else ""
    text = normalize(utterance.text, utterance.language)
    return text, normalize(hypothesis, utterance.language) if hypothesis else ""


def _with_scores(utterance: Utterance, text: TextScore | None, hypothesis: TextScore | None) -> Utterance:
    if text is None or text.mean_logprob is None:
        return utterance
    other = None if hypothesis is None else hypothesis.mean_logprob
    delta = None if other is None else text.mean_logprob - other
    cut = text.truncated or (hypothesis is not None and hypothesis.truncated)
    extra = {**utterance.scores.extra, TRUNCATED: 1.0} if cut else utterance.scores.extra
    scores = dataclasses.replace(utterance.scores, lm_logprob=text.mean_logprob, lm_delta=delta, extra=extra)
    return dataclasses.replace(utterance, scores=scores)
