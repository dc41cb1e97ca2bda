"""``llaso-data calibrate``: what the filters find, and what they reject wrongly, on a corpus's own recordings.

Known faults are planted into pairs of the corpus that are right. The pairs are observed as the corpus was, by the same
models in the same precision, and the recipe's rules say which they would reject. A pair counts as right where what
Whisper hears is what the text says:

- of a given text in the corpus's own observation. It is then heard a second time, among other clips, and judged by
  that;
- of a text that Whisper wrote where it hears the same the second time.

So clips that Whisper cannot hear count for nothing here. The rates are those of recordings that it can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import llaso_data
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError
from llaso_data.filters import audit_draw, calibration, columns, planting, rates
from llaso_data.filters.calibration import Finding, Scored
from llaso_data.filters.fit import OFF, with_thresholds
from llaso_data.filters.planting import CLEAN, Corpus, Planted
from llaso_data.filters.tiers import rules
from llaso_data.io import checksums, interrupts, lock, outputs, storage
from llaso_data.pipeline import commit, engines, precision
from llaso_data.pipeline.blocks import PlannedBlock, block_name
from llaso_data.pipeline.calibrated import FORMAT, NAME, VERSION
from llaso_data.pipeline.models_digests import models_digests
from llaso_data.pipeline.observe import check_stages, observing_digest
from llaso_data.pipeline.progress_listener import ProgressListener
from llaso_data.recipe import Judge, Recipe
from llaso_data.records import GIVEN, NOT_SCORED, UNJUDGED, UNKNOWN, Input, Utterance, digest
from llaso_data.text import normalize
from llaso_data.whisper.windows import WINDOW_SAMPLES

CLIPS = 500
"""The most clips of a language, where nothing else is said."""
FAULTS_EACH = 3
"""Faults that each clip is planted with, where nothing else is said."""

_FOLDER = "calibration"
_MAX_BLOCKS = 400  # of the corpus, that clips are drawn from


class NothingToPlantError(LLaSOError):
    """No clip is heard as its text says."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A run that is observed, and how.

    Attributes:
        recipe: Its recipe.
        out: Its output.
        settled: The precision of its models.
        observing: The digest of what decides its observations.
        blocks: The names of its blocks, in order.
        languages: By language, how many of its utterances the recipe's rules accept.
        border_limits: As in :class:`llaso_data.pipeline.judge.JudgeResult`.
    """

    recipe: Recipe
    out: str
    settled: precision.Precision
    observing: str
    blocks: Sequence[str]
    languages: Mapping[str, int]
    border_limits: Sequence[tuple[str, str, float]]


@dataclass(frozen=True, slots=True)
class Draw:
    """Which clips faults are planted into.

    Attributes:
        clips: The most clips of a language.
        seed: Another seed draws other clips and faults.
        faults: How many each of them is planted with, each in a pair of its own.
        blocks: The blocks that they are drawn from; None: as many as it takes, in an order that looks like chance.
    """

    clips: int = CLIPS
    seed: int = 0
    faults: int = FAULTS_EACH
    blocks: Sequence[str] | None = None

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> Draw:
        """The one that a report is of."""
        return cls(report["clips"], report["seed"], report["faults"], report["blocks"])


def calibrate(recipe: Recipe, draw: Draw | None = None, progress: ProgressListener | None = None) -> dict[str, Any]:
    """Plant faults into a corpus's own clips, and measure what the rules do.

    Args:
        recipe: That of the finished run in ``recipe.out``; its ``run`` says how this command works, and
            ``judge.false_alarms`` the share of right pairs that fitted thresholds may reject.
        draw: Which clips; None: the most that the command takes by default.
        progress: Is told of every block.

    Returns:
        What was found, as it stands in :data:`llaso_data.pipeline.calibrated.NAME`, and its URI as ``out``.

    Raises:
        LLaSOError: There is no finished run, it has no scores, another run holds its lock, its models or this version
            observe in another way than then, or it has no clips that faults can be planted into.
    """
    assert recipe.out is not None
    with lock.exclusive(recipe.out, "calibrate") as held:
        out = held.uri
        stated = commit.manifest(out)
        outputs.refuse(storage.join(out, NAME), "llaso-data calibrate", outputs.json_of(FORMAT))
        if recipe.observe.align is None:
            raise LLaSOError(f"{out}: observe.align is null, so nothing is scored that rules could look at")
        check_stages(recipe.observe)
        with ExitStack() as open_until_end:
            settled, _ = precision.settle(recipe, out, open_until_end)
            observing = observing_digest(precision.named(recipe.observe, settled), models_digests(recipe))
            if observing != stated["observing"]:
                raise LLaSOError(
                    f"{out} was observed by other models, other settings or another version of LLaSO. Run "
                    "`llaso-data build-align` on it again, then calibrate"
                )
            languages = {language: said["accepted"] for language, said in stated["languages"].items()}
            limits = [(corpus, language, limit_db) for corpus, language, limit_db in stated["border_limits"]]
            run = Observed(recipe, out, settled, observing, stated["blocks"], languages, limits)
            return {**measure(run, draw or Draw(), held, progress), "out": storage.join(out, NAME)}


def measure(run: Observed, draw: Draw, held: lock.Held, progress: ProgressListener | None = None) -> dict[str, Any]:
    """What :func:`calibrate` does in a run whose lock is held: observes what is missing, and writes the file.

    Args:
        run: What is calibrated.
        draw: Which clips.
        held: Its lock.
        progress: Is told of every block.

    Returns:
        What was found, as it stands in the file.

    Raises:
        NothingToPlantError: The run has no clips that faults can be planted into.
    """
    notes: dict[str, int] = defaultdict(int)
    drawn, blocks = _draw(run, draw, notes)
    planted = _planted(drawn, draw)
    if not planted:
        raise NothingToPlantError(
            f"{run.out}: no clip is heard as its text says, so there is nothing to plant faults into"
        )
    table = _observe(run, held, planted, progress)
    decoded = table.filter(table["failure.reason"].is_null())
    if len(decoded) < len(table):
        notes["planted, but could not be decoded"] = len(table) - len(decoded)
    pairs = {one.utterance.id: one for one in planted}
    scored = _scored(run, decoded, pairs, drawn)
    judge = run.recipe.judge
    found = calibration.findings(judge, scored, np.ones(len(scored.fault), bool))
    report = {
        "format": FORMAT,
        "format_version": VERSION,
        "llaso": llaso_data.__version__,
        "observing": run.observing,
        "precision": dict(run.settled),
        "judge": judge.model_dump(mode="json"),
        "clips": draw.clips,
        "seed": draw.seed,
        "faults": draw.faults,
        "blocks": blocks,
        "drawn": {language: len(ones) for language, ones in drawn.items()},
        "notes": dict(sorted(notes.items())),
        "choice": _choice(decoded, pairs, scored),
        "findings": [one.to_dict() for one in found],
        **_overall(found),
        "fitted": _fitted(run.recipe, scored),
    }
    held.confirm()
    checksums.write_json(storage.join(run.out, NAME), report)
    return report


def _draw(run: Observed, draw: Draw, notes: dict[str, int]) -> tuple[dict[str, list[Utterance]], list[str]]:
    """Right pairs of every language that has any, of its corpora in proportion, and the blocks that they are from.

    Blocks come in an order that looks like chance, until there are enough clips of all accepted languages: a block
    often holds one language alone.
    """
    found: dict[str, list[Utterance]] = defaultdict(list)
    order = draw.blocks or sorted(run.blocks, key=lambda name: digest(draw.seed, name))[:_MAX_BLOCKS]
    wanted = set(run.languages) - {UNKNOWN}
    read = []
    for block in order:
        interrupts.check()
        read.append(block)
        for one in commit.read_block(run.out, block):
            reason = _left_out(one)
            if reason is None:
                found[str(one.language)].append(one)
            else:
                notes[reason] += 1
        if wanted and all(len(found.get(language, ())) >= draw.clips for language in wanted):
            break
    for language in sorted(wanted - found.keys()):
        notes[f"of {language}: none could be drawn"] = run.languages[language]
    drawn = {language: _in_proportion(ones, draw.clips, draw.seed) for language, ones in sorted(found.items())}
    return drawn, read


def _left_out(one: Utterance) -> str | None:
    """Why no fault is planted into a clip; None where it is a right pair."""
    if one.failure is not None or not one.text or not one.words or one.duration_s is None:
        return "without a text, words or sound"
    if one.language is None:
        return "without a language"
    if one.duration_s * SAMPLE_RATE_HZ > WINDOW_SAMPLES:
        return "longer than a window"
    if one.scores.extra.get(UNJUDGED) or one.scores.extra.get(NOT_SCORED):
        return "not judged by Whisper"
    if not _is_heard(one, one.hypothesis):
        return "heard in another way than its text says"
    return None


def _in_proportion(ones: Sequence[Utterance], clips: int, seed: int) -> list[Utterance]:
    by_corpus: dict[str, list[Utterance]] = defaultdict(list)
    for one in sorted(ones, key=lambda one: digest(seed, one.id)):
        by_corpus[one.source.corpus].append(one)
    names = sorted(by_corpus)
    quotas = audit_draw.quotas([len(by_corpus[name]) for name in names], clips)
    return [one for name, quota in zip(names, quotas, strict=True) for one in by_corpus[name][:quota]]


def _planted(drawn: Mapping[str, Sequence[Utterance]], draw: Draw) -> list[Planted]:
    planted: list[Planted] = []
    for language, ones in drawn.items():
        foreign = [one for other, others in drawn.items() if other != language for one in others]
        planted += planting.plant(Corpus(language, ones, foreign), draw.faults, draw.seed)
    return planted


def _observe(run: Observed, held: lock.Held, planted: Sequence[Planted], progress: ProgressListener | None) -> pa.Table:
    """The planted pairs' observations, of this run or an earlier one."""
    folder = storage.join(run.out, _FOLDER)
    storage.sweep(storage.join(folder, "observations"))
    settings = precision.obeyed(run.recipe.observe, run.settled)
    unwanted = {name: getattr(settings, name).model_copy(update={"enabled": False}) for name in ("quality", "speakers")}
    blocks = []
    size = run.recipe.blocks.clips
    for first in range(0, len(planted), size):
        inputs = tuple(Input(utterance=one.utterance, container=_FOLDER) for one in planted[first : first + size])
        blocks.append(PlannedBlock(block_name(inputs, digest(_FOLDER, run.observing)), inputs))
    if progress:
        progress.planned(len(blocks), len(planted))
    there = commit.committed(folder)

    def missing() -> Iterator[PlannedBlock]:
        for block in blocks:
            if block.name not in there:
                yield block
            elif progress:
                progress.block_done(inputs=len(block.inputs), failed=0, audio_s=0.0, skipped=True, verdicts={})

    for result in engines.observe(missing(), settings.model_copy(update=unwanted), run.recipe.run, folder):
        interrupts.check()
        held.check()
        if progress:
            progress.block_done(
                inputs=result.inputs, failed=result.failed, audio_s=result.audio_s, skipped=False, verdicts={}
            )
    needed = columns.stored(_needed(run.recipe.judge))
    return pa.concat_tables(
        [columns.read(commit.block_uri(folder, block.name), [*needed, "hypothesis"]) for block in blocks]
    )


def _needed(section: Judge) -> list[str]:
    """The scores of the section's rules, and of all thresholds that may be fitted."""
    every = rules(with_thresholds(section, OFF))
    return sorted({"duration_s", *(name for rule in (*rules(section), *every) for name in rule.needs())})


def _scored(
    run: Observed, table: pa.Table, pairs: Mapping[str, Planted], drawn: Mapping[str, Sequence[Utterance]]
) -> Scored:
    section = run.recipe.judge
    limits = {(corpus, language): limit_db for corpus, language, limit_db in run.border_limits}
    by_id = {one.id: one for ones in drawn.values() for one in ones}
    of_rows = [pairs[name] for name in table["id"].to_pylist()]
    origins = [by_id[pair.origin] for pair in of_rows]
    heard_again = {
        one.id
        for pair, one, hypothesis in zip(of_rows, origins, table["hypothesis"].to_pylist(), strict=True)
        if pair.fault == CLEAN and _is_heard(one, hypothesis)
    }
    given = np.array([one.text_origin == GIVEN for one in origins], bool)
    return Scored(
        columns.derive(table, _needed(section), section.consistency.phrases, limits),
        fault=np.array([pair.fault for pair in of_rows], object),
        corpus=np.array([one.source.corpus for one in origins], object),
        language=np.array([one.language for one in origins], object),
        given=given,
        right=given | np.array([one.id in heard_again for one in origins], bool),
        texts=[one.text or "" for one in origins],
    )


def _is_heard(one: Utterance, hypothesis: str | None) -> bool:
    """Whether a hypothesis has the words of the utterance's text."""
    return normalize(one.text or "", one.language) == normalize(hypothesis or "", one.language)


def _choice(table: pa.Table, pairs: Mapping[str, Planted], scored: Scored) -> dict[str, Any]:
    """By fault of the text, how many wrong texts Whisper hears as they stand, so that they would be drawn as right."""
    planted = [pairs[name].utterance.text or "" for name in table["id"].to_pylist()]
    heard = [hypothesis or "" for hypothesis in table["hypothesis"].to_pylist()]
    found = calibration.choice(scored.fault.tolist(), planted, heard, scored.language.tolist())
    return {fault: rate.to_dict("confirmed") for fault, rate in found.items()}


def _fitted(recipe: Recipe, scored: Scored) -> dict[str, Any] | None:
    """Fitted thresholds, and on the half of the texts that they were not fitted on what they and the recipe's do."""
    allowed = recipe.judge.false_alarms
    fitted = calibration.fitted(recipe.judge, scored, allowed, recipe.observe.language_model.model is not None)
    if not fitted.fits:
        return None
    unseen = ~scored.fitting
    found = calibration.findings(recipe.judge, scored, unseen, fitted)
    return {
        "allowed": allowed,
        "thresholds": fitted.to_json(),
        "findings": [one.to_dict() for one in found],
        **_overall(found),
        "recipe": [one.to_dict() for one in calibration.findings(recipe.judge, scored, unseen)],
    }


def _overall(found: Sequence[Finding]) -> dict[str, Any]:
    """What was found in all groups together."""
    false_alarms, rate_of = calibration.overall(found)
    recall = {fault: rate.to_dict() for fault, rate in rate_of.items()}
    return {"false_alarms": false_alarms.to_dict(), "recall": recall, "mean_recall": rates.mean_recall(recall)}
