"""The card's charts as Plotly figures without colours: the page gives each trace the colour of its role, light or dark.

A trace says its role in ``meta``: accepted, beyond (a threshold on this score) or others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.report.card_data import Histogram
from llaso_data.report.reasons import Measure

MARGIN = {"l": 40, "r": 14, "t": 28, "b": 28}  # pixels; the page places the threshold lines by them
HEIGHT = 210
_MOST_BARS = 48
_LOG_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
_FILLED = 0.9  # of a bar's stretch; the rest parts it from its neighbour
_TALL = 3.0  # a bar so many times higher than the next is cut off and says its count
ROLES = (("accepted", "accepted"), ("beyond", "beyond a threshold here"), ("others", "left out for another reason"))


def view(histogram: Histogram, measure: Measure, marks: Sequence[float]) -> tuple[float, float] | None:
    """(low, high) of the axis: what holds the values and the thresholds, with some air; None where no value is."""
    borders = histogram.borders
    some = np.flatnonzero(histogram.accepted + histogram.beyond + histogram.others)
    if not len(some):
        return None
    ends = [float(borders[some[0]]), float(borders[some[-1] + 1]), *marks]
    low, high = max(min(ends), float(borders[0])), min(max(ends), float(borders[-1]))
    if measure.axis == "log":
        air = (high / low) ** 0.04
        return low / air, high * air
    air = max((high - low) * 0.04, measure.step)
    return low - air, high + air


def histogram_figure(histogram: Histogram, measure: Measure, low: float, high: float) -> dict[str, Any]:
    """Stacked bars of one score between `low` and `high`, as JSON."""
    import plotly.graph_objects as go

    borders, bars = _coarse(histogram, low, high)
    width = np.diff(borders)
    total = sum(bars.values(), np.zeros(len(width), np.int64))
    ranges = [_range(a, b, measure) for a, b in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)]
    figure = go.Figure(
        [
            go.Bar(
                x=_numbers((borders[:-1] + borders[1:]) / 2),
                y=bars[role].tolist(),
                width=_numbers(width * _FILLED),
                name=name,
                meta=role,
                customdata=ranges,
                hovertemplate="%{customdata}: %{y:,} " + name + "<extra></extra>",
            )
            for role, name in ROLES
            if bars[role].any()
        ]
    )
    top, cut = _top(total)
    figure.update_layout(
        template=None,
        barmode="stack",
        bargap=0,
        showlegend=False,
        height=HEIGHT,
        margin=MARGIN,
        hoverlabel={"align": "left"},
        yaxis={"range": [0, top], "nticks": 4, "tickformat": ",d", "fixedrange": True, "zeroline": False},
    )
    if measure.axis == "log":
        ticks = [tick for tick in _LOG_TICKS if low <= tick <= high]
        limits = [float(np.log10(low)), float(np.log10(high))]
        figure.update_xaxes(type="log", range=limits, tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    else:
        figure.update_xaxes(range=[low, high], nticks=8)
    figure.update_xaxes(fixedrange=True, zeroline=False, showgrid=False, ticksuffix="")
    for bar in np.flatnonzero(total > top) if cut else ():
        middle = float((borders[bar] + borders[bar + 1]) / 2)
        figure.add_annotation(
            x=float(np.log10(middle)) if measure.axis == "log" else middle,
            y=top,
            text=f"{int(total[bar]):,}",
            showarrow=False,
            yanchor="bottom",
            yshift=1,
        )
    plain: dict[str, Any] = figure.to_plotly_json()
    plain["layout"].pop("template", None)
    return plain


def _coarse(
    histogram: Histogram, low: float, high: float
) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.int64]]]:
    """Borders and counts within the view, neighbours joined so that the bars stay wide enough to be seen."""
    borders = histogram.borders
    first = max(int(np.searchsorted(borders, low, side="right")) - 1, 0)
    last = min(int(np.searchsorted(borders, high)), len(borders) - 1)
    joined = max(1, -(-(last - first) // _MOST_BARS))
    first -= first % joined
    starts = np.arange(first, last, joined)
    edges = np.append(borders[starts], borders[min(int(starts[-1]) + joined, len(borders) - 1)])
    counts = {role: getattr(histogram, role) for role, _ in ROLES}
    end = min(int(starts[-1]) + joined, len(borders) - 1)
    return edges, {role: np.add.reduceat(bars[:end], starts) for role, bars in counts.items()}


def _top(total: npt.NDArray[np.int64]) -> tuple[float, bool]:
    """The axis's end, and whether a bar goes beyond it: one that would press all others flat."""
    ordered = np.sort(total[total > 0])[::-1]
    if len(ordered) > 2 and ordered[0] > _TALL * ordered[1]:
        return float(ordered[1]) * 1.6, True
    return float(ordered[0]) * 1.06, False


def _range(low: float, high: float, measure: Measure) -> str:
    unit = f" {measure.unit}" if measure.unit and measure.unit != "/s" else measure.unit
    return f"{low:.3g} to {high:.3g}{unit}".replace("-", "−")


def _numbers(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]
