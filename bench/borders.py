"""The rule on borders, both of its errors: whole clips that it rejects, and clips cut inside a word that it finds.

    .venv/bin/python bench/borders.py --folder /tmp/borders

120 English prompts in every condition of ``bench/border_conditions.py``: whole, cut inside the first word, and cut
inside the last. The rule looks at the sound alone; where words start and end is asked of Whisper tiny.en once, of the
clean prompts (kept in the folder). Then whole prompts in the other languages, the clips of pytest-audioeval, and
readings in rooms that are no studio, as they were recorded. ``earlier`` is the rule as it was: the level of the border
against the clip's loud speech, silent where less than 6 dB above the quietest hundredth. ``--fit`` fits the numbers of
``llaso_data/filters/border_level.py`` to 120 other prompts and prints them.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import border_conditions
import numpy as np
import numpy.typing as npt
from border_conditions import CONDITIONS, ROOMS_S, TRIMMED, Piece, pieces

from llaso_data import audio
from llaso_data.demo import assets, weights
from llaso_data.filters import border_level as rule
from llaso_data.filters.planting import seeded
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.recipe import Confidence, Recipe
from llaso_data.records import Word

Floats = npt.NDArray[np.float64]
PROMPTS = 120
OTHER_VOICES = ("es", "fr", "it", "ru")
NEEDED = {"clean": 3.0, "opus": 3.0, "telephone": 3.0, "20": 1.5, "15": 0.2, "10": 0.03}
"""How much a condition's cuts weigh in the fit; 1 where nothing is said. All of its whole clips weigh 1."""
HARD = f"room {ROOMS_S[-1]}"  # its clips end while the room still sounds: nothing is promised there
ALLOWED = 0.035  # of the whole clips of the worst condition of the fitting prompts


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
        one.source.uri: one.words for block in commit.manifest(out)["blocks"] for one in commit.read_block(out, block)
    }


def drawn(folder: Path, fitting: bool) -> list[Piece]:
    """All pieces of the fitting prompts, or of those that are measured."""
    said = words(folder)
    paths = sorted(said, key=lambda path: seeded("prompt", Path(path).relative_to(Path(path).parents[1])).random())
    chosen = paths[:PROMPTS] if fitting else paths[PROMPTS : 2 * PROMPTS]
    others = [audio.decode(path)[0] for path in paths[2 * PROMPTS : 2 * PROMPTS + 100]]
    prompts = {path: audio.decode(path)[0] for path in chosen}
    return [
        piece
        for condition in (*CONDITIONS, TRIMMED)
        for path, pcm in prompts.items()
        for piece in pieces(condition, Path(path).stem, pcm, said[path], others)
    ]


def as_recorded(fitting: bool) -> list[Piece]:
    """Whole prompts in other languages, and (measured only) the clips of the test plugin."""
    found = []
    for code in OTHER_VOICES:
        folder = assets.prompts() / "usr/share/asterisk/sounds" / assets.VOICES[code].folder
        paths = [path for path in folder.rglob("*.g722") if path.stat().st_size > assets.MIN_BYTES]
        paths.sort(key=lambda path: seeded("voice", code, path.stem, path.parent.name).random())
        chosen = paths[:PROMPTS] if fitting else paths[PROMPTS : 2 * PROMPTS]
        found += [Piece(code, path.stem, "whole", False, audio.decode(str(path))[0]) for path in chosen]
    clips = [] if fitting else sorted(assets.clips().glob("*/*.wav"))
    return found + [Piece("clips", path.stem, "whole", False, audio.decode(str(path))[0]) for path in clips]


def readings(folder: Path) -> list[Piece]:
    """Whole recordings of rooms that are no studio: of Debian's pocketsphinx-testdata, five of them from LibriVox."""
    package = folder / "readings"
    if not package.is_dir():
        package.mkdir()
        subprocess.run(["apt-get", "download", "-qq", "pocketsphinx-testdata"], cwd=package, check=True)
        subprocess.run(["dpkg", "-x", str(next(package.glob("*.deb"))), str(package)], check=True)
    found = []
    for path in sorted(package.rglob("*")):
        if path.suffix in (".wav", ".raw"):
            pcm = np.fromfile(path, "<i2") if path.suffix == ".raw" else audio.decode(str(path))[0]
            found.append(Piece("readings", path.stem, "whole", False, pcm))
    return found


def earlier(pcm: audio.Pcm) -> float:
    """The level by which the rule went before."""
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
    quiet_db, loud_db = np.percentile(_decibel(frames), [1, 90])
    border_db = _decibel(np.stack([pcm[:320], pcm[-320:]])).max()
    return float(border_db - loud_db) if border_db > quiet_db + 6 else audio.SILENCE_DBFS


def _decibel(frames: audio.Pcm) -> Floats:
    found: Floats = 10 * np.log10(np.mean((frames / audio.FULL_SCALE) ** 2, axis=1) + 1e-10)
    return found


def table(found: Sequence[Piece], limit_db: float) -> None:
    """Prints both errors by condition, of the rule and of what it was."""
    now = np.array([rule.border_level(piece.pcm) or audio.SILENCE_DBFS for piece in found]) > limit_db
    before = np.array([earlier(piece.pcm) for piece in found]) > limit_db
    print("| condition | whole clips | rejected | earlier | cut in a vowel | found | earlier | cut anywhere | found "
          "| earlier |\n" + "|---" * 10 + "|")  # fmt: skip
    for condition in dict.fromkeys(piece.condition for piece in found):
        here = np.array([piece.condition == condition for piece in found])
        whole = here & np.array([piece.cut == "whole" for piece in found])
        vowel = here & np.array([piece.vowel for piece in found])
        cells = [
            f"{rows.sum()} | {now[rows].mean():.3f} | {before[rows].mean():.3f}" if rows.any() else "0 | | "
            for rows in (whole, vowel, here & ~whole)
        ]
        print(f"| {condition} | {' | '.join(cells)} |")


def fit(found: Sequence[Piece]) -> Mapping[str, float]:
    """The rule's numbers, from a logistic regression on single borders: cut here, or of a whole clip.

    They are scaled so that the level counts 1 dB a dB, and so that the limit that lets ``ALLOWED`` of the whole clips
    of the worst condition through lies where the recipe's stands. Clips without clean silence to be trimmed to are not
    asked for that limit.
    """
    parts = np.array([rule.evidence(piece.pcm) for piece in found])  # (pieces, 2, 6)
    level, excess, span, tilt, near, rise = np.moveaxis(parts, -1, 0)
    terms = [level, near - level, np.log10(1 + excess), np.maximum(0, rule.RANGE_DB - span)]
    terms += [np.clip(tilt, 0, rule.TILT_DB)]
    columns = np.stack([*terms, np.maximum(0, rise - rule.RISE_DB), np.ones_like(level)], axis=-1)
    rows, targets, row_weights = _weighed(found, columns)
    solved = _logistic(rows, targets, row_weights)
    score = (columns @ solved).max(axis=1)
    worst = max(
        np.quantile([s for s, piece in zip(score, found, strict=True) if _is_whole(piece, condition)], 1 - ALLOWED)
        for condition in (*CONDITIONS, "es", "fr")
        if condition != HARD
    )
    scaled = solved / solved[0]
    limit_db = worst / solved[0] - scaled[6] - scaled[2] * np.log10(1 + rule.EXCESS_FULL_DB)
    return {"NEAR_SHARE": scaled[1], "EXCESS_DB": scaled[2], "RANGE_COST": -scaled[3], "TILT_GAIN": scaled[4],
            "RISE_COST": -scaled[5], "limit, dB": limit_db}  # fmt: skip


def _is_whole(piece: Piece, condition: str) -> bool:
    return piece.condition == condition and piece.cut == "whole"


def _weighed(found: Sequence[Piece], columns: Floats) -> tuple[Floats, Floats, Floats]:
    """Borders, what they are (1: cut), and weights, so that every condition counts alike."""
    groups: dict[tuple[str, bool], list[Floats]] = {}
    for piece, both in zip(found, columns, strict=True):
        if piece.cut == "whole":
            groups.setdefault((piece.condition, False), []).extend(both)
        elif piece.vowel or NEEDED.get(piece.condition, 1.0) > 2:
            groups.setdefault((piece.condition, True), []).append(both[int(piece.cut == "end")])
    rows, targets, row_weights = [], [], []
    for (condition, is_cut), members in groups.items():
        weight = NEEDED.get(condition, NEEDED.get(condition.split()[-1], 1.0)) if is_cut else 1.0
        rows += members
        targets += [float(is_cut)] * len(members)
        row_weights += [weight / len(members)] * len(members)
    return np.array(rows), np.array(targets), np.array(row_weights)


def _logistic(rows: Floats, targets: Floats, row_weights: Floats) -> Floats:
    """Weighted logistic regression by Newton's method."""
    scale = np.abs(rows).max(axis=0)
    rows = rows / scale
    found = np.zeros(rows.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-rows @ found))
        slope = rows.T @ (row_weights * (targets - p)) - 1e-4 * found
        curve = (rows * (row_weights * p * (1 - p))[:, None]).T @ rows + 1e-4 * np.eye(len(found))
        found = found + np.linalg.solve(curve, slope)
    solved: Floats = found / scale
    return solved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--fit", action="store_true", help="fit the rule's numbers to other prompts, and print them")
    parser.add_argument("--talkers", type=int, default=border_conditions.TALKERS, help="of the babble")
    args = parser.parse_args()
    border_conditions.TALKERS = args.talkers
    found = drawn(args.folder, args.fit) + as_recorded(args.fit)
    found += [] if args.fit else readings(args.folder)
    if args.fit:
        print("\n".join(f"{name} = {value:.2f}" for name, value in fit(found).items()))
    limit_db = Confidence().border_db_max
    assert limit_db is not None
    print("the fitting prompts" if args.fit else "prompts that nothing was fitted on", f"; limit {limit_db:g} dB")
    table(found, limit_db)


if __name__ == "__main__":
    main()
