"""OpenAI's Whisper weights from CTranslate2's binary form, with the names of ``WhisperForConditionalGeneration``."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llaso_data.errors import LLaSOError

_TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")  # CTranslate2's DataType enum, without bfloat16
_BINARY_VERSION = 6


def read_ctranslate2(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a CTranslate2 ``model.bin`` (version 6; layout of ``ctranslate2/specs/model_spec.py``).

    Returns:
        Name → array, quantised ones as float32. Names that CTranslate2 stores as aliases are left out.

    Raises:
        LLaSOError: where the file is of another version or cut off.
    """
    data = path.read_bytes()
    try:
        arrays = dict(_variables(data))
    except (struct.error, ValueError, IndexError) as error:
        raise LLaSOError(f"{path}: not a whole CTranslate2 model ({error})") from error
    for name in [name for name in arrays if name.endswith("_scale")]:
        scale = arrays.pop(name)
        weight = name.removesuffix("_scale")
        rows = scale.reshape(scale.shape + (1,) * (arrays[weight].ndim - scale.ndim))
        arrays[weight] = arrays[weight].astype(np.float32) / rows
    return arrays


def whisper_state(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """The state of ``WhisperForConditionalGeneration`` from a CTranslate2 Whisper's arrays, float32.

    CTranslate2 keeps query, key and value of self-attention in one matrix, and key and value of cross-attention;
    Hugging Face keeps them apart and has no bias for keys (it is zero). ``proj_out`` is tied to the embedding.
    """
    state: dict[str, NDArray[np.float32]] = {}

    def put(name: str, value: NDArray[Any]) -> None:
        state[f"model.{name}"] = np.ascontiguousarray(value, dtype=np.float32)

    def norm(name: str, source: str) -> None:
        put(f"{name}.weight", arrays[f"{source}/gamma"])
        put(f"{name}.bias", arrays[f"{source}/beta"])

    def linear(names: list[str], source: str) -> None:
        weights = np.split(arrays[f"{source}/weight"], len(names))
        biases = np.split(arrays[f"{source}/bias"], len(names))
        for name, weight, bias in zip(names, weights, biases, strict=True):
            put(f"{name}.weight", weight)
            if not name.endswith("k_proj"):
                put(f"{name}.bias", bias)
            elif np.any(bias):
                raise LLaSOError(f"{source}: a key projection with a bias is not Whisper's")

    for part in ("encoder", "decoder"):
        put(f"{part}.embed_positions.weight", arrays[f"{part}/position_encodings/encodings"])
        norm(f"{part}.layer_norm", f"{part}/layer_norm")
        for number in range(layers(arrays, part)):
            ours, theirs = f"{part}.layers.{number}", f"{part}/layer_{number}"
            own = f"{theirs}/self_attention"
            norm(f"{ours}.self_attn_layer_norm", f"{own}/layer_norm")
            linear([f"{ours}.self_attn.{x}_proj" for x in "qkv"], f"{own}/linear_0")
            linear([f"{ours}.self_attn.out_proj"], f"{own}/linear_1")
            if part == "decoder":
                cross = f"{theirs}/attention"
                norm(f"{ours}.encoder_attn_layer_norm", f"{cross}/layer_norm")
                linear([f"{ours}.encoder_attn.q_proj"], f"{cross}/linear_0")
                linear([f"{ours}.encoder_attn.{x}_proj" for x in "kv"], f"{cross}/linear_1")
                linear([f"{ours}.encoder_attn.out_proj"], f"{cross}/linear_2")
            norm(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm")
            linear([f"{ours}.fc1"], f"{theirs}/ffn/linear_0")
            linear([f"{ours}.fc2"], f"{theirs}/ffn/linear_1")
    for name in ("conv1", "conv2"):
        put(f"encoder.{name}.weight", arrays[f"encoder/{name}/weight"])
        put(f"encoder.{name}.bias", arrays[f"encoder/{name}/bias"])
    put("decoder.embed_tokens.weight", arrays["decoder/embeddings/weight"])
    return state


def layers(arrays: Mapping[str, NDArray[Any]], part: str) -> int:
    """How many layers the ``encoder`` or ``decoder`` of a CTranslate2 Whisper has."""
    return sum(name.startswith(f"{part}/layer_") and name.endswith("/ffn/linear_0/weight") for name in arrays)


@dataclass
class _Cursor:
    data: bytes
    at: int = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return int(value)

    def take(self, size_bytes: int) -> bytes:
        if self.at + size_bytes > len(self.data):
            raise ValueError(f"{self.at + size_bytes - len(self.data)} bytes are missing")
        self.at += size_bytes
        return self.data[self.at - size_bytes : self.at]

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode()


def _variables(data: bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    cursor = _Cursor(data)
    version = cursor.number("I")
    if version != _BINARY_VERSION:
        raise ValueError(f"version {version}, expected {_BINARY_VERSION}")
    kind_of_model, revision = cursor.text(), cursor.number("I")
    if (kind_of_model, revision) != ("WhisperSpec", 3):
        raise ValueError(f"{kind_of_model} {revision}, expected WhisperSpec 3")
    for _ in range(cursor.number("I")):
        name = cursor.text()
        shape = tuple(cursor.number("I") for _ in range(cursor.number("B")))
        kind = np.dtype(_TYPES[cursor.number("B")])
        yield name, np.frombuffer(cursor.take(cursor.number("I")), dtype=kind).reshape(shape)
