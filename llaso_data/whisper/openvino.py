"""Whisper's encoder in OpenVINO, for CPUs: on one thread faster than CTranslate2's, in float32 and more so in bfloat16.

Linear layers may be in int8: each row of the weights has a scale, and so has each group of an input's values, which is
found as the input comes. So no recordings are needed to fit scales. All else stays in float32 or bfloat16.

The graph is built here, operation by operation. OpenVINO's converter would trace the torch module and report its use to
the makers of OpenVINO.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llaso_data.errors import LLaSOError
from llaso_data.whisper.engine import DecodingResult
from llaso_data.whisper.teacher_forcing import Decoder
from llaso_data.whisper.torch import LogMel

if TYPE_CHECKING:
    import torch

MEL_FRAMES = 3000  # of a window of 30 s
_GROUP = 128  # values of an input of an int8 layer that share a scale
_INT8_MAX = 127
_ONE_AT_A_TIME = threading.Lock()  # or two threads would make an OpenVINO each


class OpenVINOEncoder:
    """Encodes windows one by one; threads may call it at once, and each takes one core."""

    def __init__(self, graph: Path, *, bfloat16: bool, threads: int) -> None:
        """Compile an encoder for this machine. Workers of one machine share the file's pages.

        Args:
            graph: A file of :func:`write_graph`.
            bfloat16: Whether it computes in bfloat16. The states are float32.
            threads: How many threads may call it at once.

        Raises:
            LLaSOError: OpenVINO does not compute in bfloat16 on this machine.
        """
        precision = "bf16" if bfloat16 else "f32"
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,  # of inputs of int8 layers
            "ENABLE_CPU_PINNING": False,  # or the workers of a machine would share its first cores
        }
        with _ONE_AT_A_TIME:
            self._compiled: Any = _core().compile_model(str(graph), "CPU", options)
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if used != precision:
            raise LLaSOError(f"OpenVINO computes in {used} on this machine, not in {precision}")
        self._local = threading.local()

    def __call__(self, features_BMT: NDArray[np.float32]) -> torch.Tensor:
        """Encoder states (windows, 1500, width), float32.

        Args:
            features_BMT: Log-mel features (windows, mel bins, 3000).
        """
        import torch

        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        # The outputs are copied: a request writes its next window into the same memory.
        return torch.cat(
            [
                torch.from_numpy(self._local.request.infer({0: window_1MT}, share_inputs=True)[0])
                for window_1MT in np.split(features_BMT, len(features_BMT))
            ]
        )


class OpenVINOEngine:
    """Encoding through OpenVINO. Free decoding is greedy, by the decoder that forces texts, too."""

    def __init__(self, encoder: OpenVINOEncoder, source: str, decoder: Decoder) -> None:
        """Use loaded parts.

        Args:
            encoder: Encodes.
            source: The checkpoint in Hugging Face format, of which the feature settings are read.
            decoder: Of the same checkpoint; it decodes.
        """
        self.vocabulary, self.statistics = decoder.vocabulary, decoder.statistics
        self._encoder, self._decoder = encoder, decoder
        self._features = LogMel(source, "cpu")

    def encode(self, windows: Sequence[NDArray[np.int16]]) -> torch.Tensor:
        """See :meth:`llaso_data.whisper.engine.Engine.encode`; the states are float32."""
        self.statistics.count(windows_encoded=len(windows))
        return self._encoder(self._features(windows))

    def decode(self, states_BSD: torch.Tensor, languages: Sequence[str]) -> list[DecodingResult]:
        """See :meth:`llaso_data.whisper.engine.Engine.decode`."""
        states = self._decoder.cache_cross_attention(states_BSD)
        return [one.result for one in self._decoder.decode(states, languages, [None] * len(states))]


@functools.cache
def _core() -> Any:
    """OpenVINO, one for the life of the process.

    A new one gives its thread another stack for signals. When it goes, in whatever thread, its stack is unmapped, and
    the thread keeps it or goes back to that of an earlier one, unmapped too: the next signal ends the process.
    """
    import openvino

    return openvino.Core()


def write_graph(encoder: Any, path: Path, int8: bool = False) -> None:
    """Write OpenVINO's model of one window: features (1, mel bins, 3000) to states (1, 1500, width).

    Args:
        encoder: transformers' WhisperEncoder with float32 weights.
        path: An ``.xml`` file. The weights lie beside it in a ``.bin`` file.
        int8: Whether the linear layers' weights are in int8.

    Raises:
        LLaSOError: The encoder's activation is not Whisper's.
    """
    import openvino
    from openvino import opset13 as ops

    if encoder.config.activation_function != "gelu":
        raise LLaSOError(f"this Whisper's encoder has the activation {encoder.config.activation_function}, not gelu")
    features = ops.parameter([1, encoder.conv1.in_channels, MEL_FRAMES], np.float32)
    x_1WS = _convolution(_convolution(features, encoder.conv1), encoder.conv2)
    x_1SW = ops.add(ops.transpose(x_1WS, [0, 2, 1]), _weight(encoder.embed_positions.weight[None]))
    linear = _int8_linear if int8 else _linear
    for layer in encoder.layers:
        x_1SW = ops.add(x_1SW, _attention(_norm(x_1SW, layer.self_attn_layer_norm), layer.self_attn, linear))
        inner = ops.gelu(linear(_norm(x_1SW, layer.final_layer_norm), layer.fc1), "erf")
        x_1SW = ops.add(x_1SW, linear(inner, layer.fc2))
    model = openvino.Model([_norm(x_1SW, encoder.layer_norm)], [features], "whisper_encoder")
    openvino.serialize(model, path)


def _attention(x_1SW: Any, attention: Any, linear: Callable[[Any, Any], Any]) -> Any:
    from openvino import opset13 as ops

    def by_head(y_1SW: Any) -> Any:
        return ops.transpose(ops.reshape(y_1SW, [0, 0, attention.num_heads, -1], True), [0, 2, 1, 3])

    query, key, value = (
        by_head(linear(x_1SW, layer)) for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    context_1HSD = ops.scaled_dot_product_attention(query, key, value)
    return linear(ops.reshape(ops.transpose(context_1HSD, [0, 2, 1, 3]), [0, 0, -1], True), attention.out_proj)


def _convolution(x_1CT: Any, layer: Any) -> Any:
    from openvino import opset13 as ops

    convolved = ops.convolution(x_1CT, _weight(layer.weight), list(layer.stride), [1], [1], [1])
    return ops.gelu(ops.add(convolved, _weight(layer.bias[None, :, None])), "erf")


def _linear(x: Any, layer: Any) -> Any:
    return _product(x, _weight(layer.weight), layer)


def _int8_linear(x: Any, layer: Any) -> Any:
    """A linear layer of int8 weights with a scale for each row, which OpenVINO recognises by this pattern."""
    from openvino import opset13 as ops

    weight_OI = layer.weight.detach().numpy()
    scale_O1 = np.maximum(np.abs(weight_OI).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / _INT8_MAX
    rounded_OI = ops.constant(np.rint(weight_OI / scale_O1).astype(np.int8))
    return _product(x, ops.multiply(ops.convert(rounded_OI, "f32"), ops.constant(scale_O1)), layer)


def _product(x: Any, weight: Any, layer: Any) -> Any:
    from openvino import opset13 as ops

    product = ops.matmul(x, weight, False, True)
    return product if layer.bias is None else ops.add(product, _weight(layer.bias))


def _norm(x: Any, layer: Any) -> Any:
    from openvino import opset13 as ops

    normal = ops.mvn(x, np.array([-1]), True, layer.eps, "inside_sqrt")
    return ops.add(ops.multiply(normal, _weight(layer.weight)), _weight(layer.bias))


def _weight(weight: torch.Tensor) -> Any:
    """A constant that shares a float32 parameter's memory."""
    from openvino import opset13 as ops

    return ops.constant(weight.detach().contiguous().numpy(), shared_memory=True)
