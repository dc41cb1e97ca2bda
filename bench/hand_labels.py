"""A folder of hand-labelled words for ``bench/alignment.py --labels``, from repositories that carry some.

    mkdir clones && cd clones
    for r in IPS-LMU/emuR timmahrt/praatIO timmahrt/ProMo YannickJadoul/Parselmouth MontrealCorpusTools/PolyglotDB \\
             linux-ram/Speech-AutoDetect-WordBoundary bbTomas/rPraat; do git clone --depth 1 https://github.com/$r; done
    cd .. && .venv/bin/python bench/hand_labels.py --clones clones --out labels

Writes ``labels/<set>/<language>/<name>.wav`` and ``.TextGrid`` with one tier, ``words``; what has no text there is no
word. ``reported`` (emuR's utterances of Australian English) is what numbers are reported on, ``fitted`` (the other
English ones) what parameters are fitted on, ``others`` what is in other languages. The recordings stay under their
own licences and are no part of this repository. Files whose labels a program wrote (SPPAS, MFA) are left out.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

Word = tuple[float, float, str]
NO_WORD = re.compile(r"^(|\*|sil|sp|\{.*\}|<.*>)$")  # pauses, breaths, cut-off words


@dataclass(frozen=True)
class Labelled:
    """A recording and its labels in one repository; ``words`` says how many phones each word has, where only phones
    are labelled."""

    clone: str
    audio: str
    labels: str
    tier: str
    words: tuple[tuple[str, int], ...] = ()


EMU = "inst/extdata/rawDemoData"
SETS: dict[str, tuple[Labelled, ...]] = {
    "reported/en": tuple(
        Labelled("emuR", f"{EMU}/wavFiles/{name}.wav", f"{EMU}/annotationFiles/{name}.TextGrid", "Text")
        for name in ("msajc003", "msajc010", "msajc012", "msajc015", "msajc022", "msajc023", "msajc057")
    ),
    "fitted/en": (
        Labelled("praatIO", "examples/files/bobby.wav", "examples/files/bobby_words.TextGrid", "word"),
        Labelled("praatIO", "examples/files/mary.wav", "examples/files/mary.TextGrid", "word"),
        *(
            Labelled("ProMo", f"examples/files/{name}.wav", f"examples/files/{name}.TextGrid", "words")
            for name in ("carrots1", "carrots2", "oranges", "pickles")
        ),
        Labelled(
            "Parselmouth",
            "tests/data/the_north_wind_and_the_sun.wav",
            "tests/data/the_north_wind_and_the_sun.TextGrid",
            "phonemes",
            (("the", 2), ("north", 3), ("wind", 4), ("and", 2), ("the", 1), ("sun", 3)),
        ),
        Labelled("Speech-AutoDetect-WordBoundary", "BT_06_F_B_f_v01_s01_r.wav", "BT_06_F_B_f_v01_s01_r.TextGrid", "s"),
        Labelled("Speech-AutoDetect-WordBoundary", "sraa_mgamaiy_v24_s30.wav", "sraa_mgamaiy_v24_s30.TextGrid", "a"),
        Labelled(
            "PolyglotDB",
            "tests/data/textgrids/acoustic_corpus.wav",
            "tests/data/textgrids/acoustic_corpus.TextGrid",
            "word",
        ),
    ),
    "others/cs": (Labelled("rPraat", "tests/testthat/H.wav", "tests/testthat/H.TextGrid", "word"),),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True, help="folder with the clones (bare ones will do)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for name, recordings in SETS.items():
        count = 0
        for one in recordings:
            if not (args.clones / one.clone).is_dir():
                print(f"{one.clone}: no such clone, left out")
                continue
            target = args.out / name / Path(one.audio).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(show(args.clones / one.clone, one.audio))
            intervals = tiers(decoded(show(args.clones / one.clone, one.labels)))[one.tier]
            words = grouped(intervals, one.words) if one.words else intervals
            words = [word for word in words if not NO_WORD.match(word[2])]
            target.with_suffix(".TextGrid").write_text(text_grid(words), encoding="utf-8")
            count += len(words)
        print(f"{args.out / name}: {len(list((args.out / name).glob('*.wav')))} recordings, {count} words")


def show(clone: Path, path: str) -> bytes:
    return subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{path}"], check=True, capture_output=True).stdout


def decoded(content: bytes) -> str:
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def tiers(text: str) -> dict[str, list[Word]]:
    """The interval tiers of a Praat TextGrid, in its long or its short form: (start, end, label) in seconds."""
    # Without the keys of the long form both are the same row of strings and numbers.
    body = text.split("<exists>", 1)[1]
    values = _values(body)
    at, found = 1, {}
    for _ in range(int(values[0])):
        kind, name, count = values[at], values[at + 1], int(values[at + 4])
        at += 5
        width = 3 if kind == "IntervalTier" else 2
        rows = [values[at + width * i : at + width * (i + 1)] for i in range(count)]
        if kind == "IntervalTier":
            found[name] = [(float(start), float(end), label.strip()) for start, end, label in rows]
        at += width * count
    return found


def _values(body: str) -> list[str]:
    """Strings and numbers in order; the long form's counters in brackets are neither."""
    token = re.compile(r'"((?:[^"]|"")*)"|\[\d*\]|(?<![\w.])(-?\d+\.?\d*(?:[eE][-+]?\d+)?)')
    found = []
    for match in token.finditer(body):
        if match.group(2) is not None:
            found.append(match.group(2))
        elif match.group(0).startswith('"'):
            found.append(match.group(1).replace('""', '"'))
    return found


def grouped(phones: list[Word], words: tuple[tuple[str, int], ...]) -> list[Word]:
    sounding = [phone for phone in phones if phone[2]]
    ends = [sum(count for _, count in words[: n + 1]) for n in range(len(words))]
    return [
        (sounding[a][0], sounding[b - 1][1], word)
        for (a, b), (word, _) in zip(pairwise([0, *ends]), words, strict=True)
    ]


def text_grid(words: list[Word]) -> str:
    end = max(word[1] for word in words)
    rows = "".join(f'{start}\n{stop}\n"{label}"\n' for start, stop, label in words)
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n{end}\n<exists>\n1\n'
    return f'{head}"IntervalTier"\n"words"\n0\n{end}\n{len(words)}\n{rows}'


if __name__ == "__main__":
    main()
