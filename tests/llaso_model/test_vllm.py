"""What the plugin and the backend of vLLM do without a vLLM; test_vllm_serve.py is about a running one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from transformers import GenerationConfig

from llaso_data.errors import LLaSOError
from llaso_data.io.openai_client import client_of
from llaso_model.cli import main
from llaso_model.configuration import LLaSOConfig
from llaso_model.engine.backends.vllm import VLLMBackend
from llaso_model.engine.engine import Engine, Limits
from llaso_model.engine.requests import Request, Sampling
from llaso_model.processing import LLaSOProcessor
from llaso_model.vllm import check_fusion, register
from tests.support import chat_endpoint
from tests.support.chat_endpoint import Does
from tests.support.paths import REPOSITORY
from tests.support.training_fixtures import made_model

END = 7  # the token that ends an answer
TRANSCRIBED = "Transcribe the speech."


def test_the_plugin_imports_without_vllm():
    groups = (REPOSITORY / "pyproject.toml").read_text().split("[project.entry-points.")
    assert any('"vllm.general_plugins"]\nllaso = "llaso_model.vllm:register"' in group for group in groups)
    assert callable(register) and "vllm" not in sys.modules


def test_cross_attention_is_refused_with_the_reason():
    check_fusion(LLaSOConfig())
    with pytest.raises(ValueError, match=r"attend to speech in between.*llaso-model serve"):
        check_fusion(LLaSOConfig(fusion="cross_attention"))


def test_an_address_where_nothing_answers_is_named(tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(b"is not read")
    words = ["generate", "http://127.0.0.1:9/v1", str(tmp_path / "a.wav"), "--backend", "vllm"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and "MODEL: nothing at http://127.0.0.1:9/v1 that speaks as OpenAI's" in result.stderr


def chunks(*tokens: int) -> bytes:
    """A stream of an answer as vLLM sends it, a token each, which ends."""
    choice = {"index": 0, "delta": {"content": ""}}
    sent = [{"object": "chat.completion.chunk", "choices": [{**choice, "token_ids": [token]}]} for token in tokens]
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in sent) + b"data: [DONE]\n\n"


def test_rows_that_an_address_leaves_in_the_middle_fail_and_the_others_are_answered(tmp_path: Path):
    """Several at once fail in the same step, when a server dies."""
    model = made_model(tmp_path)
    does = {
        "torn": Does(raw=chunks(*[5] * 20), tear=True),
        "short": Does(raw=chunks(5, 5)),
        "refused": Does("too long", 400),
        "good": Does(raw=chunks(5, 6, END)),
    }
    with chat_endpoint.serving() as chat:
        chat.does = lambda prompt: does[prompt]
        backend = VLLMBackend(
            client_of(chat.url, None, 1, 60, "a test"),
            "judge-1",
            LLaSOProcessor.from_pretrained(model),
            LLaSOConfig.from_pretrained(model),
            GenerationConfig(eos_token_id=END),
        )
        engine = Engine(backend, Limits(slots=8))
        asked = ["torn", "good", "torn", "short", "refused", "good", "torn"]
        conversations = [[{"role": "user", "content": name}] for name in asked]
        handles = engine.run(Request(one, Sampling(max_new_tokens=40)) for one in conversations)
    reasons = {"torn": chat.url, "short": "before a token or limit", "refused": "too long"}
    for name, handle in zip(asked, handles, strict=True):
        if name == "good":
            assert handle.result().tokens == (5, 6, END)
        else:
            with pytest.raises(LLaSOError, match=reasons[name]):
                handle.result()
    assert engine.counts.failed == 5 and engine.decoding == 0
