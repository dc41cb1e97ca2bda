"""What Hugging Face's Auto classes, and the server of transformers, ask of a model and its processor."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from llaso_model.registration import register
from tests.support.training_fixtures import made_model


@pytest.fixture(scope="module", params=["splice", "cross_attention"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    register()
    return made_model(tmp_path_factory.mktemp("model"), request.param)


def sound(length_s: float = 0.8) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, round(length_s * 16_000)).astype(np.float32)


def wav(length_s: float = 0.8) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(length_s), 16_000, format="WAV")
    return file.getvalue()


def test_auto_model_gives_the_body_whose_states_become_the_logits(folder):
    from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor

    body, whole = AutoModel.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert body._supports_attention_backend and whole._supports_attention_backend
    assert not hasattr(body, "lm_head") and body.get_decoder() is body.language_model
    inputs = AutoProcessor.from_pretrained(folder)("What is said?", [sound()])
    with torch.no_grad():
        states = body(**inputs).last_hidden_state
        assert torch.allclose(whole.get_output_embeddings()(states), whole(**inputs).logits, atol=1e-5)
    again = AutoModel.from_config(body.config)
    assert {name for name, _ in again.named_parameters()} == {name for name, _ in body.named_parameters()}


def test_audio_features_come_as_transformers_models_give_them(folder):
    from transformers import AutoModelForMultimodalLM, AutoProcessor

    model, processor = AutoModelForMultimodalLM.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    inputs, places = processor.process_audio([sound(0.8), sound(1.7)])
    with torch.no_grad():
        features = {"input_features": inputs["input_features"], "feature_lengths": inputs["feature_lengths"]}
        found = model.get_audio_features(**features, return_dict=True).pooler_output
        assert torch.equal(found, model.get_audio_features(**features))
    if model.config.fusion == "splice":
        assert [len(one) // len(processor.audio_token) for one in places] == inputs["num_audio_tokens"].tolist()
        assert len(found) == int(inputs["num_audio_tokens"].sum())
    else:
        assert places == [processor.audio_token] * 2


def test_places_of_audio_are_found_among_words_that_look_like_them(folder):
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    content = [
        {"type": "text", "text": "Not <audio> but"},
        {"type": "audio", "audio": sound(0.8)},
        {"type": "text", "text": "and"},
        {"type": "audio", "audio": sound(1.1)},
    ]
    text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    inputs = processor(text, [sound(0.8), sound(1.1)], return_text_replacement_offsets=True)
    (found,) = inputs["text_replacement_offsets"]
    expanded, first = "", 0
    for one in found:
        start, end = one["span"]
        assert text[start:end] == one["text"] == "<audio>"
        expanded, first = expanded + text[first:start] + one["replacement"], end
        assert expanded[slice(*one["new_span"])] == one["replacement"]
    assert len(found) == 2 and text.count("<audio>") == 3
    audio_tokens = int((inputs["input_ids"] == processor.audio_token_id).sum())
    assert sum(one["replacement"].count("<audio>") for one in found) == audio_tokens


def test_the_server_of_transformers_answers_about_audio(folder):
    """``transformers serve``: a chat with audio, and a transcription, through its own handlers."""
    pytest.importorskip("fastapi")
    model_manager = pytest.importorskip("transformers.cli.serving.model_manager")
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.transcription import TranscriptionHandler
    from transformers.cli.serving.utils import GenerationState

    from llaso_model import generation

    manager = model_manager.ModelManager(device="cpu", dtype="float32")
    state = GenerationState()
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav()).decode(), "format": "wav"}}
    question = {"type": "text", "text": "What is said?"}
    body = {"model": str(folder), "messages": [{"role": "user", "content": [part, question]}], "max_tokens": 5}
    try:
        answer = asyncio.run(ChatCompletionHandler(manager, state).handle_request(dict(body), "1"))
        name = manager.process_model_name(str(folder))
        model, processor = manager.load_model_and_processor(name)
        inputs = TranscriptionHandler._prepare_audio_inputs(wav(), processor, model)
        tokens = model.generate(**inputs, max_new_tokens=5)
    finally:
        for loaded in list(manager.loaded_models.values()):
            loaded.delete_model()
    found = _json(answer)
    ours = generation.load(str(folder))
    conversation = [{"role": "user", "content": [{"type": "audio", "audio": wav()}, question]}]
    assert found["choices"][0]["message"]["content"] == ours.answer([conversation], max_new_tokens=5)[0]
    assert found["usage"]["completion_tokens"] <= 5
    assert processor.batch_decode(tokens, skip_special_tokens=True) == ours.transcribe([wav()], max_new_tokens=5)


def _json(response: Any) -> Any:
    import json

    return json.loads(response.body)
