"""The filters on speech that was not recorded in a studio, for ``bench/filters.py --conditions``.

English prompts and the clips of pytest-audioeval are put into every condition, observed with their transcripts and
without, and `llaso-data calibrate` says what the rules do to them: to right pairs, and to planted faults; by the
recipe's thresholds to all, and by fitted ones to the half that they were not fitted on. It takes as right what the
model hears as the text says, and lets it hear that once more. Here all transcripts are known. So the first columns are
of the clips in which the model hears its transcript, as the run itself heard and judged them. The last ones show what
the choice of such clips hides: of all of them the share that is rejected, by the recipe and calibrated. What was
observed stays in the folder, so a second call with other defaults ends in seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from border_conditions import MUSIC, coded, in_condition, music_on_hold
from fault_corpus import EXCLUDED, Pair, by_hash, english
from throughput_tools import PRECISIONS

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_data.demo import assets
from llaso_data.filters.planting import AUDIO_FAULTS, TEXT_FAULTS, seeded
from llaso_data.filters.rates import Rate
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.calibrate import Draw, calibrate
from llaso_data.recipe import Recipe
from llaso_data.text import normalize

PROMPTS = 150
CONDITIONS = (
    "clean",
    *(f"{noise} {level}" for noise in ("pink", "babble", MUSIC) for level in (40, 20, 10, 5)),
    "room 0.3",
    "room 0.6",
    "telephone",
    "opus 8",
    "mp3 16",
    "speed 0.85",
    "speed 1.2",
    "far 0.6",
)
"""Noises with their signal-to-noise ratio, dB; rooms with their reverberation time, s; codecs with kbit/s; speeds."""
JUDGED = 50  # right pairs; a condition with fewer is printed, and promises nothing


def measure(args: argparse.Namespace, model: str) -> None:
    """Build, calibrate and print every condition that is asked for."""
    chosen = [one for one in CONDITIONS if not args.only or any(one.startswith(part) for part in args.only)]
    print(
        f"{args.model}, {args.precision}: {args.prompts} prompts, or all, and 27 clips; "
        "shares of right pairs and of faults rejected"
    )
    print(
        "| condition | texts | language | heard right | false alarms (to) | heard twice | false alarms (to) "
        "| fitted (to) | text faults | fitted | cut | fitted | all rejected | fitted |"
    )
    print("|" + "---|" * 14)
    for condition in chosen:
        for given in (True, False):
            started_s = time.monotonic()
            heard, report, *rejected = _report(args, model, condition, given)
            for line in _lines(condition, given, heard, report):
                print(f"{line} {' | '.join(rejected)} |", flush=True)
            print(f"<!-- {time.monotonic() - started_s:.0f} s -->", flush=True)


def _report(
    args: argparse.Namespace, model: str, condition: str, given: bool
) -> tuple[dict[str, Rate], dict[str, Any], str, str]:
    """The clips that are heard right, by language; what calibration says; of given texts the share that is rejected
    without and with it."""
    folder = args.folder / condition.replace(" ", "-")
    corpus = folder / "corpus"
    written = folder / "written"
    if not written.exists():
        _write(condition, corpus, args.folder, args.prompts)
        written.write_text(str(args.prompts), encoding="utf-8")
    elif int(written.read_text(encoding="utf-8") or PROMPTS) != args.prompts:
        raise SystemExit(f"{folder} has another number of prompts: name another --folder")
    asr_type, align_type = PRECISIONS[args.precision]
    languages = ["en"] if args.model.endswith(".en") else sorted(path.name for path in corpus.iterdir())
    folders = {code: corpus / code if given else _without_texts(corpus / code) for code in languages}
    sources = [{"path": str(path), "language": code, "corpus": code} for code, path in folders.items()]
    recipe = Recipe.model_validate(
        {
            "sources": sources,
            "observe": {"asr": {"model": model, "compute_type": asr_type}, "align": {"compute_type": align_type}},
            "run": {"engine": "local", "threads": args.threads},
            "out": str(folder / f"{args.model}-{'given' if given else 'free'}-{args.precision.replace(' ', '-')}"),
        }
    )
    plain = recipe.model_copy(update={"judge": recipe.judge.model_copy(update={"calibrate": "off"})})
    before = _rejected(build_align(plain), given)
    heard = _heard_right(str(recipe.out), corpus)
    report = calibrate(recipe, Draw(args.prompts, faults=args.faults))
    return heard, report, before, _rejected(build_align(recipe), given)


def _heard_right(out: str, corpus: Path) -> dict[str, Rate]:
    """By language, of the clips whose hypothesis has the words of the transcript those that the rules reject."""
    found: dict[str, list[bool]] = {}
    for verdicts, observed in commit.judged(out, commit.manifest(out), ["id", "source", "hypothesis"]):
        for verdict, one in zip(verdicts.to_pylist(), observed.to_pylist(), strict=True):
            name, language = Path(one["source"]["uri"]).stem, one["source"]["corpus"]
            text = (corpus / language / f"{name}.txt").read_text(encoding="utf-8")
            if verdict["verdict"] != "failed" and normalize(text, language) == normalize(
                one["hypothesis"] or "", language
            ):
                found.setdefault(language, []).append(verdict["verdict"] == "rejected")
    return {language: Rate(sum(rejected), len(rejected)) for language, rejected in found.items()}


def _rejected(summary: BuildSummary, given: bool) -> str:
    counts = summary.counts
    judged = counts["accepted"] + counts["rejected"]
    return f"{counts['rejected'] / judged:.3f}" if given and judged else "-"


def _without_texts(folder: Path) -> Path:
    """The same sounds in a folder without transcripts, as links."""
    bare = folder.parent.parent / "sounds" / folder.name
    bare.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.wav"):
        if not (link := bare / path.name).is_symlink():
            link.symlink_to(path)
    return bare


def _lines(condition: str, given: bool, heard: Mapping[str, Rate], report: Mapping[str, Any]) -> Iterator[str]:
    texts = "given" if given else "free"
    fitted = {one["language"]: one for one in (report["fitted"] or {"findings": []})["findings"]}
    for finding in report["findings"]:
        alarms, other = finding["false_alarms"], fitted.get(finding["language"])
        right = heard.get(finding["language"], Rate(0, 0))
        note = "" if right.pairs >= JUDGED else " (few)"
        yield (
            f"| {condition} | {texts} | {finding['language']} "
            f"| {right.pairs}{note} | {_alarms(right.to_dict())} "
            f"| {alarms['pairs']} | {_alarms(alarms)} "
            f"| {'-' if other is None else _alarms(other['false_alarms'])} "
            f"| {_recall(finding, TEXT_FAULTS)} | {_recall(other, TEXT_FAULTS)} "
            f"| {_recall(finding, AUDIO_FAULTS[:2])} | {_recall(other, AUDIO_FAULTS[:2])} |"
        )


def _alarms(alarms: Mapping[str, Any]) -> str:
    return f"{alarms['share']:.3f} ({alarms['interval'][1]:.3f})"


def _recall(finding: Mapping[str, Any] | None, faults: Sequence[str]) -> str:
    rates = [finding["recall"][fault] for fault in faults if fault in finding["recall"]] if finding else []
    pairs = sum(rate["pairs"] for rate in rates)
    return f"{sum(rate['rejected'] for rate in rates) / pairs:.3f}" if pairs else "-"


def prompts(count: int = PROMPTS) -> list[Pair]:
    """The English prompts that are put into the conditions. Further ones are in no fit of the border rule."""
    pairs = {pair.name: pair for pair in english() if pair.name not in EXCLUDED}
    names = by_hash(pairs, "conditions")
    if count > PROMPTS:
        import border_fit  # which asks for the usual ones

        fitted = border_fit.english_names()
        names = [name for name in names if name not in fitted]
    return [pairs[name] for name in names[:count]]


def _write(condition: str, corpus: Path, folder: Path, count: int) -> None:
    """The prompts and the clips in a condition, as WAV with their transcripts, in a folder for each language."""
    chosen = prompts(count)
    names = {pair.name for pair in chosen}
    others = [pair.pcm for pair in english() if pair.name not in EXCLUDED and pair.name not in names]
    music = music_on_hold(folder) if condition.startswith(MUSIC) else []
    for pair in chosen:
        _put(condition, corpus / "en", pair.name.replace("/", "-"), pair.pcm, pair.text, others, music)
    for path in sorted(assets.clips().glob("*/*.wav")):
        text = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        pcm = audio.decode(str(path))[0]
        _put(condition, corpus / path.parent.name, f"clip-{path.stem}", pcm, text, others, music)


def _put(
    condition: str, folder: Path, name: str, pcm: Pcm, text: str, others: Sequence[Pcm], music: Sequence[Pcm]
) -> None:
    rng = np.random.default_rng(seeded("filters", condition, name).getrandbits(64))
    kind, _, amount = condition.partition(" ")
    if kind in ("opus", "mp3"):
        heard = coded(pcm, kind, int(amount))
    elif condition == "clean":
        heard = pcm
    else:
        heard = in_condition(condition, pcm, rng, music if kind == MUSIC else others)
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.wav", heard, SAMPLE_RATE_HZ)
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
