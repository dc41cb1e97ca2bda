"""Finding Whisper: a local folder or a Hugging Face id, its digest, and its CTranslate2 form (converted once)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llaso_data.asr.engine import Engine, Statistics, compute_type, device
from llaso_data.asr.forced import Decoder
from llaso_data.asr.vocabulary import Vocabulary
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.recipe import Asr, Run

CONVERSION = 1  # raised when the way of converting changes

_DECIDING = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"),
)  # beside the weights: what decides the text


@dataclass(frozen=True)
class Whisper:
    """One loaded Whisper: free decoding by the engine, teacher forcing by the torch decoder, one set of weights."""

    engine: Engine
    decoder: Decoder
    vocabulary: Vocabulary
    statistics: Statistics


def cache_folder() -> Path:
    """``$LLASO_CACHE``, else ``$XDG_CACHE_HOME/llaso``, else ``~/.cache/llaso``."""
    named = os.environ.get("LLASO_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llaso"


def resolve(model: str, revision: str | None) -> str:
    """The local folder of a checkpoint, downloaded from the hub where `model` is an id. Safetensors only."""
    folder = model if os.path.isdir(model) else _download(model, revision)
    if not os.path.exists(os.path.join(folder, "config.json")):
        raise LLaSOError(f"{model}: no config.json; asr.model must be a Whisper checkpoint in Hugging Face format")
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        kind = json.load(file).get("model_type")
    if kind != "whisper":
        raise LLaSOError(f"{model}: model_type is {kind!r}, not 'whisper'")
    if not weights(folder):
        raise LLaSOError(f"{model}: no *.safetensors; weights in pickle files are not loaded")
    return folder


def weights(folder: str) -> list[str]:
    """The weight files of a checkpoint, sorted. fp32 duplicates of other precisions are left out."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".safetensors"))
    main = [n for n in names if n == "model.safetensors" or n.startswith("model-0")]
    return [os.path.join(folder, name) for name in main or names]


def weights_digest(folder: str) -> str:
    """SHA-256 over the files that decide what the model says; remembered by size and time of change."""
    files = [
        *weights(folder),
        *(os.path.join(folder, name) for name in _DECIDING),
    ]
    state = hashlib.sha256()
    for path in files:
        if os.path.exists(path):
            state.update(os.path.basename(path).encode() + b"\0" + _file_digest(path).encode())
    return state.hexdigest()


def load(asr: Asr, run: Run) -> Whisper:
    """Load a Whisper once. Torch keeps the decoder only where CTranslate2 encodes."""
    import torch
    from transformers import WhisperForConditionalGeneration
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    on = device(run)
    torch.set_num_threads(run.threads)
    folder = resolve(asr.model, asr.revision)
    vocabulary = Vocabulary.load(folder)
    precise = on == "cpu" or asr.compute_type == "float32"
    model: Any = WhisperForConditionalGeneration.from_pretrained(
        folder, use_safetensors=True, attn_implementation="eager", dtype=torch.float32 if precise else torch.float16
    )
    model = model.to(on).eval().requires_grad_(False)
    statistics = Statistics(models_loaded=1)
    engine: Engine
    if asr.engine == "torch":
        from llaso_data.asr.torch import TorchEngine

        engine = TorchEngine(model, folder, vocabulary, statistics, asr.beam_size)
    else:
        from llaso_data.asr.ctranslate2 import CTranslate2Engine

        model.model.encoder = torch.nn.Module()  # CTranslate2 encodes; free the memory of this one
        kind = compute_type(asr, on)
        engine = CTranslate2Engine(
            converted(folder, kind),
            folder,
            vocabulary,
            statistics,
            device=on,
            compute_type=kind,
            threads=run.threads,
            beam_size=asr.beam_size,
        )
    return Whisper(engine, Decoder(model, vocabulary, statistics), vocabulary, statistics)


def converted(folder: str, kind: str) -> str:
    """The CTranslate2 form of a checkpoint, made by CTranslate2's own converter and kept in the cache."""
    target = cache_folder() / "ctranslate2" / f"{weights_digest(folder)[:24]}-{kind}-{CONVERSION}"
    if (target / "model.bin").exists():
        return str(target)
    import ctranslate2.converters

    target.parent.mkdir(parents=True, exist_ok=True)
    # Converted aside and renamed, so that a killed or a parallel conversion leaves nothing half-made.
    aside = tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        converter = ctranslate2.converters.TransformersConverter(folder)
        converter.convert(aside, quantization=kind, force=True)
        try:
            os.replace(aside, target)
        except OSError:
            if not (target / "model.bin").exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return str(target)


def _download(model: str, revision: str | None) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return str(snapshot_download(model, revision=revision, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise LLaSOError(
            f"asr.model: {model!r} is neither a local folder nor a model that the Hugging Face hub gives ({first}); "
            "pass --asr with a folder in Hugging Face format to work offline"
        ) from error


def _file_digest(path: str) -> str:
    """SHA-256 of a file, read again only when its size or time of change does."""
    real = os.path.realpath(path)
    info = os.stat(real)
    note = cache_folder() / "digests" / hashlib.sha256(real.encode()).hexdigest()[:32]
    stamp = f"{info.st_size}-{info.st_mtime_ns}"
    if note.exists():
        known = note.read_text().split()
        if len(known) == 2 and known[0] == stamp:
            return known[1]
    state = hashlib.sha256()
    with open(real, "rb") as file:
        while chunk := file.read(1 << 22):
            state.update(chunk)
    note.parent.mkdir(parents=True, exist_ok=True)
    aside = note.with_name(f".{note.name}-{os.getpid()}")
    aside.write_text(f"{stamp} {state.hexdigest()}")
    os.replace(aside, note)
    return state.hexdigest()
