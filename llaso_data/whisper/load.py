"""Loading Whisper once: the engine, the torch decoder, and the CTranslate2 form, which is converted once."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llaso_data.io.cache import cached
from llaso_data.io.hub import checkpoint, loading, pretrained, weights_digest
from llaso_data.recipe import Align, Asr, Run
from llaso_data.whisper.engine import (
    Engine,
    Statistics,
    resolve_align_compute_type,
    resolve_compute_type,
    resolve_device,
)
from llaso_data.whisper.teacher_forcing import Decoder
from llaso_data.whisper.tokenizer import WhisperTokenizer

CONVERSION_VERSION = 1  # raised when checkpoints are converted in another way


@dataclass(frozen=True)
class Whisper:
    """One loaded Whisper, of one set of weights.

    Attributes:
        engine: Encodes windows and decodes them freely.
        decoder: Scores texts by teacher forcing.
        vocabulary: The tokenizer of both.
        statistics: Counts the calls of both.
        device: ``cpu`` or ``cuda``.
        threads: How many threads may call it at once.
    """

    engine: Engine
    decoder: Decoder
    vocabulary: WhisperTokenizer
    statistics: Statistics
    device: str = "cpu"
    threads: int = 1


def checkpoint_folder(model: str, revision: str | None) -> str:
    """The local folder of a Whisper checkpoint, downloaded where ``model`` is an id.

    Raises:
        LLaSOError: There is no such model, or it is no Whisper.
    """
    return checkpoint("asr.model", model, revision, kind="whisper", name_it="pass --asr with")


def load(asr: Asr, run: Run, align: Align | None = None) -> Whisper:
    """Load a Whisper as the recipe says.

    With CTranslate2 its engine encodes and decodes freely, and torch keeps the decoder only, for teacher forcing.

    Args:
        asr: The recipe's section.
        run: Device and threads.
        align: The recipe's section; None: teacher forcing is in float32 on a CPU.

    Raises:
        LLaSOError: The model cannot be found or loaded, or the recipe asks for what it or this machine has not.
    """
    import torch
    from transformers import WhisperForConditionalGeneration
    from transformers.utils import logging

    # oneDNN keeps a kernel for every shape that it has seen. Clips are of all lengths, so few kernels are used again,
    # and memory would grow for hours. oneDNN reads this variable before its first kernel.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = resolve_device(run)
    torch.set_num_threads(run.threads)  # for what comes after transcription, whose threads use one each
    folder = checkpoint_folder(asr.model, asr.revision)
    with loading("asr.model", asr.model):
        vocabulary = WhisperTokenizer.load(folder)
    vocabulary = replace(vocabulary, related_languages=vocabulary.parse_related_languages(asr.whisper_language))
    full_precision = device == "cpu" or asr.compute_type == "float32"
    options: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "eager"}
    options["dtype"] = torch.float32 if full_precision else torch.float16
    model: Any = pretrained(WhisperForConditionalGeneration, "asr.model", asr.model, folder, **options)
    model = model.to(device).eval().requires_grad_(False)
    statistics = Statistics(models_loaded=1)
    engine: Engine
    if asr.engine == "torch":
        from llaso_data.whisper.torch import TorchEngine

        with loading("asr.model", asr.model):
            engine = TorchEngine(model, folder, vocabulary, statistics, asr.beam_size)
    else:
        from llaso_data.whisper.ctranslate2 import CTranslate2Engine

        model.model.encoder = torch.nn.Module()  # CTranslate2 encodes, so this encoder's memory is freed
        compute_type = resolve_compute_type(asr, device)
        with loading("asr.model", asr.model):
            converted = ctranslate2_folder(folder, compute_type)
        engine = CTranslate2Engine(
            converted,
            folder,
            vocabulary,
            statistics,
            device=device,
            compute_type=compute_type,
            threads=run.threads,
            beam_size=asr.beam_size,
        )
    decoder = Decoder(model, vocabulary, statistics, resolve_align_compute_type(align, device) if align else "float32")
    return Whisper(engine, decoder, vocabulary, statistics, device, run.threads)


def ctranslate2_folder(folder: str, compute_type: str) -> str:
    """The CTranslate2 form of the checkpoint in ``folder``, converted by CTranslate2 and kept in the cache."""

    def convert(target: Path) -> None:
        import ctranslate2.converters

        converter = ctranslate2.converters.TransformersConverter(folder)
        converter.convert(str(target), quantization=compute_type, force=True)

    return str(cached(f"ctranslate2/{weights_digest(folder)[:24]}-{compute_type}-{CONVERSION_VERSION}", convert))
