"""How far the first and the last word lie from the borders of whole clips, and of clips that are cut inside a word.

    .venv/bin/python bench/border_words.py --folder /tmp/border-words

``NEAR_S``, ``FAR_S`` and ``NO_WORD_DB`` of ``llaso_data/filters/border_level.py`` were chosen by what this prints. The
clips are those of the network's fit (``bench/border_fit.py``): no prompt, noise or room of them is in another
measurement. Whisper tiny.en transcribes them without a text, packed, in an order that keeps versions of a prompt apart,
and its words are aligned. Both errors are printed as the sound alone gives them, and with the words, at the default
limit and at limits that reject 2 and 5 in 100 of the whole clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import border_fit
import numpy as np
import soundfile

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo import weights
from llaso_data.filters.border_level import LIMIT_DB, BorderLevels, border_level, border_levels, word_gaps_s
from llaso_data.filters.planting import seeded
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.recipe import Recipe

VERSIONS = 4  # of each prompt, those that are trimmed to the sound included
ONE_IN = 2  # of their pieces
SIDES = {"start": 0, "end": 1}
SHARES = (5, 10, 25, 50, 75, 90, 95)
REJECTED = (0.02, 0.05)  # of whole clips


@dataclass(frozen=True)
class Heard:
    """A piece as it was observed."""

    cut: str  # whole, start or end
    is_loud: bool
    levels: BorderLevels
    gaps_s: tuple[float, float]


def write(folder: Path, music: Path) -> None:
    """The pieces as WAV, in an order that looks like chance; their names say what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for voice, path in border_fit.prompts():
        number = -1
        for named, cut, pcm in border_fit.versions(path, music) if voice == "en" else ():
            number += cut == "whole"
            if number >= VERSIONS:
                break
            draw = seeded("border-words", path.stem, path.parent.name, number, cut, len(pcm)).getrandbits(64)
            if cut == "pause" or named == "trimmed" or draw % ONE_IN:
                continue
            soundfile.write(folder / f"{draw:020}~{cut}~{named}.wav", pcm, SAMPLE_RATE_HZ)


def heard(folder: Path, out: str) -> Iterator[Heard]:
    """What Whisper heard words in."""
    recipe = {
        "sources": [{"path": str(folder), "language": "en"}],
        "observe": {"asr": {"model": str(weights.tiny_en())}},
        "judge": {"calibrate": "off"},
        "run": {"engine": "local"},
        "out": out,
    }
    build_align(Recipe.model_validate(recipe))
    for block in commit.manifest(out)["blocks"]:
        for one in commit.read_block(out, block):
            levels, gaps_s = border_levels(audio.decode(one.source.uri)[0]), word_gaps_s(one)
            if levels is not None and gaps_s is not None and (one.scores.no_speech_prob or 0.0) < 0.6:
                _, cut, named = Path(one.source.uri).stem.split("~")
                yield Heard(cut, "loud" in named, levels, gaps_s)


def report(found: Sequence[Heard]) -> None:
    print(f"| noise | pieces | words from the border, s: percentiles {', '.join(map(str, SHARES))} |\n|---|---|---|")
    for is_loud, same in groupby(sorted(found, key=lambda one: one.is_loud), key=lambda one: one.is_loud):
        some = list(same)
        for cut, side in SIDES.items():
            for kind in ("whole", cut):
                gaps_s = [one.gaps_s[side] for one in some if one.cut == kind]
                shares = " ".join(f"{gap:.2f}" for gap in np.percentile(gaps_s, SHARES))
                title = f"whole, at the {cut}" if kind == "whole" else f"cut at the {cut}"
                print(f"| {'loud' if is_loud else 'other'} | {len(gaps_s)} {title} | {shares} |")
        for title, levels in (
            ("the sound alone", [border_level(one.levels) for one in some]),
            ("with words", [border_level(one.levels, one.gaps_s) for one in some]),
        ):
            is_whole = np.array([one.cut == "whole" for one in some])
            whole, cut_db = np.array(levels)[is_whole], np.array(levels)[~is_whole]
            at = [f"{(cut_db > np.quantile(whole, 1 - share)).mean():.3f} at {share:g}" for share in REJECTED]
            print(
                f"| {'loud' if is_loud else 'other'} | {title} | whole rejected {(whole > LIMIT_DB).mean():.3f}, "
                f"cuts found {(cut_db > LIMIT_DB).mean():.3f}; {', '.join(at)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if not (args.folder / "written").exists():
        write(args.folder / "en", args.folder)
        (args.folder / "written").touch()
    report(list(heard(args.folder / "en", str(args.folder / "out"))))


if __name__ == "__main__":
    main()
