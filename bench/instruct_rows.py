"""How fast `llaso-data build-instruct` reads rows, and what memory it takes.

    .venv/bin/python bench/instruct_rows.py --rows 100000

Makes a JSONL of instructions and one of recordings with labels (empty files), and reads each in a process of its own.
Prints rows per second of the processor, by the side of `formats.read` of the same recordings, and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MOODS = ("happy", "sad", "angry", "neutral")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        one(*args.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = {"texts": texts(Path(folder), args.rows), "recordings": recordings(Path(folder), args.rows)}
        print(f"{'':<24}{'rows/s':>10}{'peak MB':>10}")
        for kind, path, how in (
            ("texts", made["texts"], "rows_of"),
            ("recordings", made["recordings"], "rows_of"),
            ("recordings", made["recordings"], "formats.read"),
        ):
            found = [measured(path, how) for _ in range(args.repeats)]
            rates = sorted(rate for rate, _ in found)
            print(f"{kind + ', ' + how:<24}{rates[len(rates) // 2]:>10,.0f}{max(peak for _, peak in found):>10,.0f}")


def measured(path: Path, how: str) -> tuple[float, float]:
    """Rows per second, and the peak of memory in MB."""
    command = [sys.executable, __file__, "--read", str(path), how]
    rate, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(rate), float(peak)


def one(path: str, how: str) -> None:
    from llaso_data import formats
    from llaso_data.instruct.tasks import all_tasks
    from llaso_data.pipeline.instruct.rows import rows_of
    from llaso_data.recipe import SourceSpec

    tasks, spec = all_tasks(), SourceSpec(path=path)
    next(rows_of(spec.model_copy(update={"limit": 1}), tasks, Counter()))  # what is imported later
    started_s = time.process_time()
    rows: Iterator[object] = rows_of(spec, tasks, Counter()) if how == "rows_of" else formats.read(spec)
    count = sum(1 for _ in rows)
    rate = count / (time.process_time() - started_s)
    print(rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def texts(folder: Path, count: int) -> Path:
    path = folder / "texts.jsonl"
    with path.open("w") as file:
        for number in range(count):
            row = {
                "instruction": f"Explain the number {number} to a child.",
                "output": f"It is a number. {number} " * 3,
            }
            file.write(json.dumps({**row, "input": f"context {number}" if number % 2 else ""}) + "\n")
    return path


def recordings(folder: Path, count: int) -> Path:
    path = folder / "recordings.jsonl"
    with path.open("w") as file:
        for number in range(count):
            name = f"audio/{number % 100:02d}/{number:06d}.wav"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
            row = {"audio": name, "text": f"sentence {number}", "speaker": f"s{number % 97}", "language": "en"}
            file.write(json.dumps({**row, "duration": 2.5, "emotion": MOODS[number % 4]}) + "\n")
    return path


if __name__ == "__main__":
    main()
