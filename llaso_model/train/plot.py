"""Curves of one run or several, side by side: losses, validation and speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llaso_data.io import pictures
from llaso_model.train.log import read_metrics
from llaso_model.train.losses import in_order

BY = "llaso-model plot"
_COLUMNS = 3
_MANY = 100  # points; a curve with as many gets a running mean
_SMOOTH = 0.1  # weight of the next value in the running mean


def draw(runs: Sequence[Path], figure: str) -> list[str]:
    """Draws a panel for each metric with a line for each run.

    Args:
        runs: Folders of runs.
        figure: Path of a PNG, SVG or PDF.

    Returns:
        Names of the panels.

    Raises:
        LLaSOError: A run has no metrics, or the figure would replace another file.
    """
    pictures.refuse(figure, BY, "--figure")
    records = {
        run.name if len({one.name for one in runs}) == len(runs) else str(run): read_metrics(run) for run in runs
    }
    known = {name for lines in records.values() for line in lines for name in line}
    losses = dict.fromkeys(("completion", *in_order()))
    panels = [name for name in ("loss", *losses, "grad_norm", "lr", "audio_s_per_s") if name in known]
    panels += sorted(name for name in known if name.startswith("validation/") and name != "validation/value")
    pyplot = pictures.pyplot()
    rows = -(-len(panels) // _COLUMNS)
    drawn, axes = pyplot.subplots(
        rows, _COLUMNS, figsize=(4.2 * _COLUMNS, 2.7 * rows), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes.flat, panels, strict=False):
        for number, (run, lines) in enumerate(records.items()):
            points = [(line["step"], line[name]) for line in lines if name in line]
            _line(axis, points, f"C{number}", run, smooth=not name.startswith(("validation/", "lr")))
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.axis("off")
    drawn.supxlabel("step", fontsize=9)
    if len(records) > 1:
        axes.flat[0].legend(fontsize=8)
    pictures.save(drawn, figure, BY, dpi=130)
    return panels


def _line(axis: Any, points: list[tuple[int, float]], colour: str, label: str, smooth: bool) -> None:
    steps, values = zip(*points, strict=True) if points else ((), ())
    if not smooth or len(values) < _MANY:
        axis.plot(steps, values, color=colour, label=label, marker="." if len(values) < 40 else None, linewidth=1.4)
        return
    means = [values[0]]
    for value in values[1:]:
        means.append((1 - _SMOOTH) * means[-1] + _SMOOTH * value)
    axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    axis.plot(steps, means, color=colour, label=label, linewidth=1.6)
