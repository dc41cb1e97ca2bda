"""Real clips as shards, and a small model with random weights, for the tests of training."""

from __future__ import annotations

import functools
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import LlamaConfig, WhisperConfig, WhisperFeatureExtractor

from llaso_data import audio
from llaso_data.demo import weights
from llaso_data.instruct import asr
from llaso_data.records import digest
from llaso_data.shards import layout, manifest, writer
from llaso_data.shards.layout import EncodedSample
from llaso_model.configuration import LLaSOConfig
from llaso_model.encoders.resnet import ResNetEncoderConfig
from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
from llaso_model.processing import LLaSOProcessor
from llaso_model.train.build import save_model
from tests.conftest import Clip, obtained

WHISPER = WhisperConfig(
    d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, decoder_layers=1, num_mel_bins=80
)
RESNET = ResNetEncoderConfig(widths=[32, 32, 48, 48], groups=4, pool_heads=4, pool=3)
ENCODERS = {"whisper": WHISPER, "resnet": RESNET}
TOKENS = 4096


def write_speech(out: Path, clips: Sequence[Clip], per_shard: int = 4, longest_s: float = 6.0, texts: int = 0) -> None:
    """The clips' first seconds with their texts; words have even shares of the time. Then questions without speech."""
    speech = [_sample(clip, number, longest_s) for number, clip in enumerate(clips)]
    _write(out, [*speech, *_questions(texts)], per_shard)


def write_texts(out: Path, count: int = 12) -> None:
    """Questions and answers without speech."""
    _write(out, _questions(count), 4)


def _questions(count: int) -> list[EncodedSample]:
    samples = []
    for number in range(count):
        asked, said = f"What comes after {number}?", f"After {number} comes {number + 1}."
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in (("user", asked), ("assistant", said))
        ]
        key = layout.sample_key([], "arithmetic", messages)
        content = layout.canonical({"key": key, "task": "arithmetic", "messages": messages, "audios": []})
        samples.append(
            EncodedSample(
                key=key,
                parts={"json": content},
                duration_s=0.0,
                text_bytes=len(asked + said),
                task="arithmetic",
                language="en",
                modality="text",
            )
        )
    return samples


def _write(out: Path, samples: Sequence[EncodedSample], per_shard: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    infos = []
    for number, first in enumerate(range(0, len(samples), per_shard)):
        name = layout.shard_name(number)
        part = sorted(samples[first : first + per_shard], key=lambda sample: sample.key)
        info = writer.write(str(out), name, part, digest=str(number), dataset="set")
        infos.append((str(out / layout.sidecar_name(name)), info))
    plan = digest(*(sample.key for sample in samples))
    manifest.finish(str(out), infos, profile=manifest.LLASO, plan=plan, options=None, source=None)


def small_model(tokenizer: Any, encoder: str = "whisper", fusion: str = "splice") -> tuple[Any, LLaSOProcessor]:
    """A small model with random weights, the same each time, and its processor."""
    audio_config = ENCODERS[encoder]
    processor = LLaSOProcessor(
        WhisperFeatureExtractor(), tokenizer, stack=4, encoder=audio_config.to_dict(), fusion=fusion
    )
    text = small_llama(processor.tokenizer)
    torch.manual_seed(0)
    config = LLaSOConfig(
        audio_config=audio_config,
        text_config=text,
        stack=4,
        audio_token_id=processor.audio_token_id,
        fusion=fusion,
        cross_attention_every=1,
    )
    return LLaSOForConditionalGeneration(config), processor


def write_model(folder: Path, tokenizer: Any, encoder: str = "whisper", fusion: str = "splice") -> None:
    """A small model, as a folder to start from."""
    save_model(folder, *small_model(tokenizer, encoder, fusion))


def made_model(folder: Path, fusion: str = "splice") -> Path:
    """A small model with random weights and the small tokenizer, in a folder of its own."""
    write_model(folder / "model", small_tokenizer(), fusion=fusion)
    return folder / "model"


def small_tokenizer() -> Any:
    """SmolLM2's tokenizer with its first tokens only; the 45,000 others would take most of a small model's time."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        _write_small_tokenizer(Path(folder))
        return AutoTokenizer.from_pretrained(folder)


def _write_small_tokenizer(folder: Path) -> None:
    source = obtained(weights.smollm2)
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(source / name, folder / name)
    whole = _tokenizer_file(source)
    vocabulary = {token: number for token, number in whole["model"]["vocab"].items() if number < TOKENS}
    merges = [pair for pair in whole["model"]["merges"] if "".join(pair) in vocabulary]
    small = {**whole, "model": {**whole["model"], "vocab": vocabulary, "merges": merges}}
    (folder / "tokenizer.json").write_text(json.dumps(small), encoding="utf-8")


@functools.cache
def _tokenizer_file(folder: Path) -> Any:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def small_llama(tokenizer: Any, layers: int = 2) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _sample(clip: Clip, number: int, longest_s: float) -> EncodedSample:
    pcm = audio.decode(str(clip.path))[0][: round(longest_s * audio.SAMPLE_RATE_HZ)]
    file = io.BytesIO()
    soundfile.write(file, pcm, audio.SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    length_s = len(pcm) / audio.SAMPLE_RATE_HZ
    words = clip.text.split()[: round(2.5 * length_s) + 1]
    edges = np.linspace(0, length_s, len(words) + 1).round(3).tolist()
    spoken = [
        {"text": word, "start_s": first, "end_s": last, "logprob": None}
        for word, first, last in zip(words, edges[:-1], edges[1:], strict=True)
    ]
    task = ("asr", "dictation")[number % 2]
    messages = layout.messages_json(asr.conversation("Transcribe.", " ".join(words)), ["flac"])
    key = layout.sample_key([str(number)], task, messages)
    described = {"part": "flac", "text": " ".join(words), "language": clip.language, "words": spoken}
    content = {"key": key, "task": task, "messages": messages, "audios": [described]}
    return EncodedSample(
        key=key,
        parts={"flac": file.getvalue(), "json": layout.canonical(content)},
        duration_s=length_s,
        text_bytes=len(clip.text),
        task=task,
        language=clip.language,
        modality="text+audio",
    )
