"""Loading Whisper once: the engine, the torch decoder, and the CTranslate2 form (converted once)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llaso_data.io.cache import cached
from llaso_data.io.hub import checkpoint, loading, pretrained, weights_digest
from llaso_data.recipe import Asr, Run
from llaso_data.whisper.engine import Engine, Statistics, compute_type, device
from llaso_data.whisper.teacher_forcing import Decoder
from llaso_data.whisper.tokenizer import WhisperTokenizer

CONVERSION = 1  # raised when the way of converting changes


@dataclass(frozen=True)
class Whisper:
    """One loaded Whisper: free decoding by the engine, teacher forcing by the torch decoder, one set of weights."""

    engine: Engine
    decoder: Decoder
    vocabulary: WhisperTokenizer
    statistics: Statistics
    device: str = "cpu"
    threads: int = 1  # that may call it at once


def resolve(model: str, revision: str | None) -> str:
    """The local folder of a Whisper checkpoint, downloaded where ``model`` is an id. Raises LLaSOError."""
    return checkpoint("asr.model", model, revision, kind="whisper", name_it="pass --asr with")


def load(asr: Asr, run: Run) -> Whisper:
    """Load a Whisper once. Torch keeps the decoder only where CTranslate2 encodes."""
    import torch
    from transformers import WhisperForConditionalGeneration
    from transformers.utils import logging

    # oneDNN keeps a kernel for every shape that it has seen. Ours are of all lengths: few are ever found again, and
    # memory would grow for hours. It looks at this before its first kernel.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    on = device(run)
    torch.set_num_threads(run.threads)  # of what comes after listening, which has its own
    folder = resolve(asr.model, asr.revision)
    with loading("asr.model", asr.model):
        vocabulary = WhisperTokenizer.load(folder)
    vocabulary = replace(vocabulary, relatives=vocabulary.relatives_of(asr.whisper_language))
    precise = on == "cpu" or asr.compute_type == "float32"
    options: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "eager"}
    options["dtype"] = torch.float32 if precise else torch.float16
    model: Any = pretrained(WhisperForConditionalGeneration, "asr.model", asr.model, folder, **options)
    model = model.to(on).eval().requires_grad_(False)
    statistics = Statistics(models_loaded=1)
    engine: Engine
    if asr.engine == "torch":
        from llaso_data.whisper.torch import TorchEngine

        with loading("asr.model", asr.model):
            engine = TorchEngine(model, folder, vocabulary, statistics, asr.beam_size)
    else:
        from llaso_data.whisper.ctranslate2 import CTranslate2Engine

        model.model.encoder = torch.nn.Module()  # CTranslate2 encodes; free the memory of this one
        kind = compute_type(asr, on)
        with loading("asr.model", asr.model):
            made = converted(folder, kind)
        engine = CTranslate2Engine(
            made,
            folder,
            vocabulary,
            statistics,
            device=on,
            compute_type=kind,
            threads=run.threads,
            beam_size=asr.beam_size,
        )
    return Whisper(engine, Decoder(model, vocabulary, statistics), vocabulary, statistics, on, run.threads)


def converted(folder: str, kind: str) -> str:
    """The CTranslate2 form of a checkpoint, made by CTranslate2's own converter and kept in the cache."""

    def convert(target: Path) -> None:
        import ctranslate2.converters

        ctranslate2.converters.TransformersConverter(folder).convert(str(target), quantization=kind, force=True)

    return str(cached(f"ctranslate2/{weights_digest(folder)[:24]}-{kind}-{CONVERSION}", convert))
