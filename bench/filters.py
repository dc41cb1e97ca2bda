"""What the filters catch: faults injected into real pairs, recall of each and false alarms, packed and alone.

    .venv/bin/python bench/filters.py --model tiny.en --folder /tmp/llaso-filters

English prompts with transcripts, one fault at a time (``bench/faults.py``). The corpus is heard twice, packed (with
15 % of the clips' audio cut and some in another language between the clean ones) and one clip per window. Thresholds
are fitted on the clips of one half of the texts and everything is reported on the other. What was heard and what was
scored stays in the folder; a second call fits again in seconds. A packed text that is in doubt is judged by the scores
of the clip heard alone, as the pipeline would. ``--language-model`` adds SmolLM2-135M.

    .venv/bin/python bench/filters.py --conditions --model base --folder /tmp/llaso-conditions

``--conditions`` measures in noise, rooms and codecs instead, with `llaso-data calibrate` (bench/filter_conditions.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filter_conditions
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from disturbed_whisper import disturbed
from fault_corpus import FOREIGN, Case, english, hear_all
from throughput_tools import PRECISIONS

from llaso_data.align.backward import score_backward
from llaso_data.align.likelihood import log_likelihood_ratios
from llaso_data.asr.doubt import needs_redecoding
from llaso_data.demo import assets, weights
from llaso_data.filters import border_limits, columns
from llaso_data.filters.fit import LANGUAGE_MODEL_KEY, OFF, PLACES, rejected, with_thresholds
from llaso_data.filters.fit import fit as fitted_thresholds
from llaso_data.filters.language_model import LanguageModelStage
from llaso_data.filters.planting import CLEAN, FAULTS, Texts, seeded, wrong_texts
from llaso_data.filters.rules import Rule
from llaso_data.filters.text_scores import score_text
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Align, Asr, Judge, LanguageModel, Run
from llaso_data.records import Utterance, from_table, rounded, to_table
from llaso_data.text import normalize
from llaso_data.whisper.clips import Clip, ForcedTokens
from llaso_data.whisper.load import load
from llaso_data.whisper.teacher_forcing import Decoder, ForcedScores

Mask = npt.NDArray[np.bool_]
MODELS: dict[str, Callable[[], Path]] = {
    "tiny.en": weights.tiny_en,
    "base": weights.whisper_base,
    "base-disturbed": lambda: disturbed(weights.whisper_base()),
}
BUDGET = 0.04  # of the clean pairs of the fitting half: what may be alarmed falsely there

KNOWN = ("name", "fault", "packed", "fitting")


@dataclass(frozen=True, slots=True)
class Scored:
    """Every pair that was scored: the judge's columns, and what is known of each row."""

    found: Mapping[str, npt.NDArray[Any]]
    fault: npt.NDArray[Any]  # CLEAN or one of FAULTS
    packed: Mask  # whether its corpus was heard packed
    fitting: Mask  # whether its text belongs to the half that thresholds are fitted on

    def rejected(self, tried: Sequence[Rule]) -> Mask:
        return rejected(self.found, tried)


def read(folder: Path, files: str = "scored-*.parquet") -> Scored:
    """What :func:`score_all` wrote, as the judge sees it."""
    every = with_thresholds(Judge(), OFF)
    needed = sorted({"duration_s", *(name for rule in rules(every) for name in rule.needs())})
    paths = sorted(folder.glob(files))
    table = pa.concat_tables(columns.read(str(path), columns.stored(needed)) for path in paths)
    full = pa.concat_tables(pq.read_table(path) for path in paths)
    known = full.select(list(KNOWN))
    table = table.take(pa.array(judged_as(from_table(full.drop_columns(list(KNOWN)), Utterance), known)))
    border_db = columns.floats(table["scores.border_db"])
    (limit,) = border_limits.limits(
        border_db, np.zeros(len(border_db), int), 1, every.confidence.border_margin_db
    ).tolist()
    print(f"a border stands out above {limit} dB")
    return Scored(
        columns.derive(table, needed, {}, {(table["source.corpus"][0].as_py(), "en"): limit}),
        np.array(known["fault"].to_pylist()),
        columns.flags(known["packed"]),
        columns.flags(known["fitting"]),
    )


def judged_as(utterances: Sequence[Utterance], known: pa.Table) -> list[int]:
    """The row that is judged for each: of one in doubt in a packed corpus that of the same pair heard alone."""
    packed, faults = known["packed"].to_pylist(), known["fault"].to_pylist()
    # The audio of another language may be the same prompt in two of them; their lengths differ.
    lengths = [one.duration_s for one in utterances]
    pairs = list(zip(known["name"].to_pylist(), faults, lengths, strict=True))
    alone = {pair: row for row, pair in enumerate(pairs) if not packed[row]}
    rows = list(range(len(pairs)))
    for row, one in enumerate(utterances):
        if packed[row] and needs_redecoding(one):
            rows[row] = alone[pairs[row]]
    clean = [row for row, fault in enumerate(faults) if packed[row] and fault == CLEAN]
    print(f"heard again alone: {sum(rows[row] != row for row in clean)} of {len(clean)} clean pairs heard packed")
    return rows


def score_all(args: argparse.Namespace) -> None:
    """Hear every case, score all its texts, and write one row for each, run by run."""
    asr_type, align_type = PRECISIONS[args.precision]
    asr = Asr(model=str(MODELS[args.model]()), compute_type=asr_type)
    whisper = load(asr, Run(device="cpu", threads=args.threads), Align(compute_type=align_type))
    decoder = whisper.decoder
    pairs = english()[:: args.every]
    for run, cases in hear_all(whisper, asr, args.folder, pairs, args.rounds, args.foreign):
        path = args.folder / f"scored-{run}.parquet"
        if not path.exists():
            score_run(decoder, run, cases, [pair.text for pair in pairs], args.share, path)


def score_run(
    decoder: Decoder, run: str, cases: Sequence[Case], texts: Sequence[str], share: float, path: Path
) -> None:
    """Write the rows of one run: every case with its own text, the clean ones also with `share` of the wrong ones."""
    clips = [path for path in sorted(assets.clips().glob("*/*.txt")) if path.parent.name in ("es", "fr", "it", "pt")]
    corpus = Texts.of("en", texts, [path.read_text(encoding="utf-8").strip() for path in clips])
    utterances: list[Utterance] = []
    rows: list[tuple[str, str, bool, bool]] = []
    for case in cases:
        given = {case.pair.fault: case.pair.text}
        if case.pair.fault == CLEAN:
            wrong = wrong_texts(seeded("text", case.pair.name), case.pair.text, corpus)
            given |= {f: t for f, t in wrong.items() if seeded(case.pair.name, f).random() < share}
        utterances += score(decoder, case, list(given.values()))
        fitting = hashlib.sha256(normalize(case.pair.text, "en").encode()).digest()[0] % 2 == 0
        rows += [(case.pair.name, fault, run.startswith("packed"), fitting) for fault in given]
    table = to_table([rounded(utterance) for utterance in utterances], Utterance)
    for name, values in zip(KNOWN, zip(*rows, strict=True), strict=True):
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)


def score_language(folder: Path) -> None:
    """The rows of the clips heard alone, scored by the language model too."""
    scored, target = folder / "scored-solo.parquet", folder / "language-solo.parquet"
    if not target.exists():
        table = pq.read_table(scored)
        stage = LanguageModelStage(LanguageModel(model=str(weights.smollm2())), Run(device="cpu"))
        utterances = from_table(table.drop_columns(list(KNOWN)), Utterance)
        more = to_table([rounded(one) for one in stage(utterances, [None] * len(utterances))], Utterance)
        for name in KNOWN:
            more = more.append_column(name, table[name])
        pq.write_table(more, target)


def score(decoder: Decoder, case: Case, texts: Sequence[str]) -> list[Utterance]:
    """The case's utterance with each of the texts and its scores."""
    hypothesis = case.utterance.hypothesis
    (states,) = decoder.cache_cross_attention(case.context.hidden[None])  # projected once for all texts
    forced: dict[ForcedTokens, ForcedScores] = {}  # of all texts, which are compared with the same hypothesis
    clips = [Clip(case.pair.pcm, states, states, text, "en", forced) for text in texts]
    scored = []
    for text, found, llr in zip(
        texts,
        score_backward(decoder, clips, None),
        log_likelihood_ratios(decoder, clips, [hypothesis] * len(texts)),
        strict=True,
    ):
        scores = dataclasses.replace(
            case.utterance.scores,
            min_word_logprob=found.min_word_logprob,
            mean_word_logprob=found.mean_word_logprob,
            eot_logprob=found.eot_logprob,
            llr=llr,
        )
        scored.append(dataclasses.replace(case.utterance, text=text, words=(), scores=scores))
    return score_text(scored, [None] * len(scored))


def fit(scored: Scored, section: Judge, keys: Sequence[str]) -> dict[str, float]:
    """Thresholds for the fitting half. What a step catches is averaged over the faults, packed and alone."""
    fitting = scored.fitting
    sides = [side for packed in (True, False) if (side := fitting & (scored.packed == packed)).any()]
    faults = [side & (scored.fault == fault) for side in sides for fault in FAULTS]
    clean = [side & (scored.fault == CLEAN) for side in sides]
    return fitted_thresholds(section, scored.found, faults, clean, BUDGET, keys)


def report(title: str, section: Judge, scored: Scored) -> None:
    """Recall of each fault and false alarms on the other half, of tier 1, of tier 2, and of both."""
    tried = rules(section)
    tiers = {
        "tier 1": scored.rejected([rule for rule in tried if rule.name.startswith("confidence.")]),
        "tier 2": scored.rejected([rule for rule in tried if rule.name.startswith("consistency.")]),
    }
    tiers["both"] = tiers["tier 1"] | tiers["tier 2"]
    held_out = ~scored.fitting
    print(f"\n{title}: recall on the other half, false alarms on its clean pairs")
    print(f"{'':26}" + "".join(f"{side:>9}{'tier 1':>8}{'tier 2':>8}{'both':>8}" for side in ("packed", "alone")))
    for fault in (*FAULTS, CLEAN):
        cells = ""
        for packed in (True, False):
            rows = held_out & (scored.packed == packed) & (scored.fault == fault)
            shares = [f"{mask[rows].mean():8.3f}" if rows.any() else f"{'-':>8}" for mask in tiers.values()]
            cells += f"{int(rows.sum()):9d}" + "".join(shares)
        print(f"{'false alarms' if fault == CLEAN else fault:26}{cells}")
    for packed in (True, False):
        rows = scored.fitting & (scored.packed == packed) & (scored.fault == CLEAN)
        side = "packed" if packed else "alone"
        print(f"false alarms on the fitting half, {side}: {int(tiers['both'][rows].sum())} of {int(rows.sum())}")


def each_rule(section: Judge, scored: Scored) -> None:
    """What each rule catches on its own, and what only it catches, on the other half."""
    tried = [rule for rule in rules(section) if scored.rejected([rule]).any()]
    held_out = ~scored.fitting
    for packed in (True, False):
        rows = held_out & (scored.packed == packed)
        side = "packed" if packed else "alone"
        print(f"\n{side}: faults that a rule rejects (and no other does), false alarms likewise")
        for rule in tried:
            own, others = scored.rejected([rule]), scored.rejected([other for other in tried if other != rule])
            faulty, clean = rows & (scored.fault != CLEAN), rows & (scored.fault == CLEAN)
            alarms = own[clean].mean()
            if not own[rows].any():
                continue
            print(
                f"{rule.name:32}{rule.threshold:8.2f}{own[faulty].mean():8.3f} ({(own & ~others)[faulty].mean():.3f})"
                f"{alarms:8.3f} ({(own & ~others)[clean].mean():.3f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="tiny.en")
    parser.add_argument("--folder", type=Path, required=True, help="keeps what was heard: some gigabytes")
    parser.add_argument("--rounds", type=int, default=1, help="of the packed corpus, each with other faults")
    parser.add_argument("--foreign", type=int, default=FOREIGN, help="clips per language and round in another language")
    parser.add_argument("--every", type=int, default=1, help="take every N-th prompt only")
    parser.add_argument("--share", type=float, default=1.0, help="of a clip's wrong texts that are scored")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=list(PRECISIONS), default="auto", help="a folder is of one")
    parser.add_argument("--language-model", action="store_true", help="score with SmolLM2-135M too")
    parser.add_argument("--conditions", action="store_true", help="measure in noise, rooms and codecs instead")
    parser.add_argument("--prompts", type=int, default=filter_conditions.PROMPTS, help="of --conditions")
    parser.add_argument("--faults", type=int, default=2, help="of --conditions: planted into each clip")
    parser.add_argument("--only", nargs="+", default=[], help="of --conditions: those whose names begin so")
    args = parser.parse_args()
    if args.conditions:
        filter_conditions.measure(args, str(MODELS[args.model]()))
        return
    torch.set_num_threads(args.threads)
    score_all(args)
    scored = read(args.folder)
    print(f"{args.model}: {len(scored.fault)} pairs, {int((scored.fault == CLEAN).sum())} of them clean")
    defaults = Judge()
    report("the recipe's defaults", defaults, scored)
    each_rule(defaults, scored)
    fitted = fit(scored, defaults, [key for key in PLACES if key != LANGUAGE_MODEL_KEY])
    print("\n" + "\n".join(f"{key}: {'off' if value == OFF[key] else value}" for key, value in fitted.items()))
    report("fitted", with_thresholds(defaults, fitted), scored)
    each_rule(with_thresholds(defaults, fitted), scored)
    if args.language_model:
        score_language(args.folder)
        with_language_model(read(args.folder, "language-solo.parquet"), defaults)


def with_language_model(scored: Scored, section: Judge) -> None:
    """The same fit without and with the language model's score, on the clips heard alone."""
    acoustic = [key for key in PLACES if key != LANGUAGE_MODEL_KEY]
    for title, keys in (("without the language model", acoustic), ("with it", list(PLACES))):
        fitted = fit(scored, section, keys)
        print(f"\nlm_delta_min: {fitted['consistency.lm_delta_min']}")
        report(title, with_thresholds(section, fitted), scored)
    alone = fit(scored, section, ["consistency.lm_delta_min"])
    report(f"the language model alone ({alone['consistency.lm_delta_min']})", with_thresholds(section, alone), scored)


if __name__ == "__main__":
    main()
