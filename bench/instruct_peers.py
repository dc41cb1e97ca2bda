"""The same instructions by `datasets`: what people write who have no `build-instruct`, for `bench/instruct.py`.

Both read the recordings of ``prompts/`` of `bench/instruct_sets.py`, ask three tasks of each row several times, and
write Parquet with pointers to the audio. The peer draws a template of a list and fills it: it knows no splits, looks
for no leaks, and every row that has the column is asked.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

TURNS = 16
TASKS = ("asr", "gender", "accent")
COLUMNS = {"asr": "text", "gender": "gender", "accent": "accent"}
TEMPLATES = {
    "asr": ("Write down what is said.", "Transcribe the recording.", "What does the speaker say?"),
    "gender": ("Is this a man or a woman?", "Which gender does the voice have: male or female?"),
    "accent": ("Which accent is this?", "Name the accent of the speaker."),
}


def by_datasets(sets: str, out: str) -> dict[str, Any]:
    """Rows to conversations by ``datasets``: samples, and seconds without the imports."""
    import datasets

    datasets.disable_progress_bars()
    started_s = time.monotonic()
    rows = datasets.load_dataset(
        "json", data_files=f"{sets}/prompts/manifest.jsonl", split="train", cache_dir=f"{out}/cache"
    )

    def conversations(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {"audio": [], "task": [], "messages": []}
        for number, audio in enumerate(batch["audio"]):
            draw = random.Random(audio)
            for task in TASKS:
                if (answer := batch[COLUMNS[task]][number]) is None:
                    continue
                for _ in range(TURNS):
                    made["audio"].append(audio)
                    made["task"].append(task)
                    asked = draw.choice(TEMPLATES[task])
                    made["messages"].append(
                        [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
                    )
        return made

    filled = rows.map(conversations, batched=True, remove_columns=rows.column_names)
    filled.to_parquet(f"{out}/set.parquet")
    return {"samples": len(filled), "seconds": time.monotonic() - started_s}


def by_us(sets: str, out: str) -> dict[str, Any]:
    """The same by ``build-instruct``."""
    from llaso_data.pipeline.instruct.run import build_instruct
    from llaso_data.recipe import Recipe

    Path(out).mkdir(parents=True)
    recipe = Recipe.model_validate(
        {
            "sources": [{"path": f"{sets}/prompts/manifest.jsonl", "corpus": "prompts"}],
            "out": f"{out}/set",
            "instruct": {
                "to": "samples",
                "audio": "keep",
                "tasks": list(TASKS),
                "turns": TURNS,
                "modalities": {"text_audio": 1.0},
            },
            "voices": {"engines": {}},
            "run": {"engine": "local", "num_workers": 1},
        }
    )
    started_s = time.monotonic()
    summary = build_instruct(recipe)
    return {"samples": summary.samples, "seconds": time.monotonic() - started_s}
