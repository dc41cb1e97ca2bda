"""Other aligners on the same Whisper weights, for ``bench/alignment.py``.

Each gives, for every word of an utterance's text, (start, end) in seconds or None where it did not find the word.
CTranslate2 and openai-whisper are given the text; whisper-timestamped has no way to be, so it transcribes, and its
words are matched to the text's.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo.exact import Truth
from llaso_data.text import is_spaced, normalize, word_spans
from llaso_data.whisper.load import Whisper, ctranslate2_folder
from llaso_data.whisper.torch import LogMel
from llaso_data.whisper.windows import WINDOW_SAMPLES

Times = list[tuple[float, float] | None]
Aligner = Callable[[Sequence[Truth]], list[Times]]
FRAME_S = 0.02


def peers(folder: str, whisper: Whisper, threads: int) -> dict[str, Aligner]:
    """Those that are installed; the others are named on the screen."""
    found: dict[str, Aligner] = {"CTranslate2 align": ctranslate2_align(folder, whisper, threads)}
    for name, module, make in (
        ("openai-whisper", "whisper", openai_whisper),
        ("whisper-timestamped", "whisper_timestamped", whisper_timestamped),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed, left out (pip install {name})")
        else:
            found[name] = make(folder, whisper)
    return found


def ctranslate2_align(folder: str, whisper: Whisper, threads: int) -> Aligner:
    import ctranslate2

    kind = "int8"
    model = ctranslate2.models.Whisper(
        ctranslate2_folder(folder, kind), device="cpu", compute_type=kind, intra_threads=threads
    )
    features = LogMel(folder, "cpu")

    def align(truths: Sequence[Truth]) -> list[Times]:
        found = []
        for truth in truths:
            tokens, places = whisper.vocabulary.bpe_tokens(truth.text)
            mel = ctranslate2.StorageView.from_array(np.ascontiguousarray(features([padded(truth.pcm)])))
            start = whisper.vocabulary.prompt(truth.language)[:-1]  # it adds <|notimestamps|> itself
            frames = -(-len(truth.pcm) // 160)
            (result,) = model.align(mel, start, [tokens], frames, median_filter_width=7)
            first: dict[int, int] = {}
            for token, frame in result.alignments:
                first.setdefault(token, frame)
            last = max(frame for _, frame in result.alignments)
            # One more than the tokens: where end of text begins.
            found.append(by_word(truth, places, [first.get(t, last) * FRAME_S for t in range(len(tokens) + 1)]))
        return found

    return align


def openai_whisper(folder: str, whisper: Whisper) -> Aligner:
    from whisper.audio import log_mel_spectrogram
    from whisper.timing import find_alignment
    from whisper.tokenizer import get_tokenizer

    model = openai_model(folder)

    def align(truths: Sequence[Truth]) -> list[Times]:
        found = []
        for truth in truths:
            tokenizer = get_tokenizer(model.is_multilingual, language=truth.language, task="transcribe")
            mel = log_mel_spectrogram(padded(truth.pcm).astype(np.float32) / 32768.0)
            tokens = tokenizer.encode(" " + truth.text)
            words = find_alignment(model, tokenizer, tokens, mel, -(-len(truth.pcm) // 160))
            found.append(matched(truth, [(word.word, word.start, word.end) for word in words]))
        return found

    return align


def whisper_timestamped(folder: str, whisper: Whisper) -> Aligner:
    import whisper_timestamped as peer

    model = openai_model(folder)

    def align(truths: Sequence[Truth]) -> list[Times]:
        found = []
        for truth in truths:
            heard = peer.transcribe_timestamped(
                model, truth.pcm.astype(np.float32) / 32768.0, language=truth.language, verbose=None
            )
            words = [word for segment in heard["segments"] for word in segment["words"]]
            found.append(matched(truth, [(word["text"], word["start"], word["end"]) for word in words]))
        return found

    return align


def openai_model(folder: str) -> Any:
    """openai-whisper's model with the weights of a checkpoint in Hugging Face format."""
    from safetensors.torch import load_file
    from whisper.model import ModelDimensions, Whisper

    config = json.loads((Path(folder) / "config.json").read_text())
    dims = ModelDimensions(
        n_mels=config["num_mel_bins"],
        n_audio_ctx=config["max_source_positions"],
        n_audio_state=config["d_model"],
        n_audio_head=config["encoder_attention_heads"],
        n_audio_layer=config["encoder_layers"],
        n_vocab=config["vocab_size"],
        n_text_ctx=config["max_target_positions"],
        n_text_state=config["d_model"],
        n_text_head=config["decoder_attention_heads"],
        n_text_layer=config["decoder_layers"],
    )
    renamed = {}
    for name, tensor in load_file(Path(folder) / "model.safetensors").items():
        for theirs, ours in NAMES:
            name = name.replace(theirs, ours)
        if name != "proj_out.weight":
            renamed[name] = tensor.float()
    model = Whisper(dims)
    model.load_state_dict(renamed)
    named = json.loads((Path(folder) / "generation_config.json").read_text())["alignment_heads"]
    mask = np.zeros((dims.n_text_layer, dims.n_text_head), dtype=bool)
    for layer, head in named:
        mask[layer, head] = True
    import torch

    model.register_buffer("alignment_heads", torch.from_numpy(mask).to_sparse(), persistent=False)
    return model.eval()


NAMES = (
    ("model.", ""),
    (".layers.", ".blocks."),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("self_attn_layer_norm", "attn_ln"),
    ("encoder_attn.", "cross_attn."),
    ("self_attn.", "attn."),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("final_layer_norm", "mlp_ln"),
    (".fc1.", ".mlp.0."),
    (".fc2.", ".mlp.2."),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
    ("embed_tokens", "token_embedding"),
    ("embed_positions.weight", "positional_embedding"),
    ("proj.out.weight", "proj_out.weight"),
)


def by_word(truth: Truth, places: list[int], starts: list[float]) -> Times:
    """Of every word of the text, where its first token starts and the token after its last; ``starts`` has one more."""
    spans = word_spans(truth.text, truth.language)
    owner = np.searchsorted([end for _, end in spans], places, side="right")
    times: Times = []
    for word in range(len(spans)):
        own = np.flatnonzero(owner == word)
        times.append((starts[own[0]], starts[own[-1] + 1]) if len(own) else None)
    return times


def matched(truth: Truth, heard: list[tuple[str, float, float]]) -> Times:
    """Times of the words of the text that stand in what was heard, by the edit distance's alignment."""
    spans = word_spans(truth.text, truth.language)
    if not is_spaced(truth.language):  # their words may hold several characters: the outer ones have known edges
        return _matched_characters(truth, heard)
    own = [normalize(truth.text[a:b], truth.language) for a, b in spans]
    theirs = [(normalize(word, truth.language), start, end) for word, start, end in heard]
    theirs = [word for word in theirs if word[0]]
    times: Times = [None] * len(spans)
    for block in Levenshtein.opcodes(own, [word[0] for word in theirs]):
        if block.tag == "equal":
            for i, j in zip(
                range(block.src_start, block.src_end), range(block.dest_start, block.dest_end), strict=True
            ):
                times[i] = (float(theirs[j][1]), float(theirs[j][2]))
    return times


def _matched_characters(truth: Truth, heard: list[tuple[str, float, float]]) -> Times:
    nan = float("nan")
    spans = word_spans(truth.text, truth.language)
    own = [truth.text[a] for a, _ in spans]
    theirs: list[tuple[str, float, float]] = []
    for word, start, end in heard:
        letters = [character for character in word if character.isalnum()]
        for n, letter in enumerate(letters):
            theirs.append((letter, start if n == 0 else nan, end if n == len(letters) - 1 else nan))
    times: Times = [None] * len(spans)
    for block in Levenshtein.opcodes(own, [letter for letter, _, _ in theirs]):
        if block.tag == "equal":
            for i, j in zip(
                range(block.src_start, block.src_end), range(block.dest_start, block.dest_end), strict=True
            ):
                times[i] = (theirs[j][1], theirs[j][2])
    return times


def padded(pcm: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    assert len(pcm) <= WINDOW_SAMPLES, f"{len(pcm) / SAMPLE_RATE_HZ:.1f} s are more than a window"
    return np.pad(pcm, (0, WINDOW_SAMPLES - len(pcm)))
