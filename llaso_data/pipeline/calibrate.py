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
from typing import Any

import numpy as np
import pyarrow as pa

import llaso_data
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError
from llaso_data.filters import audit_draw, calibration, columns, planting
from llaso_data.filters.calibration import Scored
from llaso_data.filters.fit import OFF, with_thresholds
from llaso_data.filters.planting import CLEAN, Corpus, Planted
from llaso_data.filters.tiers import rules
from llaso_data.io import checksums, interrupts, lock, outputs, storage
from llaso_data.pipeline import commit, engines, precision
from llaso_data.pipeline.blocks import PlannedBlock, block_name
from llaso_data.pipeline.build_align import ProgressListener, models_digests
from llaso_data.pipeline.observe import check_stages, observing_digest
from llaso_data.recipe import Judge, Recipe
from llaso_data.records import GIVEN, NOT_SCORED, UNJUDGED, UNKNOWN, Input, Utterance, digest
from llaso_data.text import normalize
from llaso_data.whisper.windows import WINDOW_SAMPLES

FORMAT = "llaso-calibration"
VERSION = 1
NAME = "calibration.json"
FAULTS_EACH = 3
"""Faults that each clip is planted with, each in a pair of its own."""

_FOLDER = "calibration"
_BLOCK_CLIPS = 256
_MAX_BLOCKS = 400  # of the corpus, that clips are drawn from


def calibrate(
    recipe: Recipe, clips: int = 500, seed: int = 0, allowed: float = 0.03, progress: ProgressListener | None = None
) -> dict[str, Any]:
    """Plant faults into a corpus's own clips, and measure what the rules do.

    Args:
        recipe: That of the finished run in ``recipe.out``; its ``run`` says how this command works.
        clips: The most clips of a language.
        seed: Another seed draws other clips and faults.
        allowed: The share of right pairs that fitted thresholds may reject, 0-1.
        progress: Is told of every block.

    Returns:
        What was found, as it stands in :data:`NAME`, and its URI as ``out``.

    Raises:
        LLaSOError: There is no finished run, it has no scores, another run holds its lock, its models or this version
            observe in another way than then, or it has no clips that faults can be planted into.
    """
    assert recipe.out is not None
    with lock.exclusive(recipe.out, "calibrate") as held:
        out = held.uri
        stated = commit.manifest(out)
        uri = storage.join(out, NAME)
        outputs.refuse(uri, "llaso-data calibrate", outputs.json_of(FORMAT))
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
            notes: dict[str, int] = defaultdict(int)
            drawn = _draw(out, stated, clips, seed, notes)
            planted = _planted(drawn, seed)
            if not planted:
                raise LLaSOError(f"{out}: no clip is heard as its text says, so there is nothing to plant faults into")
            table = _observe(recipe, settled, observing, out, held, planted, progress)
        decoded = table.filter(table["failure.reason"].is_null())
        if len(decoded) < len(table):
            notes["planted, but could not be decoded"] = len(table) - len(decoded)
        scored = _scored(recipe.judge, decoded, planted, drawn, stated["border_limits"])
        every = np.ones(len(scored.fault), bool)
        report = {
            "format": FORMAT,
            "format_version": VERSION,
            "llaso": llaso_data.__version__,
            "observing": observing,
            "precision": dict(settled),
            "judge": recipe.judge.model_dump(mode="json"),
            "clips": clips,
            "seed": seed,
            "drawn": {language: len(ones) for language, ones in drawn.items()},
            "notes": dict(sorted(notes.items())),
            "findings": [one.to_dict() for one in calibration.findings(recipe.judge, scored, every)],
            "fitted": _fitted(recipe, scored, allowed),
        }
        held.confirm()
        checksums.write_json(uri, report)
        return {**report, "out": uri}


def _draw(
    out: str, stated: Mapping[str, Any], clips: int, seed: int, notes: dict[str, int]
) -> dict[str, list[Utterance]]:
    """Right pairs of every language that has any, of its corpora in proportion.

    Blocks come in an order that looks like chance, until there are enough clips of all accepted languages: a block
    often holds one language alone.
    """
    found: dict[str, list[Utterance]] = defaultdict(list)
    order = sorted(stated["blocks"], key=lambda name: digest(seed, name))
    wanted = set(stated["languages"]) - {UNKNOWN}
    for block in order[:_MAX_BLOCKS]:
        interrupts.check()
        for one in commit.read_block(out, block):
            reason = _left_out(one)
            if reason is None:
                found[str(one.language)].append(one)
            else:
                notes[reason] += 1
        if wanted and all(len(found.get(language, ())) >= clips for language in wanted):
            break
    for language in sorted(wanted - found.keys()):
        notes[f"of {language}: none could be drawn"] = stated["languages"][language]["accepted"]
    return {language: _in_proportion(ones, clips, seed) for language, ones in sorted(found.items())}


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


def _planted(drawn: Mapping[str, Sequence[Utterance]], seed: int) -> list[Planted]:
    planted: list[Planted] = []
    for language, ones in drawn.items():
        foreign = [one for other, others in drawn.items() if other != language for one in others]
        planted += planting.plant(Corpus(language, ones, foreign), FAULTS_EACH, seed)
    return planted


def _observe(
    recipe: Recipe,
    settled: precision.Precision,
    observing: str,
    out: str,
    held: lock.Held,
    planted: Sequence[Planted],
    progress: ProgressListener | None,
) -> pa.Table:
    """The planted pairs' observations, of this run or an earlier one."""
    folder = storage.join(out, _FOLDER)
    storage.sweep(storage.join(folder, "observations"))
    settings = precision.obeyed(recipe.observe, settled)
    unwanted = {name: getattr(settings, name).model_copy(update={"enabled": False}) for name in ("quality", "speakers")}
    blocks = []
    for first in range(0, len(planted), _BLOCK_CLIPS):
        inputs = tuple(
            Input(utterance=one.utterance, container=_FOLDER) for one in planted[first : first + _BLOCK_CLIPS]
        )
        blocks.append(PlannedBlock(block_name(inputs, digest(_FOLDER, observing)), inputs))
    if progress:
        progress.planned(len(blocks), len(planted))
    there = commit.committed(folder)

    def missing() -> Iterator[PlannedBlock]:
        for block in blocks:
            if block.name not in there:
                yield block
            elif progress:
                progress.block_done(inputs=len(block.inputs), failed=0, audio_s=0.0, skipped=True, verdicts={})

    for result in engines.observe(missing(), settings.model_copy(update=unwanted), recipe.run, folder):
        interrupts.check()
        held.check()
        if progress:
            progress.block_done(
                inputs=result.inputs, failed=result.failed, audio_s=result.audio_s, skipped=False, verdicts={}
            )
    needed = columns.stored(_needed(recipe.judge))
    return pa.concat_tables(
        [columns.read(commit.block_uri(folder, block.name), [*needed, "hypothesis"]) for block in blocks]
    )


def _needed(section: Judge) -> list[str]:
    """The scores of the section's rules, and of all thresholds that may be fitted."""
    every = rules(with_thresholds(section, OFF))
    return sorted({"duration_s", *(name for rule in (*rules(section), *every) for name in rule.needs())})


def _scored(
    section: Judge,
    table: pa.Table,
    planted: Sequence[Planted],
    drawn: Mapping[str, Sequence[Utterance]],
    border_limits: Sequence[tuple[str, str, float]],
) -> Scored:
    limits = {(corpus, language): limit_db for corpus, language, limit_db in border_limits}
    origins = {one.id: one for ones in drawn.values() for one in ones}
    pair_of = {one.utterance.id: one for one in planted}
    pairs = [pair_of[name] for name in table["id"].to_pylist()]
    heard_again = {
        pair.origin
        for pair, hypothesis in zip(pairs, table["hypothesis"].to_pylist(), strict=True)
        if pair.fault == CLEAN and _is_heard(origins[pair.origin], hypothesis)
    }
    given = np.array([origins[pair.origin].text_origin == GIVEN for pair in pairs], bool)
    return Scored(
        columns.derive(table, _needed(section), section.consistency.phrases, limits),
        fault=np.array([pair.fault for pair in pairs], object),
        language=np.array([origins[pair.origin].language for pair in pairs], object),
        given=given,
        right=given | np.array([pair.origin in heard_again for pair in pairs], bool),
        texts=[origins[pair.origin].text or "" for pair in pairs],
    )


def _is_heard(one: Utterance, hypothesis: str | None) -> bool:
    """Whether a hypothesis has the words of the utterance's text."""
    return normalize(one.text or "", one.language) == normalize(hypothesis or "", one.language)


def _fitted(recipe: Recipe, scored: Scored, allowed: float) -> dict[str, Any] | None:
    """Fitted thresholds, and on the half of the texts that they were not fitted on what they and the recipe's do."""
    keys = calibration.fittable(scored, recipe.observe.language_model.model is not None)
    thresholds = calibration.fitted(recipe.judge, scored, allowed, keys)
    if thresholds is None:
        return None
    other = ~scored.fitting
    sections = {"findings": with_thresholds(recipe.judge, thresholds), "recipe": recipe.judge}
    found = {
        name: [one.to_dict() for one in calibration.findings(section, scored, other)]
        for name, section in sections.items()
    }
    return {"allowed": allowed, "thresholds": thresholds, **found}
