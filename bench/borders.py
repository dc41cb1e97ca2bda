"""The rule on borders, both of its errors: whole clips that it rejects, and clips cut inside a word that it finds.

    .venv/bin/python bench/borders.py --folder /tmp/borders

120 English prompts in every condition of ``bench/border_conditions.py``: whole, cut inside the first word, and cut
inside the last. The rule looks at the sound alone; where words start and end is asked of Whisper tiny.en once, of the
clean prompts (kept in the folder). Then other voices, of which the clips of pytest-audioeval are in no fit: as they
were recorded, and in some of the conditions, whole and cut inside a drawn vowel. At last readings in rooms that are no
studio. ``before`` is the rule as it was: a weighted sum of six measurements. ``--fit`` fits the network of
``llaso_data/filters/border_level.py`` first (``bench/border_fit.py``), and writes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import border_conditions
import border_fit
import numpy as np
from border_conditions import CONDITIONS, MUSIC, ROOMS_S, TRIMMED, Piece, in_condition, music_on_hold, pieces
from border_fit import OTHER_VOICES, VOICE_PROMPTS, drawn_order, voice_files, vowel_place
from debian import unpacked

from llaso_data import audio
from llaso_data.audio import Pcm
from llaso_data.demo import assets, weights
from llaso_data.filters import border_level as rule
from llaso_data.filters.border_evidence import MEASURED, evidence
from llaso_data.filters.planting import seeded
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.recipe import Confidence, Recipe
from llaso_data.records import Word

PROMPTS = VOICE_PROMPTS
SURROUNDINGS = ("clean", "pink 10", "babble 20", f"room {ROOMS_S[-1]}", f"shoebox {ROOMS_S[-1]}", "telephone")
"""The conditions of the other voices."""


def words(folder: Path) -> dict[Path, tuple[Word, ...]]:
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
        Path(one.source.uri): one.words
        for block in commit.manifest(out)["blocks"]
        for one in commit.read_block(out, block)
    }


def english(folder: Path) -> Iterator[Piece]:
    """The measured English prompts in every condition."""
    said = words(folder)
    paths = drawn_order(border_fit.english_files())
    prompts = {path: audio.decode(str(path))[0] for path in paths[border_fit.BENCH_PROMPTS]}
    voices, music = talkers(), music_on_hold(folder)
    for condition in (*CONDITIONS, TRIMMED):
        others = music if condition.startswith(MUSIC) else voices
        for path, pcm in prompts.items():
            yield from pieces(condition, path.stem, pcm, said.get(path, ()), others)


def talkers() -> list[Pcm]:
    """Whose voices are the babble."""
    paths = drawn_order(border_fit.english_files())[2 * PROMPTS : 2 * PROMPTS + 100]
    return [audio.decode(str(path))[0] for path in paths]


def other_voices() -> Iterator[Piece]:
    """Prompts in other languages that nothing was fitted on, and the clips of the test plugin."""
    files = {code: voice_files(code)[PROMPTS : 2 * PROMPTS] for code in OTHER_VOICES}
    files["clips"] = sorted(assets.clips().glob("*/*.wav"))
    others = talkers()
    for code, paths in files.items():
        for path in paths:
            pcm = audio.decode(str(path))[0]
            yield Piece(f"{code}, as recorded", path.stem, "whole", False, pcm)
            for condition in SURROUNDINGS:
                rng = np.random.default_rng(seeded("voice", condition, code, path.stem).getrandbits(64))
                heard = pcm if condition == "clean" else in_condition(condition, pcm, rng, others)
                yield Piece(f"{code}, altered", path.stem, "whole", False, heard)
                for cut in ("start", "end"):
                    place = vowel_place(pcm, rng)
                    if place is not None:
                        part = heard[place:] if cut == "start" else heard[:place]
                        yield Piece(f"{code}, altered", path.stem, cut, True, part)


def readings(folder: Path) -> list[Piece]:
    """Whole recordings of rooms that are no studio: of Debian's pocketsphinx-testdata, five of them from LibriVox."""
    found = []
    for path in sorted(unpacked("pocketsphinx-testdata", folder).rglob("*")):
        if path.suffix in (".wav", ".raw"):
            pcm = np.fromfile(path, "<i2") if path.suffix == ".raw" else audio.decode(str(path))[0]
            found.append(Piece("readings", path.stem, "whole", False, pcm))
    return found


def before(pcm: Pcm) -> float:
    """The level by which the rule went before: a sum of six of the measurements."""
    names = ("level", "excess", "span", "tilt", "near", "rise")
    level, excess, span, tilt, near, rise = evidence(pcm)[:, [MEASURED.index(name) for name in names]].T
    levels = level + 0.65 * (near - level) + 53.6 * np.log10((1 + excess) / 73) - 0.3 * np.maximum(0, 35 - span)
    return float((levels + 1.24 * np.clip(tilt, 0, 12) - 1.23 * np.maximum(0, rise - 12)).max())


def table(found: Sequence[Piece], limit_db: float) -> None:
    """Prints both errors by condition, of the rule and of what it was."""
    now = np.array([max(rule.border_levels(piece.pcm) or (audio.SILENCE_DBFS,)) for piece in found]) > limit_db
    then = np.array([before(piece.pcm) for piece in found]) > limit_db
    print("| condition | whole | rejected before | now | cut in a vowel | found before | now | cut anywhere "
          "| found before | now |\n" + "|---" * 10 + "|")  # fmt: skip
    for condition in dict.fromkeys(piece.condition for piece in found):
        here = np.array([piece.condition == condition for piece in found])
        whole = here & np.array([piece.cut == "whole" for piece in found])
        vowel = here & np.array([piece.vowel for piece in found])
        cells = [
            f"{rows.sum()} | {then[rows].mean():.3f} | {now[rows].mean():.3f}" if rows.any() else "0 | | "
            for rows in (whole, vowel, here & ~whole)
        ]
        print(f"| {condition} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--fit", action="store_true", help="fit the rule's network to other prompts, and write it")
    parser.add_argument("--talkers", type=int, default=border_conditions.TALKERS, help="of the babble")
    args = parser.parse_args()
    border_conditions.TALKERS = args.talkers
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.fit:
        border_fit.fit(Path(rule.__file__).with_name("border_level.json"), args.folder)
    limit_db = Confidence().border_db_max
    assert limit_db is not None
    print(f"prompts that nothing was fitted on; limit {limit_db:g} dB")
    table([*english(args.folder), *other_voices(), *readings(args.folder)], limit_db)


if __name__ == "__main__":
    main()
