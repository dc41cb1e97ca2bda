"""``llaso-model report``: one HTML file without a network, and the same figures as JSON, of score folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import LAYERS, Tasks
from llaso_data.io import outputs, storage
from llaso_data.report import page
from llaso_model.evaluate import score, store
from llaso_model.evaluate.datasets import tasks
from llaso_model.evaluate.extract.labels import ANSWER_KINDS
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.rate.ratings import results
from llaso_model.evaluate.report import worst_examples
from llaso_model.evaluate.rows import all_metrics
from llaso_model.evaluate.statistics import summary, unjudged

EXAMPLES_PER_SET = 6  # worst rows of a set and system that are shown
_BY = "llaso-model report"
_GROUPS = {
    "linguistic": "Linguistic",
    "semantic": "Semantic",
    "speaker": "Paralinguistic: the speaker",
    "content": "Paralinguistic: the content",
    "generation": "Generation",
    "refusal": "Refusals and questions back",
}
_KIND_TITLES = {
    "one": "one answer",
    "several": "several",
    "none": "none",
    "refusal": "refusal",
    "empty": "empty",
}


def report(
    folders: Sequence[str],
    out: str | None = None,
    *,
    title: str | None = None,
    audio_root: str | None = None,
    examples: int = EXAMPLES_PER_SET,
    tasks_path: str | None = None,
) -> tuple[str, str]:
    """Writes ``report.html`` and ``report.json`` of score folders.

    Args:
        folders: Folders that :func:`llaso_model.evaluate.score.score` wrote. The systems of several are compared as if
            they had been scored at once.
        out: Folder of the report; None: the first of ``folders``.
        title: Heading of the page.
        audio_root: Folder that the rows' audio paths are relative to; None: the page has no sound.
        examples: How many of the worst rows of each set and system are shown.
        tasks_path: A file of tasks beside LLaSO's own, or None.

    Returns:
        The paths of both files.

    Raises:
        LLaSOError: A folder has no scores, a system is in two of them, or the report would replace other files.
    """
    if not folders:
        raise LLaSOError("name a folder that llaso-model score wrote")
    target = out or folders[0]
    html, json_path = storage.join(target, "report.html"), storage.join(target, "report.json")
    outputs.refuse(html, _BY, outputs.marked(f'<meta name="generator" content="{_BY}">'))
    outputs.refuse(json_path, _BY, outputs.json_of(score.FORMAT))
    declared = tasks.load(tasks_path)
    rows, scores = merge_folders(folders, declared)
    ratings = results(folders)
    storage.write_json(json_path, {**scores, "ratings": ratings})
    text = render(rows, scores, declared, title=title, audio_root=audio_root, examples=examples, ratings=ratings)
    storage.write_bytes(html, text.encode("utf-8"))
    return html, json_path


def merge_folders(folders: Sequence[str], declared: Tasks) -> tuple[list[Row], dict[str, Any]]:
    """Reads the rows and scores of folders. The scores of several are computed anew.

    Raises:
        LLaSOError: A folder has no scores, or a system is in two of them.
    """
    all_scores = [score.read_scores(folder) for folder in folders]
    rows = [row for folder in folders for row in store.read(storage.join(folder, "rows.parquet"))]
    if len(folders) == 1:
        return rows, all_scores[0]
    known: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.prediction.system, row.prediction.set, row.prediction.id)
        if key in known:
            raise LLaSOError(f"{row.prediction.system} is in two of the folders; score one of them as NEWNAME=PATH")
        known[key] = 1
    files = {name: value for scores in all_scores for name, value in scores["made"]["files"].items()}
    seed = int(all_scores[0]["made"]["seed"])
    listed = {key: [line for scores in all_scores for line in scores.get(key, [])] for key in ("skipped", "remarks")}
    head = {key: all_scores[0][key] for key in ("format", "format_version")}
    judged_by = [scores["made"].get("judged_by") for scores in all_scores]
    return rows, {
        **head,
        "made": {**score.provenance(declared, seed, files), "judged_by": judged_by[0]},
        **listed,
        **summary.summarise(rows, declared, seed, asked=any(judged_by)),
    }


def render(
    rows: Sequence[Row],
    scores: dict[str, Any],
    declared: Tasks,
    *,
    title: str | None = None,
    audio_root: str | None = None,
    examples: int = EXAMPLES_PER_SET,
    ratings: dict[str, Any] | None = None,
) -> str:
    """Renders the page as HTML. It depends on the scores and the options alone."""
    shown = worst_examples.worst_rows(rows, declared, examples)
    own = __package__
    scripts = [page.joined("js", "charts") + page.asset("report.js", own)]
    systems = scores["systems"]
    return page.render(
        "report.html.j2",
        scripts,
        package=own,
        css=page.asset("common.css") + page.asset("report.css", own),
        policy=page.policy(scripts),
        title=title or f"{len(systems)} system{'s' if len(systems) != 1 else ''} compared",
        scores=scores,
        systems=_by_score(scores),
        number={system: i for i, system in enumerate(systems)},
        groups=[(name, [entry for entry in scores["tasks"] if entry["group"] == key]) for key, name in _GROUPS.items()],
        leaders={entry["name"]: leaders(entry, scores["pairs"]) for entry in scores["tasks"]},
        layers=_layers(scores),
        chooser=[
            (task.title, [entry["name"] for entry in scores["sets"] if entry["task"] == name])
            for name, task in declared.tasks.items()
        ],
        transcripts=[entry for entry in scores["sets"] if entry["kind"] == "transcript"],
        kinds=[(kind, _KIND_TITLES[kind]) for kind in ANSWER_KINDS],
        closed=_closed_accuracy(scores),
        scale=_scale(scores),
        ratings=ratings,
        unjudged=unjudged.unjudged_lines(scores),
        payload=page.as_json(_payload(scores, declared)),
        samples=page.as_json(
            {
                name: {s: [worst_examples.as_json(r, declared) for r in rs] for s, rs in by.items()}
                for name, by in shown.items()
            }
        ),
        sounds=page.as_json(worst_examples.example_sounds(shown, audio_root)),
        filters={"count": lambda n: f"{n:,}", "points": _points, "span": _span},
    )


def leaders(task: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Marks the best systems of a task.

    Returns:
        By system ``best``, or ``level`` where it is not significantly below the best (adjusted p ≥ 0.05).
    """
    values = {system: score["value"] for system, score in task["scores"].items() if score["value"] is not None}
    if len(values) < 2:
        return {}
    best = max(values, key=lambda system: values[system])
    standing = {best: "best"}
    for pair in pairs:
        if pair["on"] == "task" and pair["name"] == task["name"] and best in (pair["first"], pair["second"]):
            other = pair["second"] if pair["first"] == best else pair["first"]
            if pair["p_holm"] >= 0.05:
                standing[other] = "level"
    return standing


def _by_score(scores: Mapping[str, Any]) -> list[str]:
    """The systems, the best first."""
    common = scores["overall"]["common"]
    return sorted(scores["systems"], key=lambda system: -(common.get(system, {}).get("value") or 0.0))


def _scale(scores: Mapping[str, Any]) -> float:
    """The right end of the overall chart's axis, out of 1."""
    highs = [
        figure["high"] for part in ("common", "all") for figure in scores["overall"][part].values() if figure["high"]
    ]
    return next(end for end in (0.25, 0.5, 0.75, 1.0) if max(highs, default=1.0) <= end)


def _closed_accuracy(scores: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Coverage, accuracy on all and on answered rows, over the closed questions with labels, by system."""
    by_system: dict[str, dict[str, float]] = {}
    for system in scores["systems"]:
        asked = answered = right = 0.0
        for set_summary in scores["sets"]:
            metrics = set_summary["metrics"].get(system, {})
            if "coverage" not in metrics or metrics.get("accuracy", {}).get("value") is None:
                continue
            rows = metrics["coverage"]["rows"]
            asked += rows
            answered += rows * metrics["coverage"]["value"]
            right += rows * metrics["accuracy"]["value"]
        if asked:
            by_system[system] = {
                "coverage": answered / asked,
                "accuracy": right / asked,
                "answered": right / answered if answered else 0.0,
            }
    return by_system


def _layers(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The four layers of evaluation, each with the scores or tags that belong to it."""
    basic = [entry for entry in scores["tasks"] if entry["layer"] == "basic"]
    common = scores["overall"]["common"]
    everything = {system: common[system]["value"] if system in common else None for system in scores["systems"]}
    tags = scores["tags"]
    others = ("noise", "speed", "reverberation", "band", "accent", "ambiguous")
    robust = [entry for entry in tags if entry["tag"].split(":")[0] in others]
    levels = {entry["tag"] for entry in tags if entry["tag"].startswith("snr:")}
    general = [entry for entry in tags if entry["tag"].startswith("unseen")]
    stated = {entry["name"]: entry for entry in scores.get("layers", [])}
    shown: list[dict[str, Any]] = [
        {
            "name": "Basic ability",
            "says": "recognising speech and answering spoken questions",
            "scores": _mean(basic, scores),
        },
        {
            "name": "Tasks",
            "says": f"the {len(scores['overall']['common_tasks'])} that all systems answered",
            "scores": everything,
        },
        {"name": "Generalisation", "says": "rows tagged unseen_…", "tags": general},
        {
            "name": "Robustness",
            "says": "rows tagged snr:…, speed:…, accent, ambiguous",
            "tags": robust,
            "levels": len(levels),
        },
    ]
    for key, entry in zip(LAYERS, shown, strict=True):
        if (layer := stated.get(key)) is not None:
            entry["scores"] = {system: (told["score"] or {}).get("value") for system, told in layer["systems"].items()}
            entry["passed"] = {system: told["passed"] for system, told in layer["systems"].items()}
            entry["chance"] = layer["chance"]
            entry["informed"] = {
                system: told["informedness"]["value"]
                for system, told in layer["systems"].items()
                if told["informedness"] is not None
            }
    return shown


def _mean(tasks: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for system in scores["systems"]:
        values = [task["scores"][system]["value"] for task in tasks if system in task["scores"]]
        is_complete = len(values) == len(tasks) and values and None not in values
        means[system] = sum(values) / len(values) if is_complete else None
    return means


def _payload(scores: Mapping[str, Any], declared: Tasks) -> dict[str, Any]:
    """The data that the page's script draws."""
    titles = {name: (entry.title, entry.unit, entry.better) for name, entry in all_metrics().items()}
    titles["judge"] = ("Judge, 1–5", "number", "higher")
    return {
        "systems": scores["systems"],
        "order": _by_score(scores),
        "metrics": {name: {"title": a, "unit": b, "better": c} for name, (a, b, c) in titles.items()},
        "kinds": _KIND_TITLES,
        "tasks": {name: entry.title for name, entry in declared.tasks.items()},
        "sets": [
            {**entry, "confusion": {system: _sparse(matrix) for system, matrix in entry["confusion"].items()}}
            for entry in scores["sets"]
        ],
        "pairs": [
            {k: pair[k] for k in ("name", "first", "second", "difference", "low", "high", "p_holm")}
            for pair in scores["pairs"]
            if pair["on"] == "set"
        ],
        "curves": _curves(scores),
    }


def _sparse(matrix: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    return [(i, j, count) for i, row in enumerate(matrix) for j, count in enumerate(row) if count]


def _curves(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A curve for each set with rows tagged ``snr:<dB>``: the primary metric over the signal-to-noise ratio."""
    curves: dict[str, dict[str, Any]] = {}
    for tag_figures in scores["tags"]:
        kind, _, level = tag_figures["tag"].partition(":")
        if kind == "snr" and (level_db := _level_db(level)) is not None:
            curve = curves.setdefault(
                tag_figures["set"], {"set": tag_figures["set"], "metric": tag_figures["metric"], "points": []}
            )
            curve["points"].append({"snr_db": level_db, "figures": tag_figures["figures"]})
    return list(curves.values())


def _level_db(level: str) -> float | None:
    """The level of a tag in dB; None where it is no number, because anybody may write tags."""
    try:
        level_db = float(level)
    except ValueError:
        return None
    return level_db if math.isfinite(level_db) else None


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _span(figure: Mapping[str, Any]) -> str:
    return "" if figure["low"] is None else f"{100 * figure['low']:.1f} to {100 * figure['high']:.1f}"
