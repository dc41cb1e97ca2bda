"""Which language models are read in a line: those that it gives the logits of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, Qwen2Config, Qwen3Config

from llaso_data.whisper.linear import Linear, computes_bf16
from llaso_model.engine.backends.flat_text import FlatText, Span, is_plain_text_model

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def language_model(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, weight in model.named_parameters():  # biases and norms are drawn as 0 and 1
        if weight.dim() == 1:
            torch.nn.init.normal_(weight, mean=1.0 if "norm" in name else 0.0, std=0.3)
    return model


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        LlamaConfig(**SIZES, attention_bias=True, rope_parameters=LLAMA_3),
        Qwen2Config(**SIZES),
        Qwen3Config(**SIZES, head_dim=16),
    ],
    ids=lambda config: config.model_type,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.no_grad()
def test_prompts_and_rows_have_the_models_logits(config, dtype):
    if dtype == torch.bfloat16 and not computes_bf16(torch.device("cpu")):
        pytest.skip("this CPU has no bfloat16 instructions")
    model = language_model(config).to(dtype)
    assert is_plain_text_model(model)
    flat = FlatText(model, packs=True)
    tokens = torch.arange(40) * 11 % 64
    embeds = model.get_input_embeddings()(tokens)
    wanted = model(tokens[None]).logits[0]
    near = {torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype] * float(wanted.abs().max())
    store = flat.store(torch.device("cpu"))
    lengths = {0: 30, 1: 7}
    spans = [Span(store, row, 0, lengths[slot], 1) for slot, row in zip(lengths, store.add(lengths), strict=True)]
    found = flat.read(torch.cat([embeds[:30], embeds[:7]]), spans)
    assert torch.allclose(found, wanted[[29, 6]], atol=near)
    for number in range(3):
        step = store.step([0, 1])
        found = flat.read(embeds[[30 + number, 7 + number]], [], [(store, step)])
        store.advance(0, 1)
        store.advance(1, 1)
        assert torch.allclose(found, wanted[[30 + number, 7 + number]], atol=near)
    span = Span(store, *store.place(1, 4), 4, 4)  # four tokens of one row beside one of the other
    lined = torch.cat([embeds[10:14], embeds[33:34]])
    assert torch.allclose(flat.read(lined, [span], [(store, store.step([0]))]), wanted[[10, 11, 12, 13, 33]], atol=near)


@pytest.mark.parametrize("kind", ["sliding", "dynamic", "gemma", "hook", "adapter"])
def test_others_are_left_to_their_own_forward(kind):
    if kind == "gemma":
        assert not is_plain_text_model(language_model(GemmaConfig(**SIZES, head_dim=8)))
        return
    if kind == "sliding":
        config: Any = Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=0)
        assert not is_plain_text_model(language_model(config))
        return
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0} if kind == "dynamic" else None
    model = language_model(LlamaConfig(**SIZES, rope_parameters=rope))
    if kind == "hook":
        model.model.layers[0].register_forward_pre_hook(lambda layer, args: None)
    if kind == "adapter":
        from peft import LoraConfig, inject_adapter_in_model

        inject_adapter_in_model(LoraConfig(target_modules=["q_proj"]), model)
    assert not is_plain_text_model(model)


def test_reordered_weights_give_the_same_products():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(24, 40, bias=False), torch.nn.Linear(24, 17)]
    for rows in (1, 5, 70):
        x = torch.randn(rows, 24)
        with torch.no_grad():
            for activation in ("none", "gelu"):
                ours = Linear(*layers, packs=True)(x, activation)
                assert torch.allclose(ours, Linear(*layers, packs=False)(x, activation), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or sys.platform != "linux", reason="needs oneDNN and /proc"
)
def test_memory_is_bounded_where_rows_are_of_all_numbers() -> None:
    grown = subprocess.run(
        [sys.executable, "-c", _GROWS], capture_output=True, text=True, check=True, env=_environment()
    )
    first, last = map(float, grown.stdout.split())
    assert last - first < 60, grown.stdout  # MiB, for a thousand further numbers; with oneDNN's own bounds 300


_GROWS = """
import torch
from torch import nn
from llaso_data.whisper.linear import Linear

linear = Linear(nn.Linear(64, 64), packs=True)
for rows in range(50, 2050):
    linear(torch.randn(rows, 64))
    if rows in (1049, 2049):
        pages = int(open("/proc/self/statm").read().split()[1])
        print(pages * 4096 / 2**20)
"""


def _environment() -> dict[str, str]:
    """Without what this process has set for its own kernels."""
    kept = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    here = str(Path(__file__).parents[3])
    return {name: value for name, value in os.environ.items() if name not in kept} | {"PYTHONPATH": here}
