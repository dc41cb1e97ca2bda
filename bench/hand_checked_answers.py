"""Draws the answers that were read by hand: ``tests/data/evaluate/hand_checked.jsonl`` began as this sample.

``.venv/bin/python bench/hand_checked_answers.py ../shared/data/llaso_eval_outputs.tar.xz`` prints rows as JSON lines,
without labels: one system after the other for every closed set in turn, from a seed, no answer twice within a set. The
draw never looks at what the extractor says. Who reads adds ``kind`` and ``label``.
"""

from __future__ import annotations

import json
import random
import sys

from llaso_model.evaluate.datasets import layouts, tasks

COUNT, SEED = 600, 7


def main(source: str) -> None:
    declared = tasks.load()
    read = layouts.read_predictions([source], declared)
    pools: dict[tuple[str, str], list[layouts.Prediction]] = {}
    for one in read.predictions:
        if declared.sets[one.set].kind == "label":
            pools.setdefault((one.set, one.system), []).append(one)
    rng = random.Random(SEED)
    for key in sorted(pools):
        rng.shuffle(pools[key])
    seen: set[tuple[str, str]] = set()
    drawn: list[layouts.Prediction] = []
    while len(drawn) < COUNT:
        for key in sorted(pools, key=lambda key: rng.random()):
            fresh = (one for one in pools[key] if (one.set, one.answer) not in seen)
            one = next(fresh, None)
            if one is not None and len(drawn) < COUNT:
                seen.add((one.set, one.answer))
                drawn.append(one)
    for one in sorted(drawn, key=lambda one: (one.set, one.system, one.id)):
        row = {"set": one.set, "system": one.system, "id": one.id, "prompt": one.prompt, "answer": one.answer}
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1])
