"""Both engines of Whisper: the same text from the same weights, in the shapes of large-v3 and turbo too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llaso_data.align.backward import score_backward
from llaso_data.errors import LLaSOError
from llaso_data.io.hub import weights, weights_digest
from llaso_data.recipe import Align, Asr, Run
from llaso_data.text import wer
from llaso_data.whisper.clips import Clip
from llaso_data.whisper.engine import MAX_NEW_TOKENS, has_bfloat16
from llaso_data.whisper.load import Whisper, checkpoint_folder, ctranslate2_folder, load
from tests import conftest
from tests.support.asr_fixtures import encoded, named, pcm, whisper

Engine = Literal["ctranslate2", "torch"]
ENGINES: tuple[Engine, ...] = ("ctranslate2", "torch")
WIDTH = 64
YUE = 50_358  # large-v3's id of its hundredth language; what follows is one further on than in base


@pytest.fixture(scope="module", params=["large-v3", pytest.param("turbo", marks=pytest.mark.slow)])
def small(request: pytest.FixtureRequest, whisper_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights: 128 mel bins, 100 languages; turbo's decoder has fewer layers."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder = tmp_path_factory.mktemp(request.param)
    special: dict[str, int] = large_v3_tokens(whisper_base, folder)
    config = WhisperConfig(
        vocab_size=51_866,
        num_mel_bins=128,
        d_model=WIDTH,
        encoder_layers=4 if request.param == "turbo" else 2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        pad_token_id=special["<|endoftext|>"],
        bos_token_id=special["<|endoftext|>"],
        eos_token_id=special["<|endoftext|>"],
        decoder_start_token_id=special["<|startoftranscript|>"],
    )
    torch.manual_seed(0)
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    large_v3_generation(whisper_base, folder, special)
    features = json.loads((whisper_base / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "feature_size": 128}))
    return folder


def large_v3_tokens(source: Path, folder: Path) -> dict[str, int]:
    """base's tokenizer with <|yue|> where large-v3 has it; the special tokens' ids."""
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(source / name, folder)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    added: list[dict[str, Any]] = tokenizer["added_tokens"]
    for token in added:
        token["id"] += token["id"] >= YUE
    added.insert([token["id"] for token in added].index(YUE - 1) + 1, {**added[0], "id": YUE, "content": "<|yue|>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["additional_special_tokens"].append("<|yue|>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return {token["content"]: token["id"] for token in added}


def large_v3_generation(source: Path, folder: Path, special: dict[str, int]) -> None:
    config = json.loads((source / "generation_config.json").read_text())
    config["lang_to_id"]["<|yue|>"] = YUE
    config["task_to_id"] = {task: special[f"<|{task}|>"] for task in ("transcribe", "translate")}
    config["no_timestamps_token_id"] = special["<|notimestamps|>"]
    config["suppress_tokens"] = [token + (token >= YUE) for token in config["suppress_tokens"]]
    (folder / "generation_config.json").write_text(json.dumps(config))


KINDS: tuple[Literal["float32_encoder", "int8"], ...] = ("float32_encoder", "int8")


def loaded(folder: Path, engine: Engine) -> Whisper:
    return load(Asr(model=str(folder), engine=engine, compute_type="float32"), Run(device="cpu"))


def chirp(seconds: float) -> NDArray[np.int16]:
    t = np.arange(int(seconds * 16_000)) / 16_000
    return (8_000 * np.sin(2 * np.pi * (200 + 400 * t) * t)).astype(np.int16)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_shapes_of_large_v3_and_turbo(
    small: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path))
    model = loaded(small, engine)
    assert len(model.vocabulary.languages) == 100 and model.vocabulary.supports("yue")
    assert model.vocabulary.prompt("yue")[1] == YUE
    states_BSW = encoded(model, [chirp(3.0)])
    assert states_BSW.shape == (1, 1_500, WIDTH) and states_BSW.dtype == torch.float32
    assert bool(states_BSW.isfinite().all())
    (decoded,) = model.engine.decode(states_BSW, ["yue"])
    assert decoded.tokens and all(token < model.vocabulary.end for token in decoded.tokens)
    assert 0.0 <= decoded.no_speech_prob <= 1.0
    (state,) = model.decoder.cache_cross_attention(states_BSW)
    assert model.decoder.language_probs([state[:150], state]).shape == (2, 100)
    (found,) = score_backward(model.decoder, [Clip(chirp(3.0), state[:150], state, "你好，世界。", "yue")], Align())
    assert "".join(word.text for word in found.words) == "你好，世界。"
    statistics = model.statistics
    assert (statistics.models_loaded, statistics.windows_encoded, statistics.windows_decoded) == (1, 1, 1)
    assert statistics.tokens_decoded == len(decoded.tokens) and statistics.passes_forced == 3


def test_both_engines_encode_and_decode_alike(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path))
    ours, theirs = loaded(small, "ctranslate2"), loaded(small, "torch")
    audio_of = [chirp(7.0), np.zeros(100, dtype=np.int16)]
    ours_BSD, theirs_BSD = encoded(ours, audio_of), encoded(theirs, audio_of)
    assert float((ours_BSD - theirs_BSD).abs().max()) < 1e-3
    ours_heard = ours.engine.decode(ours_BSD[:1], ["en"])
    for a, b in zip(ours_heard, theirs.engine.decode(theirs_BSD[:1], ["en"]), strict=True):
        assert a.no_speech_prob == pytest.approx(b.no_speech_prob, rel=0.01)
        assert a.tokens[:20] == b.tokens[:20]
        # Weights that know no end of text fill the positions that the prompt leaves, whichever the engine.
        assert len(a.tokens) == len(b.tokens) == MAX_NEW_TOKENS


def test_openvino_encodes_what_torch_encodes_in_any_thread(tiny_en: Path, clips: list[conftest.Clip]) -> None:
    audio_of = [pcm(clip.path) for clip in named(clips, "en/hello_world")]
    exact = encoded(whisper(tiny_en, "torch"), audio_of)
    model = load(Asr(model=str(tiny_en), compute_type="float32_encoder"), Run(device="cpu", threads=2))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: encoded(model, audio_of), range(2)))
    assert torch.equal(*both)
    assert float((both[0] - exact).abs().max()) < 1e-3
    assert model.decoder.greedy is not None


def test_ctranslate2_decodes_with_beams_what_openvino_encodes(tiny_en: Path, clips: list[conftest.Clip]) -> None:
    exact = encoded(whisper(tiny_en, "torch"), [pcm(clip.path) for clip in named(clips, "en/hello_world")])
    heard = [
        load(Asr(model=str(tiny_en), compute_type=kind, beam_size=2), Run(device="cpu", threads=1)).engine.decode(
            exact, ["en"]
        )
        for kind in KINDS
    ]
    assert heard[0] == heard[1]  # the first was loaded without CTranslate2's encoder


@pytest.mark.parametrize(
    ("compute_type", "least"),
    [("int8_float32_encoder", 0.998)]
    + [("bfloat16_encoder", 0.9995), ("int8_bfloat16_encoder", 0.998)] * has_bfloat16(),
)
def test_an_encoder_of_lower_precision_is_near_the_exact_one(
    tiny_en: Path, clips: list[conftest.Clip], compute_type: Any, least: float
) -> None:
    (clip,) = named(clips, "en/hello_world")
    exact = encoded(whisper(tiny_en, "torch"), [pcm(clip.path)])
    model = load(Asr(model=str(tiny_en), compute_type=compute_type), Run(device="cpu", threads=1))
    near = encoded(model, [pcm(clip.path)])
    assert not torch.equal(near, exact) and near.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(near.flatten(), exact.flatten(), dim=0)) > least
    (heard,) = model.engine.decode(near, ["en"])
    assert wer(clip.text, model.vocabulary.text(heard.tokens), "en") == 0.0


@pytest.mark.parametrize(
    ("engine", "compute_type"),
    [("ctranslate2", "float16"), ("torch", "int8"), ("torch", "float32_encoder")]
    + [("ctranslate2", "bfloat16_encoder"), ("ctranslate2", "int8_bfloat16_encoder")] * (not has_bfloat16()),
)
def test_a_precision_that_this_machine_lacks_is_refused_by_name(
    tiny_en: Path, engine: Engine, compute_type: Any
) -> None:
    with pytest.raises(LLaSOError, match=rf"^observe\.asr\.compute_type: {compute_type}: the processor of .* float32"):
        load(Asr(model=str(tiny_en), engine=engine, compute_type=compute_type), Run(device="cpu"))


@pytest.mark.parametrize(
    "names",
    [
        ("en/hello_world",),
        pytest.param(("en/hello_world", "en/quick_brown_fox"), marks=pytest.mark.slow),
        pytest.param(("en/hello_world", "en/quick_brown_fox", "en/counting"), marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_both_engines_hear_the_same_in_real_clips(
    tiny_en: Path, clips: list[conftest.Clip], names: tuple[str, ...]
) -> None:
    chosen = named(clips, *names)
    heard = []
    for engine in ENGINES:
        model = whisper(tiny_en, engine)
        found = model.engine.decode(encoded(model, [pcm(clip.path) for clip in chosen]), ["en"] * len(chosen))
        assert all(decoded.no_speech_prob < 0.5 for decoded in found)
        heard.append([model.vocabulary.text(decoded.tokens) for decoded in found])
    assert heard[0] == heard[1]
    for clip, text in list(zip(chosen, heard[0], strict=True))[:2]:  # tiny.en writes the numbers in figures
        assert wer(clip.text, text, "en") == 0.0


def test_silence_is_no_speech_to_either_engine(whisper_base: Path) -> None:
    model = whisper(whisper_base)
    (decoded,) = model.engine.decode(encoded(model, [np.zeros(16_000, dtype=np.int16)]), ["en"])
    assert decoded.no_speech_prob > 0.5


def test_a_conversion_is_made_once_and_kept(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path))
    first = ctranslate2_folder(str(small), "float32")
    assert Path(first).is_relative_to(tmp_path)
    made = os.stat(f"{first}/model.bin").st_mtime_ns
    assert ctranslate2_folder(str(small), "float32") == first and os.stat(f"{first}/model.bin").st_mtime_ns == made
    assert ctranslate2_folder(str(small), "int8") != first
    assert not [name for name in os.listdir(tmp_path / "ctranslate2") if name.endswith(".tmp")]  # locks stay


def test_the_digest_is_that_of_the_contents(
    whisper_base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    names = ("config.json", "generation_config.json", "tokenizer.json", "merges.txt")
    for name in names:
        shutil.copy(whisper_base / name, folder)
    (folder / "model.safetensors").write_bytes(b"weights")
    shutil.copytree(folder, tmp_path / "copy")
    before = weights_digest(str(folder))
    assert weights_digest(str(tmp_path / "copy")) == before == weights_digest(str(folder))
    (folder / "README.md").write_text("of no consequence")
    assert weights_digest(str(folder)) == before
    seen = {before}
    for name in ("model.safetensors", *names):
        with (folder / name).open("ab") as file:
            file.write(b" ")
        seen.add(weights_digest(str(folder)))
    assert len(seen) == 1 + 1 + len(names)


def test_other_precisions_of_the_same_weights_are_left_out(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.fp32-00001-of-00002.safetensors", "flax_model.msgpack"):
        (tmp_path / name).touch()
    assert weights(str(tmp_path)) == [str(tmp_path / "model.safetensors")]
    (tmp_path / "model.safetensors").unlink()
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).touch()
    assert [Path(name).name[:11] for name in weights(str(tmp_path))] == ["model-00001", "model-00002"]


def test_weights_in_pickle_files_are_refused(whisper_base: Path, tmp_path: Path) -> None:
    shutil.copy(whisper_base / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(LLaSOError, match=r"no \*\.safetensors; weights in pickle files are not loaded"):
        checkpoint_folder(str(tmp_path), None)


def test_a_folder_that_is_no_whisper_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"asr\.model: .* has no config\.json; it must be in Hugging Face format"):
        checkpoint_folder(str(tmp_path), None)
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    with pytest.raises(LLaSOError, match="model_type is 'wav2vec2', not 'whisper'"):
        checkpoint_folder(str(tmp_path), None)


@pytest.mark.parametrize("model", ["openai/whisper-large-v3", "no/such/place"])
def test_offline_an_id_is_an_error_that_says_what_to_do(model: str, tmp_path: Path) -> None:
    code = (
        "from llaso_data.whisper.load import checkpoint_folder; from llaso_data.errors import LLaSOError\n"
        f"try: checkpoint_folder({model!r}, None)\n"
        "except LLaSOError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"asr.model: {model!r} is neither a local folder nor a model" in done.stdout
    assert "pass --asr with a folder in Hugging Face format to work offline" in done.stdout


def test_cuda_where_there_is_none_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(LLaSOError, match="cuda was asked for, but torch sees no CUDA device"):
        load(Asr(model="unused"), Run(device="cuda"))
