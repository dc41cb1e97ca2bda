"""The interface of a Whisper engine: it encodes windows, decodes them freely, and counts both.

The teacher-forced passes (:mod:`llaso_data.whisper.teacher_forcing`) work on the states of either engine.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from llaso_data.errors import LLaSOError
from llaso_data.recipe import Asr

if TYPE_CHECKING:
    import torch

    from llaso_data.recipe import Align, Run
    from llaso_data.whisper.tokenizer import WhisperTokenizer


_STATISTICS_LOCK = threading.Lock()
BFLOAT16, VNNI = "bfloat16", "vnni"
Instructions = frozenset[str]
"""Of a CPU: :data:`BFLOAT16` (AVX512_BF16, AMX, or ARM's) and :data:`VNNI` (AVX-512's products of int8)."""
MAX_NEW_TOKENS = 440  # of one window's free decoding: what Whisper's 448 positions leave beside the prompt


@dataclass(slots=True)
class Statistics:
    """Model calls since loading. A run that transcribes nothing anew has zeros here."""

    models_loaded: int = 0
    windows_encoded: int = 0
    windows_decoded: int = 0
    tokens_decoded: int = 0
    passes_forced: int = 0

    def add(self, other: Statistics) -> None:
        """Add another's counts."""
        self.count(**asdict(other))

    def count(self, **increments: int) -> None:
        """Add to the fields of these names; threads may call it at once."""
        with _STATISTICS_LOCK:
            for name, increment in increments.items():
                setattr(self, name, getattr(self, name) + increment)


@dataclass(frozen=True, slots=True)
class DecodingResult:
    """What free decoding gives for one window.

    Attributes:
        tokens: Text tokens, without the prompt and without end of text.
        no_speech_prob: Whisper's probability that nobody speaks, 0-1.
    """

    tokens: tuple[int, ...]
    no_speech_prob: float


class Engine(Protocol):
    """One loaded Whisper: its encoder and free decoding."""

    vocabulary: WhisperTokenizer
    statistics: Statistics

    def encode(self, windows: Sequence[NDArray[np.int16]]) -> torch.Tensor:
        """Encoder states of windows of 480,000 samples: shape (windows, 1500, width), on the engine's torch device."""
        ...

    def decode(self, states_BSD: torch.Tensor, languages: Sequence[str]) -> list[DecodingResult]:
        """Transcribe encoded windows without timestamps.

        Args:
            states_BSD: As :meth:`encode` gives them.
            languages: The language of each window; the tokenizer may put another language's token in its place.
        """
        ...


def resolve_device(run: Run) -> str:
    """``cpu`` or ``cuda``, as the recipe says. Raises LLaSOError where it says cuda and there is none."""
    import torch

    if run.device == "cuda" and not torch.cuda.is_available():
        raise LLaSOError("run.device: cuda was asked for, but torch sees no CUDA device; use --device cpu or auto")
    if run.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return run.device


def resolve_compute_type(asr: Asr, device: str, instructions: Instructions) -> str:
    """The compute type that ``observe.asr.compute_type`` stands for.

    Args:
        asr: The recipe's section.
        device: ``cpu`` or ``cuda``.
        instructions: What the processors of all machines that take part have; without any it is what it was before
            there was a choice.
    """
    if asr.compute_type != "auto":
        return asr.compute_type
    if device != "cpu":
        return "float16"
    if asr.engine == "torch":
        return "float32"
    if BFLOAT16 in instructions:
        return "int8_bfloat16_encoder"
    return "int8_float32_encoder" if VNNI in instructions else "int8"


def resolve_align_compute_type(align: Align, device: str, instructions: Instructions) -> Literal["float32", "bfloat16"]:
    """What the decoder reads known texts in on a CPU, as the recipe says; float32 where a GPU does it.

    The arguments are those of :func:`resolve_compute_type`.
    """
    if device != "cpu":
        return "float32"
    if align.compute_type != "auto":
        return align.compute_type
    return "bfloat16" if BFLOAT16 in instructions else "float32"


def decodes_greedily(asr: Asr, compute_type: str) -> bool:
    """Whether the decoder that forces texts also decodes freely: greedily, what OpenVINO encodes in a compute type."""
    return asr.engine == "ctranslate2" and compute_type.endswith("_encoder") and asr.beam_size == 1


def own_instructions() -> Instructions:
    """What this machine's processor has of :data:`BFLOAT16` and :data:`VNNI`."""
    import torch

    from llaso_data.whisper.linear import computes_bf16, has_vnni

    found = {BFLOAT16: computes_bf16(torch.device("cpu")), VNNI: has_vnni()}
    return frozenset(name for name, has in found.items() if has)


def has_bfloat16() -> bool:
    """Whether this machine's processor has bfloat16 instructions."""
    return BFLOAT16 in own_instructions()


def check_compute_types(asr: Asr, compute_type: str, align: str, device: str) -> None:
    """Check that this machine computes what it was told to.

    Args:
        asr: The recipe's section.
        compute_type: Of :func:`resolve_compute_type`.
        align: Of :func:`resolve_align_compute_type`.
        device: ``cpu`` or ``cuda``.

    Raises:
        LLaSOError: It does not; the message names the machine, and what the machine has.
    """
    import ctranslate2

    if asr.engine == "torch":
        has = {"float32"} if device == "cpu" else {"bfloat16", "float16", "float32"}
    else:
        has = set(ctranslate2.get_supported_compute_types(device))
        if device == "cpu":
            has |= {"float32_encoder", "int8_float32_encoder"}
            has |= {"bfloat16_encoder", "int8_bfloat16_encoder"} if has_bfloat16() else set()
    if compute_type not in has:
        known = [one for one in get_args(Asr.model_fields["compute_type"].annotation) if one in has]
        raise _lacking(f"asr.compute_type: {compute_type}", device, f"with engine: {asr.engine}", known)
    if align == "bfloat16" and not has_bfloat16():
        raise _lacking(f"align.compute_type: {align}", device, "in hardware", ["float32"])


def _lacking(setting: str, device: str, how: str, known: list[str]) -> LLaSOError:
    where = "processor" if device == "cpu" else "GPU"
    return LLaSOError(
        f"observe.{setting}: the {where} of {platform.node()} does not have it {how}, but {', '.join(known)}. Where "
        "the recipe says auto, this is what the output was begun in: go on with it elsewhere, or state another one, in "
        "which all is observed anew"
    )
