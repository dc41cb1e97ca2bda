"""The tables of ``docs/evaluate.md``: six systems on every task, ours beside what was published, and the time it takes.

``.venv/bin/python bench/evaluate_published.py ../shared/data/llaso_eval_outputs.tar.xz``
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from statistics import fmean
from typing import Any

from llaso_model.evaluate import score
from llaso_model.evaluate.datasets import layouts, tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.metrics import legacy_metrics

ORDER = ("LLaSO-Base", "Qwen2-Audio", "Typhoon-Audio", "GLM-4-Voice", "Llama-Omni", "Mini-Omni2")


def main(source: str) -> None:
    start, cpu = time.perf_counter(), sum(os.times()[:4])
    with tempfile.TemporaryDirectory() as folder:
        said = score.score([source], folder)
    print(
        f"scored {said['rows']:,} rows: {time.perf_counter() - start:.1f} s, {sum(os.times()[:4]) - cpu:.1f} s of CPU\n"
    )
    by_set: dict[str, dict[str, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    declared = tasks.load()
    read = layouts.read_predictions([source], declared)
    for one in read.predictions:
        by_set[one.set][one.system].append(one)
    speech(said)
    abstention = authors_abstention(source)
    print("| set | metric | " + " | ".join(ORDER) + " |\n|---|---|" + "---|" * len(ORDER))
    for one in said["sets"]:
        title = one["name"]
        for name, cells in rows(one, by_set[one["name"]], read.judgements, abstention).items():
            if any(cells.values()):
                shown = [cells.get(system) or "–" for system in ORDER]
                print(f"| {title} | {name} | " + " | ".join(shown) + " |")
                title = ""
    print()
    for part in ("common", "all"):
        cells = [f"{100 * said['overall'][part][s]['value']:.1f}" if s in said["overall"][part] else "–" for s in ORDER]
        print(f"| overall, {part} | " + " | ".join(cells) + " |")


def speech(said: dict[str, Any]) -> None:
    one = next(one for one in said["sets"] if one["kind"] == "transcript")
    print("| system | WER raw | swapped | WER | CER |\n|---|---|---|---|---|")
    for system in ORDER:
        if system in one["metrics"]:
            metrics = one["metrics"][system]
            cells = [f"{metrics[name]['value']:.4f}" for name in ("wer_raw", "wer_swapped", "wer", "cer")]
            print(f"| {system} | " + " | ".join(cells) + " |")
    print()


def rows(
    one: dict[str, Any], by: dict[str, list[Prediction]], judged: Any, abstention: dict[tuple[str, str], float]
) -> dict[str, dict[str, str]]:
    """Lines of the table for one set: name to cells by system."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    name, kind = one["name"], one["kind"]
    for system, predictions in by.items():
        metrics = one["metrics"][system]
        references, answers = [p.reference for p in predictions], [p.answer for p in predictions]
        judgements = judged.get((system, name), {})
        if kind == "label":
            found["ours: accuracy"][system] = share(metrics["accuracy"])
            labels = legacy_metrics.label_set(references)
            right = fmean(legacy_metrics.is_right(a, b, labels) for a, b in zip(references, answers, strict=True))
            found["their rule: accuracy"][system] = f"{100 * right:.1f}"
            split = one["said"][system]
            found["ours: several / none / refusal / empty"][system] = " / ".join(
                str(split[key]) for key in ("several", "none", "refusal", "empty")
            )
            if (system, name) in abstention:
                found["published: abstention, %"][system] = f"{abstention[system, name]:.0f}"
        elif kind == "number":
            adult = "age" in name
            error, kept = legacy_metrics.mean_absolute_error(references, answers, adult, None if adult else (0, 127))
            found["ours: MAE (coverage)"][system] = (
                f"{metrics['mae']['value']:.1f} ({100 * metrics['coverage']['value']:.0f} %)"
            )
            found["their rule: MAE (rows kept)"][system] = f"{error:.1f} ({kept})"
        elif kind == "phonemes":
            found["ours: PER, %"][system] = share(metrics["per"])
            found["their rule: PER over A–Z, %"][system] = (
                f"{100 * legacy_metrics.phoneme_error_rate(references, answers):.1f}"
            )
        elif kind == "transcript":
            found["ours: WER, %"][system] = share(metrics["wer"])
            found["their rule: WER raw, swapped, %"][system] = share(metrics["wer_swapped"])
        elif kind in ("sentence_scores", "word_scores"):
            found["ours: MAE (coverage)"][system] = (
                f"{metrics['mae']['value']:.2f} ({100 * metrics['coverage']['value']:.0f} %)"
            )
        elif kind == "entities":
            found["ours: entity F1"][system] = share(metrics["entity_f1"])
        else:
            found["ours: ROUGE-L / chrF"][system] = (
                f"{100 * metrics['rouge_l']['value']:.1f} / {metrics['chrf']['value']:.1f}"
            )
        if judgements:
            found["published: GPT-4o-mini, 1–5"][system] = f"{fmean(judgements.values()):.2f}"
    return found


def share(figure: dict[str, Any]) -> str:
    return f"{100 * figure['value']:.1f}"


def authors_abstention(source: str) -> dict[tuple[str, str], float]:
    """(system, set) to the abstention rate in percent of the authors' own files."""
    found = {}
    with tarfile.open(source) as archive:
        for member in archive:
            if "abstention" in member.name and member.isfile():
                stream = archive.extractfile(member)
                system = member.name.strip("./").split("/")[0]
                for line in (stream.read() if stream else b"").decode().splitlines():
                    row = json.loads(line)
                    found[system, row["file"].removesuffix("_test.json")] = float(row["abstention_rate"])
    return found


if __name__ == "__main__":
    main(sys.argv[1])
