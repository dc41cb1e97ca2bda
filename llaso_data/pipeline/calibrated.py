"""``calibration.json`` in build-align's output: whether a run is judged by it, and what the manifest says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llaso_data.filters.group_thresholds import NO_FITS, GroupThresholds
from llaso_data.filters.rates import mean_recall
from llaso_data.io import checksums, outputs, storage
from llaso_data.recipe import Judge, Recipe
from llaso_data.records import digest

FORMAT = "llaso-calibration"
VERSION = 2
NAME = "calibration.json"

_MOST_SHARE = 0.03  # of a run's time, for calibrating itself
# Windows of Whisper, as 405 prompts of 2.8 s on average took them with three faults a clip: packing fills one to this
# share, and of the utterances and of the planted pairs these shares are decoded again, alone.
_FILLED, _AGAIN, _PLANTED_AGAIN = 0.65, 0.08, 0.73
_WINDOW_S = 30.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a run is judged by.

    Attributes:
        report: The content of :data:`NAME`; None where the run is judged without it.
        why: Then the reason; empty where there is no such file.
        renewable: Whether a run may make it, or make it again.
    """

    report: Mapping[str, Any] | None
    why: str = ""
    renewable: bool = True

    @property
    def fitted(self) -> GroupThresholds:
        """The thresholds that replace the recipe's."""
        if self.report is None or self.report["fitted"] is None:
            return NO_FITS
        return GroupThresholds.of_json(self.report["fitted"]["thresholds"])

    def stated(self) -> dict[str, Any]:
        """The manifest's fields ``calibration``, and ``uncalibrated`` with the reason where that is null.

        Rates are those on clips that nothing was fitted on. Where nothing was fitted these are all clips.
        """
        if self.report is None:
            return {"calibration": None, "uncalibrated": self.why}
        measured = self.report["fitted"] or self.report
        content = json.dumps(self.report, sort_keys=True, ensure_ascii=False)
        return {
            "calibration": {
                "digest": digest("calibration", content),
                "allowed": self.report["judge"]["false_alarms"],
                "thresholds": self.fitted.to_json(),
                **{name: measured[name] for name in ("false_alarms", "recall", "mean_recall")},
                "groups": [_group(finding) for finding in measured["findings"]],
            }
        }


def stored(out: str, recipe: Recipe, observing: str) -> Calibration:
    """The calibration of an output, as far as its pairs were observed as this run observes.

    Args:
        out: Build-align's output.
        recipe: Of this run.
        observing: The digest of what decides this run's observations.

    Returns:
        The calibration; it may be of other rules or of another share than the recipe's (:func:`follows`).

    Raises:
        DamagedError: The file is damaged.
    """
    if recipe.judge.calibrate == "off":
        return Calibration(None, "judge.calibrate is off", renewable=False)
    if recipe.observe.align is None:
        return Calibration(None, "observe.align is null, so no thresholds can be fitted", renewable=False)
    uri = storage.join(out, NAME)
    if not outputs.is_there(uri):
        return Calibration(None)
    if not outputs.json_of(FORMAT)(uri):
        return Calibration(None, f"{NAME} was not written by `llaso-data calibrate`", renewable=False)
    report = checksums.read_json(uri, f"; remove it, and run `llaso-data calibrate {out}`")
    if report.get("format_version") != VERSION:
        return Calibration(None, f"{NAME} is of another version of LLaSO")
    if report["observing"] != observing:
        return Calibration(None, f"{NAME} is of other models, other settings or another version of LLaSO")
    return Calibration(report)


def fitted_of(manifest: Mapping[str, Any]) -> GroupThresholds:
    """The thresholds that replaced the recipe's in a finished run; a manifest of an earlier version has none."""
    calibration = manifest.get("calibration")
    return NO_FITS if calibration is None else GroupThresholds.of_json(calibration["thresholds"])


def follows(report: Mapping[str, Any], judge: Judge) -> bool:
    """Whether a report is of these rules and of this share of false alarms. Else it is made again of the same pairs."""
    now = judge.model_dump(mode="json")
    return all(report["judge"].get(name) == now[name] for name in ("confidence", "consistency", "false_alarms"))


def pair_cost(mean_s: float) -> float:
    """The time that a planted pair takes, in that of an utterance, where utterances have so many seconds on average."""
    packed = min(1.0, mean_s / (_FILLED * _WINDOW_S))
    return (packed + _PLANTED_AGAIN) / (packed + _AGAIN)


def affordable_clips(
    languages: Mapping[str, int], observed: int, mean_s: float, pairs_each: int, least: int, most: int
) -> int:
    """How many clips of a language a run may calibrate itself on, so that it takes a small part of its time.

    Args:
        languages: By language, the accepted utterances.
        observed: Utterances of the run.
        mean_s: Their mean length in seconds.
        pairs_each: Planted pairs of a clip.
        least: The fewest clips of the largest language that are of use.
        most: The most clips of a language.

    Returns:
        The number of clips; 0 where they would be too few.
    """

    each = pairs_each * pair_cost(mean_s)

    def cost(clips: int) -> float:
        return each * sum(min(clips, accepted) for accepted in languages.values())

    clips = next((clips for clips in range(most, 0, -1) if cost(clips) <= _MOST_SHARE * observed), 0)
    return clips if min(clips, max(languages.values(), default=0)) >= least else 0


def too_small(observed: int, before: str) -> str:
    """Why a run does not calibrate itself, and what to do. It does not name the output, which may be moved.

    Args:
        observed: The run's observed utterances.
        before: Why the calibration that lies there does not count; empty where there is none.
    """
    because = (
        f"{observed:,} utterances are too few for a run to calibrate itself in {100 * _MOST_SHARE:g} % of its time"
    )
    remedy = "run `llaso-data calibrate` on the output, then build-align again, which transcribes nothing"
    return "; ".join(part for part in (before, because, remedy) if part)


def _group(finding: Mapping[str, Any]) -> dict[str, Any]:
    """A group's false alarms, and its mean recall over the faults."""
    named = {name: finding[name] for name in ("corpus", "language", "texts", "false_alarms")}
    return {**named, "mean_recall": mean_recall(finding["recall"])}
