"""Loads a model with a quantised language model. Encoder and fusion are not quantised.

LLaSOModel.from_pretrained(folder, dtype="auto", quantization_config=weight_only(8))
"""

from __future__ import annotations

from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for, require

KEPT = ["audio_tower", "aligner", "lm_head"]
_GROUP = 32  # 4-bit weights that share a scale


def weight_only(bits: int) -> Any:
    """The ``quantization_config`` of ``from_pretrained`` for weights of 8 or 4 bits.

    On a GPU bitsandbytes quantises (LLM.int8 and NF4), else torchao (one scale for each row of 8-bit weights, or for
    32 weights of 4 bits). torchao keeps a 4-bit value in a byte, so it saves no memory over 8 bits. On a CPU decoding
    is slower than in float32, and what is saved is memory.

    Raises:
        LLaSOError: The library is not installed, or there is no such number of bits.
    """
    import torch

    if bits not in (4, 8):
        raise LLaSOError(f"weights of {bits} bits are not supported; choose 4 or 8")
    if torch.cuda.is_available():
        require("quantisation on a GPU", "bitsandbytes")
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_8bit=bits == 8,
            load_in_4bit=bits == 4,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=KEPT,
        )
    with needed_for("quantisation on a CPU"):
        from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
        from torchao.quantization.granularity import PerGroup
    from transformers import TorchAoConfig

    four = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(_GROUP))  # type: ignore[attr-defined]
    return TorchAoConfig(Int8WeightOnlyConfig() if bits == 8 else four, modules_to_not_convert=KEPT)
