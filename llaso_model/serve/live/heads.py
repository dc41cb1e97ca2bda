"""Which heads of a language model follow the speech in its prompt: found in sentences that a voice speaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.records import Word
from llaso_model.configuration import IGNORED
from llaso_model.fusion import FUSIONS
from llaso_model.processing import TRANSCRIBE, LLaSOProcessor
from llaso_model.voice.speaking import RATE_HZ

log = logging.getLogger(__name__)
SENTENCES = (
    "The weather is nice today, so we will walk down to the river.",
    "Please call the office tomorrow morning, or leave a message.",
    "She bought seven apples and a loaf of bread.",
)
_COUNT = 3
_WORST_S = 0.2  # a head that is further off is none that follows the speech
_MOST_S = 1.0  # a token that is further off counts as this


def spoken_clips(speaker: Any) -> list[tuple[Pcm, str]]:
    """Sentences by a voice: 16 kHz samples and their texts. Those that the voice cannot speak are left out."""
    import soxr

    spoken = [speaker.speak(sentence) for sentence in SENTENCES]
    return [(soxr.resample(one.pcm, RATE_HZ, SAMPLE_RATE_HZ), one.text) for one in spoken if one.problem is None]


def alignment_heads(
    model: Any,
    processor: LLaSOProcessor,
    words_of: Callable[[Pcm, str, str | None], Sequence[Word]],
    clips: Sequence[tuple[Pcm, str]],
    language: str | None = "en",
) -> list[tuple[int, int]]:
    """The heads whose attention is nearest to the words while the model writes them.

    Args:
        model: In evaluation mode.
        processor: The model's.
        words_of: Times words, from (samples, text, language).
        clips: Samples at 16 kHz, and what is said in them.
        language: Of the clips.

    Returns:
        (layer, head) of a few, best first. Empty where no head follows the speech, or the fusion has no embeddings of
        speech in the text.
    """
    if FUSIONS[model.config.fusion].token_per_window:
        return []
    found = [_errors(model, processor, pcm, text, words_of(pcm, text, language)) for pcm, text in clips]
    errors = [one for one in found if one is not None]
    if not errors:
        return []
    mean = np.mean(errors, axis=0)
    order = np.argsort(mean, axis=None)[:_COUNT]
    heads = [(int(place // mean.shape[1]), int(place % mean.shape[1])) for place in order]
    good = [(layer, head) for layer, head in heads if mean[layer, head] <= _WORST_S]
    log.info(
        "heads that follow the speech, and how far off they are: %s", {one: round(float(mean[one]), 3) for one in good}
    )
    return good


@torch.no_grad()
def _errors(
    model: Any, processor: LLaSOProcessor, pcm: Pcm, text: str, words: Sequence[Word]
) -> NDArray[np.float64] | None:
    """How far each head's attention is from the words, in seconds (layers, heads); None where no word is known."""
    question = processor.instruction(TRANSCRIBE, [to_float32(pcm)])
    inputs = processor.batch([[*question, {"role": "assistant", "content": text}]], output_labels=True)
    ids, labels = inputs["input_ids"], inputs["labels"][0]
    places = (labels != IGNORED).nonzero()[:, 0].tolist()
    tokens = ids[0, places].tolist()
    speech = model.get_audio_features(inputs["input_features"], inputs["feature_lengths"])
    language_model = model.language_model
    before = language_model.config._attn_implementation
    language_model.set_attn_implementation("eager")
    try:
        out = language_model(inputs_embeds=model.merged_embeddings(ids, speech), output_attentions=True)
    finally:
        language_model.set_attn_implementation(before)
    columns = (ids[0] == processor.audio_token_id).nonzero()[:, 0]
    attention = torch.stack(out.attentions)[:, 0][:, :, [place - 1 for place in places]][..., columns]
    heard_s = (attention.argmax(dim=-1).double().numpy() + 0.5) * len(pcm) / SAMPLE_RATE_HZ / len(columns)
    distances = [
        np.clip(np.maximum(word.start_s - heard_s[..., number], heard_s[..., number] - word.end_s), 0, _MOST_S)
        for number, word in enumerate(_words_of_tokens(processor, tokens, words))
        if word is not None
    ]
    return np.mean(distances, axis=0) if distances else None


def _words_of_tokens(processor: LLaSOProcessor, tokens: Sequence[int], words: Sequence[Word]) -> list[Word | None]:
    """The word that each token belongs to."""
    texts = [str(processor.decode(list(tokens[:count]), skip_special_tokens=True)) for count in range(len(tokens) + 1)]
    spans, at = [], 0
    for word in words:
        start = max(at, texts[-1].find(word.text, at))
        at = start + len(word.text)
        spans.append((start, at, word))
    found: list[Word | None] = []
    for before, after in pairwise(texts):
        middle = (len(before) + len(after)) / 2
        own = [word for start, end, word in spans if start <= middle <= end]
        found.append(own[0] if own and len(after) > len(before) else None)
    return found
