"""``llaso-model report``: one HTML file without a network, and the same figures as JSON, of score folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Tasks
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
    each: int = EXAMPLES_PER_SET,
    tasks_path: str | None = None,
) -> tuple[str, str]:
    """Writes ``report.html`` and ``report.json`` into `out` (default: the first folder); returns their paths.

    Several folders are put together: their systems are compared as if they had been scored at once. `audio_root` is
    the folder that the rows' audio paths are relative to. Raises LLaSOError for folders that are no scores, or that
    hold one system twice, and where a report would replace other files.
    """
    if not folders:
        raise LLaSOError("name a folder that llaso-model score wrote")
    target = out or folders[0]
    html, json_path = storage.join(target, "report.html"), storage.join(target, "report.json")
    outputs.refuse(html, _BY, outputs.marked(f'<meta name="generator" content="{_BY}">'))
    outputs.refuse(json_path, _BY, outputs.json_of(score.FORMAT))
    declared = tasks.load(tasks_path)
    rows, said = merge_folders(folders, declared)
    ratings = results(folders)
    storage.write_json(json_path, {**said, "ratings": ratings})
    text = render(rows, said, declared, title=title, audio_root=audio_root, each=each, ratings=ratings)
    storage.write_bytes(html, text.encode("utf-8"))
    return html, json_path


def merge_folders(folders: Sequence[str], declared: Tasks) -> tuple[list[Row], dict[str, Any]]:
    """All rows of the folders, and their figures: as they stand in one folder, computed anew for several."""
    read = [score.read_scores(folder) for folder in folders]
    rows = [row for folder in folders for row in store.read(storage.join(folder, "rows.parquet"))]
    if len(folders) == 1:
        return rows, read[0]
    seen: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.prediction.system, row.prediction.set, row.prediction.id)
        if key in seen:
            raise LLaSOError(f"{row.prediction.system} is in two of the folders; score one of them as NEWNAME=PATH")
        seen[key] = 1
    files = {name: value for one in read for name, value in one["made"]["files"].items()}
    seed = int(read[0]["made"]["seed"])
    listed = {key: [line for one in read for line in one.get(key, [])] for key in ("skipped", "remarks")}
    head = {key: read[0][key] for key in ("format", "format_version")}
    judged_by = [one["made"].get("judged_by") for one in read]
    return rows, {
        **head,
        "made": {**score.provenance(declared, seed, files), "judged_by": judged_by[0]},
        **listed,
        **summary.summarise(rows, declared, seed, asked=any(judged_by)),
    }


def render(
    rows: Sequence[Row],
    said: dict[str, Any],
    declared: Tasks,
    *,
    title: str | None = None,
    audio_root: str | None = None,
    each: int = EXAMPLES_PER_SET,
    ratings: dict[str, Any] | None = None,
) -> str:
    """The page as text: a pure function of the scores and the options."""
    shown = worst_examples.worst_rows(rows, declared, each)
    own = __package__
    scripts = [page.joined("js", "charts") + page.asset("report.js", own)]
    systems = said["systems"]
    return page.render(
        "report.html.j2",
        scripts,
        package=own,
        css=page.asset("common.css") + page.asset("report.css", own),
        policy=page.policy(scripts),
        title=title or f"{len(systems)} system{'s' if len(systems) != 1 else ''} compared",
        said=said,
        systems=_ordered(said),
        number={system: i for i, system in enumerate(systems)},
        groups=[(name, [one for one in said["tasks"] if one["group"] == key]) for key, name in _GROUPS.items()],
        leaders={one["name"]: leaders(one, said["pairs"]) for one in said["tasks"]},
        layers=_layers(said),
        chooser=[
            (task.title, [one["name"] for one in said["sets"] if one["task"] == name])
            for name, task in declared.tasks.items()
        ],
        transcripts=[one for one in said["sets"] if one["kind"] == "transcript"],
        kinds=[(kind, _KIND_TITLES[kind]) for kind in ANSWER_KINDS],
        closed=_closed(said),
        scale=_scale(said),
        ratings=ratings,
        unjudged=unjudged.unjudged_lines(said),
        payload=page.as_json(_payload(said, declared)),
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
    """By system ``best``, or ``level`` where it is not significantly below the best (adjusted p ≥ 0.05)."""
    values = {system: one["value"] for system, one in task["scores"].items() if one["value"] is not None}
    if len(values) < 2:
        return {}
    best = max(values, key=lambda system: values[system])
    found = {best: "best"}
    for pair in pairs:
        if pair["on"] == "task" and pair["name"] == task["name"] and best in (pair["first"], pair["second"]):
            other = pair["second"] if pair["first"] == best else pair["first"]
            if pair["p_holm"] >= 0.05:
                found[other] = "level"
    return found


def _ordered(said: Mapping[str, Any]) -> list[str]:
    """The systems, the best first."""
    common = said["overall"]["common"]
    return sorted(said["systems"], key=lambda system: -(common.get(system, {}).get("value") or 0.0))


def _scale(said: Mapping[str, Any]) -> float:
    """The right end of the overall chart's axis, out of 1."""
    highs = [one["high"] for part in ("common", "all") for one in said["overall"][part].values() if one["high"]]
    return next(end for end in (0.25, 0.5, 0.75, 1.0) if max(highs, default=1.0) <= end)


def _closed(said: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Coverage, and accuracy on answered and on all, over the closed questions with labels, by system."""
    found: dict[str, dict[str, float]] = {}
    for system in said["systems"]:
        asked = answered = right = 0.0
        for one in said["sets"]:
            metrics = one["metrics"].get(system, {})
            if "coverage" not in metrics or metrics.get("accuracy", {}).get("value") is None:
                continue
            rows = metrics["coverage"]["rows"]
            asked += rows
            answered += rows * metrics["coverage"]["value"]
            right += rows * metrics["accuracy"]["value"]
        if asked:
            found[system] = {
                "coverage": answered / asked,
                "accuracy": right / asked,
                "answered": right / answered if answered else 0.0,
            }
    return found


def _layers(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The four layers, each with what it consists of here."""
    basic = [one for one in said["tasks"] if one["layer"] == "basic"]
    common = said["overall"]["common"]
    everything = {system: common[system]["value"] if system in common else None for system in said["systems"]}
    tags = said["tags"]
    others = ("noise", "speed", "reverberation", "band", "accent", "ambiguous")
    robust = [one for one in tags if one["tag"].split(":")[0] in others]
    levels = {one["tag"] for one in tags if one["tag"].startswith("snr:")}
    general = [one for one in tags if one["tag"].startswith("unseen")]
    return [
        {
            "name": "Basic ability",
            "says": "recognising speech and answering spoken questions",
            "scores": _mean(basic, said),
        },
        {
            "name": "Tasks",
            "says": f"the {len(said['overall']['common_tasks'])} that all systems answered",
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


def _mean(some: Sequence[Mapping[str, Any]], said: Mapping[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for system in said["systems"]:
        values = [one["scores"][system]["value"] for one in some if system in one["scores"]]
        there = len(values) == len(some) and values and None not in values
        found[system] = sum(values) / len(values) if there else None
    return found


def _payload(said: Mapping[str, Any], declared: Tasks) -> dict[str, Any]:
    """What the page's script draws from."""
    titles = {name: (one.title, one.unit, one.better) for name, one in all_metrics().items()}
    titles["judge"] = ("Judge, 1–5", "number", "higher")
    return {
        "systems": said["systems"],
        "order": _ordered(said),
        "metrics": {name: {"title": a, "unit": b, "better": c} for name, (a, b, c) in titles.items()},
        "kinds": _KIND_TITLES,
        "tasks": {name: one.title for name, one in declared.tasks.items()},
        "sets": [
            {**one, "confusion": {system: _sparse(matrix) for system, matrix in one["confusion"].items()}}
            for one in said["sets"]
        ],
        "pairs": [
            {k: pair[k] for k in ("name", "first", "second", "difference", "low", "high", "p_holm")}
            for pair in said["pairs"]
            if pair["on"] == "set"
        ],
        "curves": _curves(said),
    }


def _sparse(matrix: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    return [(i, j, count) for i, row in enumerate(matrix) for j, count in enumerate(row) if count]


def _curves(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A curve of every set with rows tagged ``snr:<dB>``: its primary metric over the signal-to-noise ratio."""
    found: dict[str, dict[str, Any]] = {}
    for one in said["tags"]:
        kind, _, level = one["tag"].partition(":")
        if kind == "snr" and (level_db := _level_db(level)) is not None:
            curve = found.setdefault(one["set"], {"set": one["set"], "metric": one["metric"], "points": []})
            curve["points"].append({"snr_db": level_db, "figures": one["figures"]})
    return list(found.values())


def _level_db(level: str) -> float | None:
    """What a tag says of a level; rows of others may say it in words."""
    try:
        found = float(level)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _span(figure: Mapping[str, Any]) -> str:
    return "" if figure["low"] is None else f"{100 * figure['low']:.1f} to {100 * figure['high']:.1f}"
