"""Cross-attention: closed gates change nothing, open ones let speech be heard, no answer leaks into what precedes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import WhisperFeatureExtractor

from llaso import LLaSOModel, LLaSOProcessor
from llaso_model.configuration import IGNORED, LLaSOConfig
from tests.llaso_model.modeling.test_llaso import WHISPER, open_gates, sound
from tests.support.training_fixtures import small_llama, small_tokenizer


@pytest.fixture(scope="module")
def processor() -> Any:
    return LLaSOProcessor(
        WhisperFeatureExtractor(), small_tokenizer(), stack=4, encoder=WHISPER.to_dict(), fusion="cross_attention"
    )


@pytest.fixture
def model(processor) -> Any:
    torch.manual_seed(0)
    config = LLaSOConfig(
        audio_config=WHISPER,
        text_config=small_llama(processor.tokenizer, layers=4),
        stack=4,
        audio_token_id=processor.audio_token_id,
        fusion="cross_attention",
        cross_attention_every=2,
    )
    return LLaSOModel(config).eval()


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def batch_of(processor: Any, answers: tuple[str, ...] = ("Hello there, you.", "At sea.")) -> Any:
    """Two taught conversations with speech of unlike lengths."""
    conversations = [
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": ask}, {"type": "audio", "audio": sound(length, seed)}],
            },
            {"role": "assistant", "content": answer},
        ]
        for seed, (ask, length, answer) in enumerate(
            zip(("What is said?", "Where was it?"), (0.7, 1.9), answers, strict=True)
        )
    ]
    return processor.batch(conversations, output_labels=True)


def test_the_text_has_one_audio_token_for_each_window(processor):
    inputs = processor(audio=[sound(1.0), sound(40.0)], text=["What?", "Who <audio> is it?"])
    assert (inputs["input_ids"] == processor.audio_token_id).sum(dim=1).tolist() == [1, 2]  # 40 s are two windows
    assert inputs["audio_rows"].tolist() == [0, 1, 1]


def test_closed_gates_leave_the_language_model_as_it_is_and_have_a_gradient(model, processor):
    inputs = batch_of(processor)
    own = model.language_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    out = model(**inputs)
    assert torch.equal(out.logits, own.logits)
    out.loss.backward()
    assert all(bridge.text_gate.grad.abs() > 0 for bridge in model.aligner.bridges)


def test_open_gates_hear_speech_and_instruction_and_leak_no_answer(model, processor):
    open_gates(model)
    inputs = batch_of(processor)
    with torch.no_grad():
        before = model(**inputs).logits
        for row in range(2):
            first = int((inputs["labels"][row] != IGNORED).nonzero()[0])
            for place in range(first, int(inputs["attention_mask"][row].sum())):
                changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
                changed["input_ids"][row, place] = 100
                after = model(**changed).logits
                assert torch.equal(after[row, :place], before[row, :place])
                assert not torch.equal(after[row, place], before[row, place])
                assert torch.equal(after[1 - row], before[1 - row])
        louder = {**inputs, "input_features": inputs["input_features"] + torch.tensor([0.0, 0.5])[:, None, None]}
        after = model(**louder).logits
        assert torch.equal(after[0], before[0]) and not torch.allclose(after[1], before[1], atol=1e-3)


def turns_of(seed: int = 2) -> list[dict[str, Any]]:
    """A conversation of two turns with speech."""
    return [
        {"role": "user", "content": [text("What is said?"), {"type": "audio", "audio": sound(0.8, 1)}]},
        {"role": "assistant", "content": "Hello there."},
        {"role": "user", "content": [text("And then?"), {"type": "audio", "audio": sound(0.8, seed)}]},
        {"role": "assistant", "content": "At sea."},
    ]


def turns(processor: Any, seed: int = 2) -> Any:
    """Both turns to be learnt."""
    return processor.batch([turns_of(seed=seed)], output_labels=True)


def test_speech_of_a_later_turn_is_not_heard_before(model, processor):
    open_gates(model)
    inputs = turns(processor)
    first, later = (inputs["input_ids"][0] == processor.audio_token_id).nonzero()[:, 0].tolist()
    with torch.no_grad():
        before = model(**inputs).logits[0]
        after = model(**turns(processor, seed=3)).logits[0]
        assert torch.equal(after[:later], before[:later]) and not torch.allclose(after[later], before[later], atol=1e-4)
        changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
        changed["input_ids"][0, first + 1] = 100  # between the first speech and its answer: heard by both
        asked = model(**changed).logits[0]
        assert not torch.allclose(asked[first], before[first], atol=1e-4)
        for place in (later - 1, later + 1):  # the second turn's instruction: heard by the second speech alone
            changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
            changed["input_ids"][0, place] = 100
            asked = model(**changed).logits[0]
            end = min(place, later)
            assert torch.equal(asked[:end], before[:end]) and not torch.allclose(asked[later], before[later], atol=1e-4)


def test_a_later_turn_is_answered_as_it_was_taught(model, processor):
    open_gates(model)
    messages = turns_of()
    taught = processor.batch([messages], output_labels=True)
    asked = processor.batch([messages[:-1], messages[:1]])
    count = int(asked["attention_mask"][0].sum())
    assert int(asked["answered"].sum(dim=1)[1]) == 0 < int(asked["answered"].sum(dim=1)[0])
    with torch.no_grad():
        wanted = model(**taught).logits[0, count - 1]
        deaf = model(**{**processor.batch([messages[:-1]]), "answered": None}).logits[0, -1]
    assert torch.equal(taught["input_ids"][0, :count], asked["input_ids"][0, -count:])
    for beams in (1, 2):
        said = model.generate(
            **asked, max_new_tokens=2, num_beams=beams, output_logits=True, return_dict_in_generate=True
        )
        torch.testing.assert_close(said.logits[0][0], wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(deaf, wanted, atol=1e-3)


def test_speech_without_its_audio_token_is_refused(model, processor):
    inputs = processor(audio=sound(0.6), text="What?")
    inputs["input_ids"][inputs["input_ids"] == processor.audio_token_id] = 5
    with pytest.raises(ValueError, match="one audio token for each"):
        model(**inputs)


def test_speech_hears_the_instruction(model, processor):
    open_gates(model)
    inputs = batch_of(processor)
    speech = model.get_audio_features(inputs["input_features"], inputs["feature_lengths"])

    def heard_with(ids: torch.Tensor) -> torch.Tensor:
        lengths, rows, mask = (inputs[name] for name in ("feature_lengths", "audio_rows", "attention_mask"))
        heard = model.encode_audio(speech, ids, lengths, rows, mask, inputs["labels"] != IGNORED)
        with torch.no_grad(), model.aligner.attending_to(heard):
            model.language_model(input_ids=ids, attention_mask=inputs["attention_mask"])
        return heard.layers[1]

    before = heard_with(inputs["input_ids"])
    asked, answered = inputs["input_ids"].clone(), inputs["input_ids"].clone()
    asked[0, 3] = 100
    answered[0, int((inputs["labels"][0] != IGNORED).nonzero()[0])] = 100
    assert not torch.allclose(heard_with(asked)[0], before[0], atol=1e-4)
    assert torch.equal(heard_with(answered), before)


def test_a_row_of_a_batch_is_as_it_is_alone_also_without_speech(model, processor):
    open_gates(model)
    inputs = processor(text=["Say it", "Hear <audio> and <audio>."], audio=[sound(0.6, 1), sound(1.1, 2)])
    with torch.no_grad():
        together = model(**inputs).logits
        alone = model(**processor(text="Hear <audio> and <audio>.", audio=[sound(0.6, 1), sound(1.1, 2)])).logits
        silent = model(**processor(text="Say it")).logits
    assert torch.allclose(together[1, -1], alone[0, -1], atol=1e-4)
    assert torch.allclose(together[0, -1], silent[0, -1], atol=1e-4)


def test_several_answers_of_a_prompt_are_sampled(model, processor):
    open_gates(model)
    torch.manual_seed(0)
    inputs = processor(audio=[sound(0.5, 1), sound(1.5, 2)])
    out = model.generate(**inputs, max_new_tokens=4, do_sample=True, num_return_sequences=3)
    assert out.shape == (6, 4)
    assert model.aligner._generated is None
