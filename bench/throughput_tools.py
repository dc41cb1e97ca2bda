"""What people transcribe with today, and ours, each behind the same function, for ``bench/asr_throughput.py``."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from llaso_data import audio
from llaso_data.records import UNKNOWN

if TYPE_CHECKING:
    from llaso_data.pipeline.blocks import PlannedBlock

THREADS = 2
BATCH = 8
LANGUAGE = "en"
PARENT, SESSION = 1, 3

Precision = Literal["auto", "no bfloat16", "int8"]
PRECISIONS: dict[Precision, tuple[Any, Any]] = {  # observe.asr.compute_type and observe.align.compute_type
    "auto": ("auto", "auto"),
    "no bfloat16": ("int8_float32_encoder", "float32"),
    "int8": ("int8", "float32"),
}
Transcriber = Callable[[Sequence[str]], list[str]]
"""Paths of audio files to what was heard in each."""


def block_of(paths: Sequence[str], given: bool) -> PlannedBlock:
    """Audio files of one folder as a block of `build-align`, with their transcripts where these are given."""
    from llaso_data import formats
    from llaso_data.pipeline.blocks import PlannedBlock, block_name
    from llaso_data.recipe import SourceSpec

    spec = SourceSpec(path=str(Path(paths[0]).parent), language=LANGUAGE)
    inputs = tuple(item for item in formats.read(spec) if item.utterance.source.uri in set(paths))
    if not given:
        inputs = tuple(
            dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, text=None, text_origin=UNKNOWN))
            for item in inputs
        )
    return PlannedBlock(block_name(inputs, "bench"), inputs)


def cpu_s(pid: int, relation: int, ended: bool) -> float:
    """CPU seconds of the processes that belong to one.

    Args:
        pid: Of that one.
        relation: Where /proc/PID/stat says so, counted after the name: :data:`PARENT` or :data:`SESSION`.
        ended: Whether to count their own ended children.
    """
    ticks = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[relation]) == pid:
            ticks += sum(int(field) for field in fields[11 : 15 if ended else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def ours(model: str, out: str, given: bool = False, pack: bool = True, precision: Precision = "auto") -> Transcriber:
    from llaso_data.pipeline import commit
    from llaso_data.pipeline.observe import Observer, load_block
    from llaso_data.recipe import Align, Asr, Observe, Run

    asr, align = PRECISIONS[precision]
    settings = Observe(asr=Asr(model=model, compute_type=asr, pack=pack), align=Align(compute_type=align))
    observer = Observer(settings, Run(engine="local", device="cpu", threads=THREADS), out)

    def transcribe(paths: Sequence[str]) -> list[str]:
        block = block_of(paths, given)
        result = observer(load_block(block, settings, THREADS))
        heard: dict[str, list[tuple[float, str]]] = {path: [] for path in paths}
        alone = 0
        for one in commit.read_block(out, block.name):
            heard[one.source.uri].append((one.source.start_s or 0.0, one.hypothesis or ""))
            alone += one.decoding == "solo"
        windows = result.statistics.windows_encoded
        print(f"{len(paths)} recordings, {result.utterances} utterances: {windows} windows, {alone} heard alone")
        return [" ".join(text for _, text in sorted(heard[path])) for path in paths]

    return transcribe


def ours_given(model: str, out: str) -> Transcriber:
    return ours(model, out, given=True)


def ours_alone(model: str, out: str) -> Transcriber:
    return ours(model, out, pack=False)


def ours_without_bfloat16(model: str, out: str) -> Transcriber:
    return ours(model, out, precision="no bfloat16")


def ours_given_without_bfloat16(model: str, out: str) -> Transcriber:
    return ours(model, out, given=True, precision="no bfloat16")


def ours_int8(model: str, out: str) -> Transcriber:
    return ours(model, out, precision="int8")


def faster_whisper(model: str, out: str) -> Transcriber:
    whisper = _faster(model)

    def transcribe(paths: Sequence[str]) -> list[str]:
        found = (whisper.transcribe(path, language=LANGUAGE, beam_size=1, word_timestamps=True)[0] for path in paths)
        return [" ".join(segment.text for segment in segments) for segments in found]

    return transcribe


def faster_whisper_batched(model: str, out: str, words: bool = True) -> Transcriber:
    from faster_whisper import BatchedInferencePipeline

    pipeline = BatchedInferencePipeline(_faster(model))

    def transcribe(paths: Sequence[str]) -> list[str]:
        texts = []
        for path in paths:
            segments, _ = pipeline.transcribe(
                path, language=LANGUAGE, beam_size=1, word_timestamps=words, batch_size=BATCH
            )
            texts.append(" ".join(segment.text for segment in segments))
        return texts

    return transcribe


def faster_whisper_batched_no_words(model: str, out: str) -> Transcriber:
    return faster_whisper_batched(model, out, words=False)


def whisper_timestamped(model: str, out: str) -> Transcriber:
    import whisper_timestamped as peer
    from alignment_peers import openai_model

    whisper = _int8(openai_model(model))

    def transcribe(paths: Sequence[str]) -> list[str]:
        return [
            peer.transcribe_timestamped(whisper, _samples(path), language=LANGUAGE, verbose=None)["text"]
            for path in paths
        ]

    return transcribe


def transformers_pipeline(model: str, out: str) -> Transcriber:
    import torch
    from transformers import AutoProcessor, WhisperForConditionalGeneration, pipeline

    whisper = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")
    processor = AutoProcessor.from_pretrained(model)
    recognise: Any = pipeline(
        "automatic-speech-recognition",
        model=_int8(whisper),
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
        device="cpu",
    )

    def transcribe(paths: Sequence[str]) -> list[str]:
        texts = []
        for path in paths:  # many files at once took 14 GB
            sound = {"raw": _samples(path), "sampling_rate": audio.SAMPLE_RATE_HZ}
            found = recognise(sound, return_timestamps="word", chunk_length_s=30, batch_size=BATCH)
            texts.append(found["text"])
        return texts

    return transcribe


def _faster(model: str) -> Any:
    """faster-whisper over our own conversion, beside which it wants the tokenizer."""
    from faster_whisper import WhisperModel

    from llaso_data.whisper.load import ctranslate2_folder

    with tempfile.TemporaryDirectory() as folder:
        for path in (*Path(ctranslate2_folder(model, "int8")).iterdir(), Path(model, "tokenizer.json")):
            Path(folder, path.name).symlink_to(path.resolve())
        return WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=THREADS)


def _int8(module: Any) -> Any:
    """Linear layers in int8, by torch's dynamic quantization; subclasses of them too, which it passes over."""
    import torch

    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear) and type(child) is not torch.nn.Linear:
                plain = torch.nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
                plain.load_state_dict(child.state_dict())
                setattr(parent, name, plain)
    return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)


def _samples(path: str) -> npt.NDArray[np.float32]:
    pcm: npt.NDArray[np.float32] = audio.decode(path)[0].astype(np.float32) / 32768.0
    return pcm


@dataclass(frozen=True)
class Tool:
    name: str
    load: Callable[[str, str], Transcriber]
    corpora: tuple[str, ...] = ("short", "long")
    slow: bool = False
    needs: str = "faster_whisper"


BASE = Tool("faster-whisper, per file, words", faster_whisper)
TOOLS = (
    Tool("LLaSO", ours),
    Tool("LLaSO, no bfloat16", ours_without_bfloat16),
    Tool("LLaSO, all int8", ours_int8),
    Tool("LLaSO, transcripts given", ours_given, ("short",)),
    Tool("LLaSO, transcripts given, no bf16", ours_given_without_bfloat16, ("short",)),
    Tool("LLaSO, one clip per window", ours_alone, ("short",), slow=True),
    BASE,
    Tool("faster-whisper, batched, words", faster_whisper_batched),
    Tool("faster-whisper, batched, no words", faster_whisper_batched_no_words, ("long",)),
    Tool("whisper-timestamped", whisper_timestamped, slow=True, needs="whisper_timestamped"),
    Tool("transformers pipeline, words", transformers_pipeline, slow=True, needs="transformers"),
)
