"""The causal language model: its scores are token log-probabilities, whatever the batch."""

from __future__ import annotations

import dataclasses
import logging
import random
from pathlib import Path

import pytest

from llaso_data import recipe
from llaso_data.demo import weights
from llaso_data.errors import LLaSOError
from llaso_data.filters.language_model import CausalLanguageModel, LanguageModelStage, language_model_digest, resolve
from llaso_data.records import Source, Utterance, failed
from llaso_data.text import normalize
from tests.conftest import obtained

CONTEXT = 24
TEXTS = ["press one", "", "to leave a message", "x", "press one", "press one for the operator" * 4]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama of one layer with random weights and one token per character, in Hugging Face format."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("small"))
    vocabulary = {name: number for number, name in enumerate(["<s>", "</s>", "?", *" abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def alone(folder: str, text: str) -> float:
    """The mean log-probability by the definition: one text, no padding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder).encode("<s>" + text, add_special_tokens=False)[:CONTEXT]
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0]
    logprobs = logits.log_softmax(-1)
    return sum(float(logprobs[place, token]) for place, token in enumerate(ids[1:])) / (len(ids) - 1)


def utterance(text: str | None, hypothesis: str | None, origin: str = "given") -> Utterance:
    source = Source(corpus="c", uri="u")
    return Utterance(
        id="i", recording="i", source=source, language="en", text=text, text_origin=origin, hypothesis=hypothesis
    )


def test_a_score_is_the_mean_token_log_probability_in_any_batch(small: str) -> None:
    expected = [alone(small, text) if text else None for text in TEXTS]
    for batch_size in (1, 2, 16):
        assert CausalLanguageModel(small, batch_size=batch_size).score(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_the_order_of_the_texts_changes_no_bit(small: str) -> None:
    model = CausalLanguageModel(small, batch_size=2)
    forwards = dict(zip(TEXTS, model.score(TEXTS), strict=True))
    assert dict(zip(TEXTS[::-1], model.score(TEXTS[::-1]), strict=True)) == forwards


def test_a_text_longer_than_the_context_is_cut_and_marked(small: str) -> None:
    long = CausalLanguageModel(small).measure(TEXTS)[-1]
    assert (long.tokens, long.truncated) == (CONTEXT - 1, True)
    stage = LanguageModelStage(recipe.LanguageModel(model=small), recipe.Run(device="cpu"))
    (scored,) = stage([utterance("ab " * 40, None)], [None])
    assert scored.scores.extra == {"lm_truncated": 1.0}


def test_the_stage_compares_given_text_with_what_was_heard(small: str) -> None:
    stage = LanguageModelStage(recipe.LanguageModel(model=small), recipe.Run(device="cpu"))
    items = [
        utterance("Press one.", "press one"),
        utterance("press one", "press nine"),
        utterance("press one", "press one", origin="asr"),
        utterance("press one", None),
        utterance(None, None),
        failed(utterance("press one", "press one"), "unreadable"),
    ]
    found = [item.scores for item in stage(items, [None] * len(items))]
    assert [s.lm_logprob is None for s in found] == [False, False, False, False, True, True]
    assert [s.lm_delta is None for s in found] == [False, False, True, True, True, True]
    assert found[0].lm_delta == 0.0  # case and punctuation are not compared
    one, nine = CausalLanguageModel(small).score([normalize(text, "en") for text in ("press one", "press nine")])
    assert one is not None and nine is not None
    assert found[1].lm_delta == pytest.approx(one - nine, abs=1e-5)
    assert [dataclasses.replace(s, lm_logprob=None, lm_delta=None) for s in found] == [item.scores for item in items]


def test_a_folder_that_is_no_model_is_an_error_that_says_why(small: str, tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"has no config\.json"):
        resolve(str(tmp_path), None)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(LLaSOError, match="weights in pickle files are not loaded"):
        CausalLanguageModel(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(LLaSOError, match="cannot be loaded as a causal language model"):
        CausalLanguageModel(str(tmp_path))
    assert language_model_digest(small, None) != language_model_digest(str(tmp_path), None)


@pytest.mark.slow
def test_sentences_score_higher_than_their_words_shuffled() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = CausalLanguageModel(str(obtained(weights.smollm2)))
    sentences = [
        "please leave your message after the tone and then hang up",
        "the number that you have dialed is not in service",
        "your call is important to us and will be answered in the order it was received",
        "to return to the main menu press the star key",
    ]
    draw = random.Random(0)
    shuffled = [" ".join(draw.sample(words, len(words))) for words in (sentence.split() for sentence in sentences)]
    swapped = [s.replace("message", "garage").replace("dialed", "sandwich") for s in sentences[:2]]
    scores, worse, wrong = model.score(sentences), model.score(shuffled), model.score(swapped)
    for good, bad in [*zip(scores, worse, strict=True), *zip(scores[:2], wrong, strict=True)]:
        assert good is not None and bad is not None and good > bad
