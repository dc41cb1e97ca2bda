"""Loading Whisper once: the engine, the torch decoder, and the forms for other engines, which are converted once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llaso_data.io.cache import cached
from llaso_data.io.hub import checkpoint, loading, pretrained, weights_digest
from llaso_data.recipe import Align, Asr, Run
from llaso_data.whisper.engine import (
    Engine,
    Statistics,
    check_compute_types,
    decodes_greedily,
    own_instructions,
    resolve_align_compute_type,
    resolve_compute_type,
    resolve_device,
)
from llaso_data.whisper.teacher_forcing import Decoder
from llaso_data.whisper.tokenizer import WhisperTokenizer

if TYPE_CHECKING:
    from llaso_data.whisper.openvino import OpenVINOEncoder

CONVERSION_VERSION = 1  # raised when checkpoints are converted in another way
_OPENVINO_ENCODERS = {  # compute type: whether it is bfloat16, and whether its linear layers are int8
    "bfloat16_encoder": (True, False),
    "float32_encoder": (False, False),
    "int8_bfloat16_encoder": (True, True),
    "int8_float32_encoder": (False, True),
}
_BESIDE_OPENVINO = "int8"  # in which CTranslate2 decodes with several beams what OpenVINO encodes


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

    Where CTranslate2 or OpenVINO encodes, torch keeps the decoder only: for teacher forcing, and beside OpenVINO for
    greedy decoding.

    Args:
        asr: The recipe's section.
        run: Device and threads.
        align: The recipe's section; None: the decoder is in bfloat16 where the encoder is, else in float32.

    Raises:
        LLaSOError: The model cannot be found or loaded, or the recipe asks for what it or this machine has not.
    """
    import torch
    from transformers import WhisperForConditionalGeneration
    from transformers.utils import logging

    from llaso_data.whisper.linear import limit_kernels

    limit_kernels()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = resolve_device(run)
    instructions = own_instructions()
    compute_type = resolve_compute_type(asr, device, instructions)
    greedy = decodes_greedily(asr, compute_type)
    forced: Literal["float32", "bfloat16"] = "bfloat16" if greedy and "bfloat16" in compute_type else "float32"
    if align:
        forced = resolve_align_compute_type(align, device, instructions)
    check_compute_types(asr, compute_type, forced, device)
    torch.set_num_threads(run.threads)  # for what comes after transcription, whose threads use one each
    folder = checkpoint_folder(asr.model, asr.revision)
    with loading("asr.model", asr.model):
        vocabulary = WhisperTokenizer.load(folder)
    vocabulary = replace(vocabulary, related_languages=vocabulary.parse_related_languages(asr.whisper_language))
    options: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "eager"}
    if asr.engine == "torch":
        options["dtype"] = getattr(torch, compute_type)
    else:
        full_precision = device == "cpu" or compute_type == "float32"
        options["dtype"] = torch.float32 if full_precision else torch.float16
    model: Any = pretrained(WhisperForConditionalGeneration, "asr.model", asr.model, folder, **options)
    model = model.to(device).eval().requires_grad_(False)
    statistics = Statistics(models_loaded=1)
    encoder = None
    with loading("asr.model", asr.model):
        if asr.engine != "torch":
            if compute_type in _OPENVINO_ENCODERS:
                encoder = _openvino_encoder(model.model.encoder, folder, compute_type, run.threads)
                compute_type = _BESIDE_OPENVINO
            model.model.encoder = torch.nn.Module()  # another one encodes, so this encoder's memory is freed
        decoder = Decoder(model, vocabulary, statistics, forced, decodes=greedy)
        engine: Engine
        if asr.engine == "torch":
            from llaso_data.whisper.torch import TorchEngine

            engine = TorchEngine(model, folder, vocabulary, statistics, asr.beam_size)
        elif encoder is not None and greedy:
            from llaso_data.whisper.openvino import OpenVINOEngine

            engine = OpenVINOEngine(encoder, folder, decoder)
        else:
            from llaso_data.whisper.ctranslate2 import CTranslate2Engine

            engine = CTranslate2Engine(
                ctranslate2_folder(folder, compute_type, encodes=encoder is None),
                folder,
                vocabulary,
                statistics,
                device=device,
                compute_type=compute_type,
                threads=run.threads,
                beam_size=asr.beam_size,
                encoder=encoder,
            )
    return Whisper(engine, decoder, vocabulary, statistics, device, run.threads)


def _openvino_encoder(encoder: Any, folder: str, compute_type: str, threads: int) -> OpenVINOEncoder:
    """The encoder of the checkpoint in ``folder``; its graph is written once and kept in the cache."""
    from llaso_data.whisper.openvino import OpenVINOEncoder, write_graph

    name = "encoder.xml"
    bfloat16, int8 = _OPENVINO_ENCODERS[compute_type]
    graph = cached(
        f"openvino/{weights_digest(folder)[:24]}-{'int8-' if int8 else ''}{CONVERSION_VERSION}",
        lambda target: write_graph(encoder, target / name, int8),
    )
    return OpenVINOEncoder(graph / name, bfloat16=bfloat16, threads=threads)


def ctranslate2_folder(folder: str, compute_type: str, encodes: bool = True) -> str:
    """The CTranslate2 form of the checkpoint in ``folder``, converted by CTranslate2 and kept in the cache.

    Args:
        folder: The checkpoint in Hugging Face format.
        compute_type: CTranslate2's.
        encodes: Whether the form encodes, too. One that only decodes is smaller in memory.
    """

    def convert(target: Path) -> None:
        import ctranslate2.converters

        with nullcontext(folder) if encodes else _almost_without_encoder(folder) as source:
            converter = ctranslate2.converters.TransformersConverter(source)
            converter.convert(str(target), quantization=compute_type, force=True)

    kind = compute_type if encodes else f"{compute_type}-decoder"
    return str(cached(f"ctranslate2/{weights_digest(folder)[:24]}-{kind}-{CONVERSION_VERSION}", convert))


@contextmanager
def _almost_without_encoder(folder: str) -> Iterator[str]:
    """The same checkpoint with an encoder of one layer, the fewest that CTranslate2 loads."""
    from transformers import WhisperConfig

    with tempfile.TemporaryDirectory() as smaller:
        for path in Path(folder).iterdir():
            Path(smaller, path.name).symlink_to(path.resolve())
        Path(smaller, "config.json").unlink()
        config = WhisperConfig.from_pretrained(folder)
        config.encoder_layers = 1
        config.save_pretrained(smaller)
        yield smaller
