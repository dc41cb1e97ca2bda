"""The card's charts as numbers: bars, ends and ticks of the axes. The page's script draws them (``charts.js``).

A layer of bars says its role: accepted, beyond (a threshold on this score) or others. The page gives it its colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.report.card_data import Histogram
from llaso_data.report.reasons import Measure

MARGIN = {"l": 40, "r": 14, "t": 28, "b": 28}  # pixels; the page places the threshold lines by them
HEIGHT = 210
_MOST_BARS = 48
_MOST_TICKS = {"x": 8, "y": 4}
_LOG_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
_TALL = 3.0  # a bar that is so many times higher than the next is cut off, with its count on it
ROLES = (("accepted", "accepted"), ("beyond", "beyond a threshold here"), ("others", "left out for another reason"))


def view(histogram: Histogram, measure: Measure, marks: Sequence[float]) -> tuple[float, float] | None:
    """Choose the ends of an axis.

    Args:
        histogram: the values.
        measure: the score.
        marks: thresholds that must be visible.

    Returns:
        Low and high, in the score's unit, with a margin; None where there is no value.
    """
    edges = histogram.edges
    used_bars = np.flatnonzero(histogram.accepted + histogram.beyond + histogram.others)
    if not len(used_bars):
        return None
    ends = [float(edges[used_bars[0]]), float(edges[used_bars[-1] + 1]), *marks]
    low, high = max(min(ends), float(edges[0])), min(max(ends), float(edges[-1]))
    if measure.axis == "log":
        air = (high / low) ** 0.04
        return low / air, high * air
    air = max((high - low) * 0.04, measure.step)
    return low - air, high + air


def histogram_figure(histogram: Histogram, measure: Measure, low: float, high: float) -> dict[str, Any]:
    """Stacked bars of one score between ``low`` and ``high``, as JSON.

    Returns:
        ``label``, the chart in words; ``edges`` of the bars, in the score's unit; ``layers`` of counts, each with its
        role, lowest first; ``says``, the words for each bar; ``cut``, the bars that are higher than the axis, as
        [number, count]; and the axes ``x`` and ``y`` with their ends and ticks.
    """
    edges, bars = _coarse(histogram, low, high)
    total = sum(bars.values(), np.zeros(len(edges) - 1, np.int64))
    top, is_cut = _top(total)
    cut = np.flatnonzero(total > top) if is_cut else np.zeros(0, np.int64)
    is_log = measure.axis == "log"
    ticks = [tick for tick in _LOG_TICKS if low <= tick <= high] if is_log else _ticks(low, high, _MOST_TICKS["x"])
    return {
        "label": f"{measure.title}: {int(total.sum()):,} utterances, {_range(low, high, measure)}",
        "edges": [float(f"{edge:.6g}") for edge in np.clip(edges, low, high).tolist()],
        "layers": [{"role": role, "counts": bars[role].tolist()} for role, _ in ROLES if bars[role].any()],
        "says": [_says(edges, bars, bar, measure) for bar in range(len(total))],
        "cut": [[int(bar), f"{int(total[bar]):,}"] for bar in cut],
        "x": {"low": low, "high": high, "log": is_log, "ticks": [[tick, _minus(f"{tick:g}")] for tick in ticks]},
        "y": {"low": 0, "high": top, "ticks": [[int(t), _short(int(t))] for t in _ticks(0, top, _MOST_TICKS["y"], 1)]},
    }


def _ticks(low: float, high: float, most: int, least_step: float = 0.0) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most so many: multiples of 1, 2 or 5 times a power of ten."""
    power = math.floor(math.log10((high - low) / most))
    steps = (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5))
    step = next(step for step in steps if step >= least_step and (high - low) / step <= most)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _says(edges: npt.NDArray[np.float64], bars: dict[str, npt.NDArray[np.int64]], bar: int, measure: Measure) -> str:
    """A bar in words: from where to where, and how many of each role."""
    counts = ", ".join(f"{int(bars[role][bar]):,} {name}" for role, name in ROLES if bars[role][bar])
    return f"{_range(float(edges[bar]), float(edges[bar + 1]), measure)}: {counts}" if counts else ""


def _coarse(
    histogram: Histogram, low: float, high: float
) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.int64]]]:
    """Edges and counts of the bars within the view; neighbours are merged so that bars are wide enough to be seen."""
    borders = histogram.edges
    first = max(int(np.searchsorted(borders, low, side="right")) - 1, 0)
    last = min(int(np.searchsorted(borders, high)), len(borders) - 1)
    merged = max(1, -(-(last - first) // _MOST_BARS))
    first -= first % merged
    starts = np.arange(first, last, merged)
    edges = np.append(borders[starts], borders[min(int(starts[-1]) + merged, len(borders) - 1)])
    counts = {role: getattr(histogram, role) for role, _ in ROLES}
    end = min(int(starts[-1]) + merged, len(borders) - 1)
    return edges, {role: np.add.reduceat(bars[:end], starts) for role, bars in counts.items()}


def _top(total: npt.NDArray[np.int64]) -> tuple[float, bool]:
    """The end of the axis, and whether a bar goes beyond it, because it would make all others flat."""
    ordered = np.sort(total[total > 0])[::-1]
    if len(ordered) > 2 and ordered[0] > _TALL * ordered[1]:
        return float(ordered[1]) * 1.6, True
    return float(ordered[0]) * 1.06, False


def _range(low: float, high: float, measure: Measure) -> str:
    unit = f" {measure.unit}" if measure.unit and measure.unit != "/s" else measure.unit
    return _minus(f"{low:.3g} to {high:.3g}{unit}")


def _short(count: int) -> str:
    """At most five characters: 9,500, then 10k, 250k, 1.5M."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if count >= 10 * unit or (unit > 1000 and count >= unit):
            return f"{count / unit:g}{name}"
    return f"{count:,}"


def _minus(number: str) -> str:
    return number.replace("-", "−")
