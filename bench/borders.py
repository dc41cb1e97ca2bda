"""What the rule of borders catches: every English prompt cut in its first and in its last word, and whole ones.

    .venv/bin/python bench/borders.py --folder /tmp/borders

The rule looks at the sound alone, so all prompts can be cut where ``bench/filters.py``, which listens to every clip,
takes a few. Where words start and end is asked of Whisper tiny.en once (kept in the folder). Printed are the share of
cut clips that are rejected and of whole prompts in five languages, with the limit the same for all, and relative to
what is usual in each language.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from faults import cut

from llaso_data import audio
from llaso_data.demo import assets, weights
from llaso_data.filters.borders import limits
from llaso_data.pipeline import commit
from llaso_data.pipeline.build import build_align
from llaso_data.pipeline.recipe import Confidence, Recipe
from llaso_data.records import Word

Levels = npt.NDArray[np.float64]


def words(folder: Path) -> dict[str, tuple[Word, ...]]:
    """The words of the English prompts with transcripts, by path."""
    out = str(folder / "align")
    recipe = {
        "sources": [{"path": str(assets.demo_corpus(600, 60).root / "en"), "language": "en"}],
        "observe": {"asr": {"model": str(weights.tiny_en()), "compute_type": "int8"}},
        "run": {"engine": "local"},
        "out": out,
    }
    build_align(Recipe.model_validate(recipe))
    return {
        one.source.uri: one.words for block in commit.manifest(out)["blocks"] for one in commit.read_part(out, block)
    }


def levels(sounds: list[audio.Pcm]) -> Levels:
    found = [audio.border_level(pcm) for pcm in sounds]
    return np.array([level for level in found if level is not None])


def whole(code: str) -> list[audio.Pcm]:
    folder = assets.prompts() / "usr/share/asterisk/sounds" / assets.VOICES[code].folder
    paths = [path for path in sorted(folder.rglob("*.g722")) if path.stat().st_size > assets.MIN_BYTES]
    return [audio.decode(str(path))[0] for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    english = {path: (audio.decode(path)[0], said) for path, said in words(args.folder).items()}
    cuts = {}
    for at_end in (False, True):
        pieces = [cut(path, pcm, said, at_end) for path, (pcm, said) in english.items()]
        cuts[at_end] = levels([piece for piece in pieces if piece is not None])
    clean = {"en": levels([pcm for pcm, _ in english.values()])}
    clean |= {code: levels(whole(code)) for code in ("es", "fr", "it", "ru")}
    print(f"cut at the start: {len(cuts[False])}, at the end: {len(cuts[True])}; whole prompts: "
          + ", ".join(f"{code} {len(found)}" for code, found in clean.items()))  # fmt: skip
    print("| limit | cut at the start | at the end | " + " | ".join(clean) + " |\n" + "|---" * (3 + len(clean)) + "|")
    for limit_db in (-27.0, -31.0, -35.0, -39.0):
        row(f"{limit_db:g} dB", cuts, clean, dict.fromkeys(clean, limit_db))
    known = Confidence()
    least, margin_db = known.border_db_max, known.border_margin_db
    assert least is not None
    usual = {code: limits(found, np.zeros(len(found), int), 1, margin_db)[0] for code, found in clean.items()}
    own = {code: max(least, float(level)) for code, level in usual.items()}
    row(f"the defaults ({', '.join(f'{code} {level:.0f}' for code, level in own.items())})", cuts, clean, own)


def row(title: str, cuts: dict[bool, Levels], clean: dict[str, Levels], limit_db: dict[str, float]) -> None:
    caught = [f"{(cuts[at_end] > limit_db['en']).mean():.3f}" for at_end in (False, True)]
    alarms = [f"{(found > limit_db[code]).mean():.3f}" for code, found in clean.items()]
    print(f"| {title} | {' | '.join(caught)} | {' | '.join(alarms)} |")


if __name__ == "__main__":
    main()
