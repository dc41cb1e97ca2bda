"""ONNX: two graphs in float32, the encoder with the projection, and the language model.

    encoder.onnx           features (1, mels, T), count () -> embeddings (N, W)
    decoder.onnx           embeds (B, T, W), positions (B, T), mask (B, 1, 1, T, C), keys and values (layers, B, heads,
                           P, size) with C = P + T -> logits (B, vocabulary) of the last token, new keys and values
    token_embeddings.npy   (vocabulary, W)

The same graph of the language model reads prompts (P = 0) and goes on with rows (T = 1): rows and lengths are dynamic.
Beside the graphs lie the configuration, the processor's files, and ``generation_config.json``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llaso_model.configuration import MEL_FRAMES_PER_S
from llaso_model.engine.backends.flat_speech import is_plain_speech_model
from llaso_model.engine.backends.flat_text import is_plain_text_model
from llaso_model.engine.backends.onnx import DECODER, EMBEDDINGS, ENCODER
from llaso_model.export import EXPORTS, Export

_OPSET = 18


class _Encoder(nn.Module):
    """Whisper's encoder and the projection, for one window at its own length."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projector, self.stack = model.audio_tower, model.aligner.projector, model.aligner.stack

    def forward(self, features_1CT: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, W) of the first ``count`` states of frames with their tail."""
        tower = self.tower
        x_1CT = nn.functional.gelu(tower.conv2(nn.functional.gelu(tower.conv1(features_1CT))))
        hidden_1SW = x_1CT.transpose(1, 2)
        hidden_1SW = hidden_1SW + tower.embed_positions.weight[: hidden_1SW.shape[1]]
        for layer in tower.layers:
            hidden_1SW = _encoder_layer(layer, hidden_1SW)
        states_SW = tower.layer_norm(hidden_1SW)[0]
        valid = torch.arange(states_SW.shape[0]) < count
        states_SW = torch.cat([states_SW * valid[:, None], states_SW.new_zeros(self.stack, states_SW.shape[1])])
        groups = (count + self.stack - 1) // self.stack
        stacked = states_SW[: groups * self.stack].reshape(-1, self.stack * states_SW.shape[1])
        embeddings: torch.Tensor = self.projector(stacked)
        return embeddings


def _encoder_layer(layer: Any, x_1SW: torch.Tensor) -> torch.Tensor:
    attention = layer.self_attn
    normed = layer.self_attn_layer_norm(x_1SW)

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected[0].reshape(-1, attention.num_heads, attention.head_dim).transpose(0, 1)

    query, key = heads(attention.q_proj(normed)) * attention.scaling, heads(attention.k_proj(normed))
    weights = torch.softmax(query @ key.transpose(1, 2), dim=-1)
    attended = (weights @ heads(attention.v_proj(normed))).transpose(0, 1).reshape(1, -1, attention.embed_dim)
    x_1SW = x_1SW + attention.out_proj(attended)
    inner = nn.functional.gelu(layer.fc1(layer.final_layer_norm(x_1SW)))
    out: torch.Tensor = x_1SW + layer.fc2(inner)
    return out


class _Decoder(nn.Module):
    """A language model of plain layers that is given its cache, and gives what is new of it."""

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        decoder, config = language_model.get_decoder(), language_model.config
        self.layers, self.norm, self.head = decoder.layers, decoder.norm, language_model.get_output_embeddings()
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = decoder.layers[0].self_attn.head_dim
        self.rotary = decoder.rotary_emb

    def forward(
        self,
        embeds_BTW: torch.Tensor,
        positions_BT: torch.Tensor,
        mask_B11TC: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See the module."""
        angles = positions_BT[..., None].float() * self.rotary.inv_freq
        angles = torch.cat([angles, angles], dim=-1)[:, :, None]
        turn = angles.cos() * self.rotary.attention_scaling, angles.sin() * self.rotary.attention_scaling
        x_BTW, new_keys, new_values = embeds_BTW, [], []
        for number, layer in enumerate(self.layers):
            attended, key, value = self._attend(layer, x_BTW, turn, mask_B11TC, keys[number], values[number])
            x_BTW = x_BTW + layer.self_attn.o_proj(attended)
            normed = _normed(layer.post_attention_layernorm, x_BTW)
            x_BTW = x_BTW + layer.mlp.down_proj(
                layer.mlp.act_fn(layer.mlp.gate_proj(normed)) * layer.mlp.up_proj(normed)
            )
            new_keys.append(key)
            new_values.append(value)
        logits = self.head(_normed(self.norm, x_BTW[:, -1]))
        return logits, torch.stack(new_keys), torch.stack(new_values)

    def _attend(
        self, layer: Any, x_BTW: torch.Tensor, turn: Any, mask: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        attention, normed = layer.self_attn, _normed(layer.input_layernorm, x_BTW)
        batch, count = x_BTW.shape[0], x_BTW.shape[1]
        query = attention.q_proj(normed).reshape(batch, count, self.heads, self.size)
        key = attention.k_proj(normed).reshape(batch, count, self.key_heads, self.size)
        value = attention.v_proj(normed).reshape(batch, count, self.key_heads, self.size).transpose(1, 2)
        if hasattr(attention, "q_norm"):
            query, key = _normed(attention.q_norm, query), _normed(attention.k_norm, key)
        query, key = _turned(query, *turn), _turned(key, *turn).transpose(1, 2)
        all_keys, all_values = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        grouped = query.reshape(batch, count, self.key_heads, -1, self.size).permute(0, 2, 3, 1, 4)
        scores = grouped @ all_keys[:, :, None].transpose(3, 4) * attention.scaling + mask
        attended = torch.softmax(scores, dim=-1) @ all_values[:, :, None]
        return attended.permute(0, 3, 1, 2, 4).reshape(batch, count, -1), key, value


def _normed(norm: Any, x: torch.Tensor) -> torch.Tensor:
    scaled = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    normed: torch.Tensor = norm.weight * scaled
    return normed


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def problem(model: Any) -> str | None:
    """Why a model cannot be written as ONNX; None: it can."""
    if model.config.fusion != "splice":
        return f"its fusion is {model.config.fusion}, and only splice can be exported"
    if not is_plain_speech_model(model):
        return f"its encoder is {model.config.audio_config.model_type}, and only Whisper's can be exported"
    if not is_plain_text_model(model.language_model):
        kind = model.config.text_config.model_type
        return f"its language model is {kind}, and only those with the layers of Llama, Qwen2 or Qwen3 can be exported"
    return None


@torch.no_grad()
def write(model: Any, processor: Any, folder: Path) -> None:
    """Writes a model, for which :func:`problem` finds none, into an empty folder."""
    decoder = _Decoder(model.language_model)
    mels, width = model.config.audio_config.num_mel_bins, model.config.hidden_size
    frames = MEL_FRAMES_PER_S
    _export(
        _Encoder(model),
        (torch.zeros(1, mels, frames), torch.tensor(frames // 4)),
        folder / ENCODER,
        {"features": {2: "frames"}, "count": {}},
        {"embeddings": {0: "embeddings"}},
    )
    batch, new, past = 2, 3, 5
    cached = torch.zeros(len(decoder.layers), batch, decoder.key_heads, past, decoder.size)
    _export(
        decoder,
        (
            torch.zeros(batch, new, width),
            torch.zeros(batch, new, dtype=torch.long),
            torch.zeros(batch, 1, 1, new, past + new),
            cached,
            cached,
        ),
        folder / DECODER,
        {
            "embeds": {0: "rows", 1: "tokens"},
            "positions": {0: "rows", 1: "tokens"},
            "mask": {0: "rows", 3: "tokens", 4: "columns"},
            "keys": {1: "rows", 3: "past"},
            "values": {1: "rows", 3: "past"},
        },
        {"logits": {0: "rows"}, "new_keys": {1: "rows", 3: "tokens"}, "new_values": {1: "rows", 3: "tokens"}},
    )
    np.save(folder / EMBEDDINGS, model.get_input_embeddings().weight.numpy())
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)


def _export(
    module: nn.Module, inputs: tuple[Any, ...], path: Path, names: dict[str, Any], outputs: dict[str, Any]
) -> None:
    with warnings.catch_warnings():  # of traced sizes, and of the exporter that needs no further package
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes={name: axes for name, axes in {**names, **outputs}.items() if axes},
            opset_version=_OPSET,
            dynamo=False,
        )


EXPORTS.register("onnx", Export(("onnx",), problem, write))
