"""The backend that computes with onnxruntime: the graphs that ``llaso-model export --format onnx`` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llaso_data.errors import LLaSOError
from llaso_data.io.hub import loading
from llaso_model.configuration import MEL_FRAMES_PER_S, LLaSOConfig, states_of
from llaso_model.engine.backends import BACKENDS, BackendKind
from llaso_model.engine.backends.local import LocalBackend, SeparateReader
from llaso_model.engine.backends.prompts import TorchPrompt
from llaso_model.engine.backends.row_places import together
from llaso_model.engine.backends.row_store import RowStore
from llaso_model.processing import LLaSOProcessor

ENCODER, DECODER, EMBEDDINGS = "encoder.onnx", "decoder.onnx", "token_embeddings.npy"
_LOWEST = float(np.finfo(np.float32).min)


class OnnxReader(SeparateReader):
    """Each prompt is read by itself; rows of a store are decoded together.

    Args:
        folder: What the export wrote.
        config: The model's.
    """

    def __init__(self, folder: Path, config: LLaSOConfig) -> None:
        super().__init__()
        self._config = config
        self._encoder, self._decoder = _session(folder / ENCODER), _session(folder / DECODER)
        self._embeddings = np.load(folder / EMBEDDINGS, mmap_mode="r")
        self._layers, _, self._heads, _, self._size = self._decoder.get_inputs()[3].shape
        self._stores: dict[int, RowStore] = {}  # by the number of their size

    def _read_prompts(self, prompts: Mapping[int, TorchPrompt]) -> Iterator[tuple[int, torch.Tensor]]:
        for slot, prompt in prompts.items():
            embeds = self._merged(prompt)
            count = len(embeds)
            positions = np.arange(count)[None]
            mask = np.triu(np.full((count, count), _LOWEST, np.float32), 1)[None, None, None]
            nothing = np.zeros((self._layers, 1, self._heads, 0, self._size), np.float32)
            logits, keys, values = self._decode(embeds[None], positions, mask, nothing, nothing)
            empty = RowStore(self._layers, self._heads, self._size, torch.float32, torch.device("cpu"))
            store = self._stores.setdefault(prompt.size_class, empty)
            (row,) = store.add({slot: count})
            self._rows[slot] = store
            store.keys[:, row, :, :count] = torch.from_numpy(keys)[:, 0]
            store.values[:, row, :, :count] = torch.from_numpy(values)[:, 0]
            yield slot, torch.from_numpy(logits)

    def _read_tokens(self, tokens: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, torch.Tensor]]:
        for own in together(tokens, self._rows):
            store = self._rows[own[0]]
            slots = store.ordered(own)
            step = store.step(slots)
            past = step.columns - 1
            mask = np.zeros((len(slots), past + 1), np.float32)
            mask[:, :past] = np.where(np.arange(past) < step.at.numpy()[:, None], 0, _LOWEST)
            logits, keys, values = self._decode(
                self._embeddings[[tokens[slot][0] for slot in slots]][:, None],
                step.at.numpy()[:, None],
                mask[:, None, None, None],
                store.keys[:, step.rows, :, :past].numpy(),
                store.values[:, step.rows, :, :past].numpy(),
            )
            store.keys[:, step.row_numbers, :, step.at] = torch.from_numpy(keys)[:, :, :, 0].transpose(0, 1)
            store.values[:, step.row_numbers, :, step.at] = torch.from_numpy(values)[:, :, :, 0].transpose(0, 1)
            yield from zip(slots, torch.from_numpy(logits).split(1), strict=True)

    def remove(self, slot: int) -> None:
        """Frees a slot, whether or not it has a row. A store without rows gives its memory back."""
        if (store := self._rows.pop(slot, None)) is not None:
            store.remove(slot)
        self._stores = {size: store for size, store in self._stores.items() if store.count}

    def _decode(self, *inputs: Any) -> Any:
        names = ("embeds", "positions", "mask", "keys", "values")
        given = {name: np.ascontiguousarray(value) for name, value in zip(names, inputs, strict=True)}
        return self._decoder.run(None, given)

    def _merged(self, prompt: TorchPrompt) -> Any:
        """Embeddings of the text, with speech at the audio tokens (T, W)."""
        ids = prompt.inputs["input_ids"][0].numpy()
        embeds = self._embeddings[ids]
        if "input_features" in prompt.inputs:
            windows = zip(prompt.inputs["input_features"], prompt.inputs["feature_lengths"].tolist(), strict=True)
            embeds[ids == self._config.audio_token_id] = np.concatenate([self._encode(*one) for one in windows])
        return embeds

    def _encode(self, features: torch.Tensor, length: int) -> Any:
        """Embeddings of one window: as :class:`WhisperStates` and :class:`Splice` compute them."""
        audio = self._config.audio_config
        read = min(length + round(self._config.tail_s * MEL_FRAMES_PER_S), 2 * audio.max_source_positions)
        count = np.array(states_of(length, audio))
        given = {"features": np.ascontiguousarray(features[None, :, :read].numpy()), "count": count}
        return self._encoder.run(None, given)[0]


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores may be shared
    with loading("MODEL", str(path)):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _open(name: str, key: str, precision: str | None) -> LocalBackend:
    """The backend of an exported folder. Raises LLaSOError where it is none."""
    from transformers import GenerationConfig

    from llaso_model.registration import register

    folder = Path(name)
    if missing := [file for file in (ENCODER, DECODER, EMBEDDINGS) if not (folder / file).is_file()]:
        raise LLaSOError(
            f"{key}: {name} has no {missing[0]}; `llaso-model export MODEL --format onnx --out FOLDER` writes a folder"
        )
    if precision not in (None, "fp32"):
        raise LLaSOError(f"precision: the graphs of {name} compute in fp32, not {precision}")
    register()
    with loading(key, name):
        config = LLaSOConfig.from_pretrained(folder)
        processor = LLaSOProcessor.from_pretrained(folder)
        generation = GenerationConfig.from_pretrained(folder)
    return LocalBackend(OnnxReader(folder, config), processor, config, generation, torch.device("cpu"))


BACKENDS.register("onnx", BackendKind(open=_open))
