"""Whisper's encoder in the programs that can run it here: CPU seconds of a window of 30 s, and how near its states are.

    .venv/bin/python bench/encoder.py --model base --repeats 5

Every encoder gets the same windows of English prompts on one thread, one at a time and four at once, in turn. Printed
are medians of CPU seconds a window, and the cosine of all states to those of torch in float32. `oneDNN` is torch with
weights in oneDNN's layout (llaso_data/whisper/linear.py). Rows in bfloat16 are left out where the processor has none.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import WhisperForConditionalGeneration

from llaso_data import audio
from llaso_data.demo import assets, weights
from llaso_data.whisper.engine import has_bfloat16
from llaso_data.whisper.linear import Linear
from llaso_data.whisper.load import ctranslate2_folder
from llaso_data.whisper.openvino import OpenVINOEncoder, write_graph
from llaso_data.whisper.torch import LogMel
from llaso_data.whisper.windows import WINDOW_SAMPLES

MODELS = {"tiny.en": weights.tiny_en, "base": weights.whisper_base}
AT_ONCE = (1, 4)

Features = npt.NDArray[np.float32]
Encoder = Callable[[Features], torch.Tensor]


class OneDNN:
    """The encoder's layers with packed weights; products in ``dtype``, sums of layers in float32."""

    def __init__(self, encoder: Any, dtype: torch.dtype) -> None:
        self._encoder = encoder
        self._layers = [
            (layer, *(Linear(*group, packs=True, dtype=dtype) for group in self._groups(layer)))
            for layer in encoder.layers
        ]

    @staticmethod
    def _groups(layer: Any) -> list[list[nn.Linear]]:
        attention = layer.self_attn
        return [
            [attention.q_proj, attention.k_proj, attention.v_proj],
            [attention.out_proj],
            [layer.fc1],
            [layer.fc2],
        ]

    def __call__(self, features: Features) -> torch.Tensor:
        return torch.cat([self._window(window) for window in torch.from_numpy(features)])

    def _window(self, window_MT: torch.Tensor) -> torch.Tensor:
        encoder = self._encoder
        hidden = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(window_MT[None]))))
        x_SW = hidden[0].T + encoder.embed_positions.weight
        for layer, qkv, out, first, second in self._layers:
            projected = qkv(layer.self_attn_layer_norm(x_SW))
            heads = projected.view(len(x_SW), 3, layer.self_attn.num_heads, -1).permute(1, 2, 0, 3)[:, None]
            context = nn.functional.scaled_dot_product_attention(*heads)[0].transpose(0, 1).reshape(x_SW.shape)
            x_SW = x_SW + out(context).float()
            x_SW = x_SW + second(first(layer.final_layer_norm(x_SW), "gelu")).float()
        return encoder.layer_norm(x_SW)[None]


def encoders(folder: str, scratch: Path) -> dict[str, Encoder]:
    whole = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    encoder = whole.eval().requires_grad_(False).model.encoder
    graphs = {int8: scratch / f"encoder-{int8}.xml" for int8 in (False, True)}
    for int8, graph in graphs.items():
        write_graph(encoder, graph, int8)

    def in_ctranslate2(kind: str) -> Encoder:
        converted = ctranslate2_folder(folder, kind)
        model = ctranslate2.models.Whisper(converted, device="cpu", compute_type=kind, intra_threads=1)
        return lambda features: torch.from_numpy(
            np.array(model.encode(ctranslate2.StorageView.from_array(features), to_cpu=True))
        )

    found: dict[str, Encoder] = {
        "torch, float32": lambda features: encoder(torch.from_numpy(features)).last_hidden_state,
        "CTranslate2, float32": in_ctranslate2("float32"),
        "CTranslate2, int8": in_ctranslate2("int8"),
        "oneDNN, float32": OneDNN(encoder, torch.float32),
        "OpenVINO, float32": OpenVINOEncoder(graphs[False], bfloat16=False, threads=1),
        "OpenVINO, int8 and float32": OpenVINOEncoder(graphs[True], bfloat16=False, threads=1),
    }
    if has_bfloat16():
        found["oneDNN, bfloat16"] = OneDNN(encoder, torch.bfloat16)
        found["OpenVINO, bfloat16"] = OpenVINOEncoder(graphs[False], bfloat16=True, threads=1)
        found["OpenVINO, int8 and bfloat16"] = OpenVINOEncoder(graphs[True], bfloat16=True, threads=1)
    return found


def windows(folder: str, count: int) -> Features:
    prompts = assets.demo_corpus(100, 1)
    source = prompts.folders[prompts.languages.index("en")]
    pcm = np.concatenate([audio.decode(str(path))[0] for path in sorted(source.rglob("*.g722"))])
    return LogMel(folder, "cpu")(pcm[: count * WINDOW_SAMPLES].reshape(count, WINDOW_SAMPLES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="base")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = str(MODELS[args.model]())
    features = windows(folder, max(AT_ONCE))
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        found = encoders(folder, Path(scratch))
        states = {name: encode(features) for name, encode in found.items()}
        took: dict[tuple[str, int], list[float]] = {}
        for _ in range(args.repeats):
            for at_once in AT_ONCE:
                for name, encode in found.items():
                    start_s = time.process_time()
                    encode(features[:at_once])
                    took.setdefault((name, at_once), []).append((time.process_time() - start_s) / at_once)
    exact = states["torch, float32"].flatten()
    print(
        f"{args.model}, one thread, CPU s a window\n| encoder | one window | four at once | cosine |\n|---|---|---|---|"
    )
    for name in found:
        one, four = (statistics.median(took[name, at_once]) for at_once in AT_ONCE)
        cosine = nn.functional.cosine_similarity(states[name].flatten().double(), exact.double(), dim=0)
        print(f"| {name} | {one:.3f} | {four:.3f} | {cosine:.5f} |")


if __name__ == "__main__":
    main()
