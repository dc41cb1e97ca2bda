"""The shards of ``bench/learn.py``: English prompts with their transcripts, through the pipeline itself.

60 prompts are held out, the ones with the smallest hashes; no prompt of the same text is trained on. Their shards are
made without thresholds, so that all 60 are there. Further folders of speech with texts may be given to train on; their
texts are taken to be what is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fault_corpus import EXCLUDED

from llaso_data.demo import assets, weights
from llaso_data.text import normalize

HELD_OUT = 60
_LLASO_DATA = str(Path(sys.executable).with_name("llaso-data"))
_UNJUDGED = [
    *(f"judge.confidence.{name}_{end}=null" for name, end in (("avg_logprob", "min"), ("given_avg_logprob", "min"))),
    *(f"judge.confidence.{name}=null" for name in ("no_speech_prob_max", "compression_ratio_max", "language_prob_min")),
    *(f"judge.confidence.{name}=null" for name in ("chars_per_s_min", "chars_per_s_max", "border_db_max")),
    *(f"judge.consistency.{name}=null" for name in ("min_word_logprob_min", "eot_logprob_min", "llr_min")),
    *(f"judge.consistency.packed_{name}=null" for name in ("min_word_logprob_min", "eot_logprob_min", "llr_min")),
    *(f"judge.consistency.{name}=null" for name in ("surplus_max", "repetition_max")),
    "judge.duplicates.exact=false",
]


def make_sets(folder: Path, more: list[Path]) -> dict[str, Path]:
    """Shards ``train``, ``heldout`` and one set for each folder of ``more``, by name; what is there stays."""
    made = {name: _shards(folder, name) for name in ("train", "heldout", *(path.name for path in more))}
    if all(_whole(path) for path in made.values()):
        return made
    for name, names in split().items():
        _lay_out(folder / "prompts" / name, names)
    sources = {name: folder / "prompts" / name for name in ("train", "heldout")}
    sources |= {path.name: path for path in more}
    return {name: _sharded(source, folder, name) for name, source in sources.items()}


def split() -> dict[str, dict[str, str]]:
    """Name to text of the prompts that are trained on, and of those that are held out."""
    usable = {name: text for name, (_, text) in assets.english_prompts().items() if name not in EXCLUDED}
    held = set(assets.draw(sorted(usable), HELD_OUT, "held out"))
    spoken = {normalize(usable[name], "en") for name in held}
    train = {name: text for name, text in usable.items() if normalize(text, "en") not in spoken}
    return {"train": train, "heldout": {name: usable[name] for name in sorted(held)}}


def _lay_out(folder: Path, texts: dict[str, str]) -> None:
    prompts = assets.english_prompts()
    for name, text in texts.items():
        path = folder / f"{name}.g722"
        if path.exists():  # a new file's time would have it heard again
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(prompts[name][0], path)
        path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")


def _shards(folder: Path, name: str) -> Path:
    return folder / "shards" / name


def _whole(shards: Path) -> bool:
    return (shards / "manifest.json").exists()


def _sharded(source: Path, folder: Path, name: str) -> Path:
    align, shards = folder / "align" / name, _shards(folder, name)
    if _whole(shards):
        return shards
    settings = [] if name == "train" else _UNJUDGED
    command = [_LLASO_DATA, "build-align", str(source), "--out", str(align), "--engine", "local", "--language", "en"]
    command += ["--asr", str(weights.tiny_en()), "--set", "run.threads=2"]
    for one in settings:
        command += ["--set", one]
    _called(command)
    _called([_LLASO_DATA, "shard", str(align), "--out", str(shards), "--set", "shard.samples_per_shard=100"])
    return shards


def _called(command: list[str]) -> None:
    print(" ".join(command[:6]), flush=True)
    subprocess.run(command, check=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
