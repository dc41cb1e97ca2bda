"""What planning costs: an index of many samples, opened, planned, and gone on with in the middle.

    .venv/bin/python bench/stream_plan.py --folder /tmp/stream-plan --samples 25500000

Writes an index (no tars) of log-normal durations once, a hundred bytes a sample, and keeps it in the folder. Each
measurement is a process of its own; all are repeated, interleaved, and medians are printed. Times are those after
imports. Memory is the process's own (anonymous), without the pages of the mapped index.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llaso_data.io import storage
from llaso_data.io.prng import noise
from llaso_data.shards import index, layout
from llaso_data.stream import Mixture
from llaso_data.stream.budget import Budget
from llaso_data.stream.planner import Planner, StreamPosition
from llaso_data.stream.simulate import simulate

PER_SHARD = 1000
PARTS = 2
BATCH = 65_536


def write_index(out: Path, samples: int) -> None:
    """An index as `llaso-data shard` writes it, of samples that do not exist."""
    shards = -(-samples // PER_SHARD)
    names = json.dumps([layout.shard_name(number) for number in range(shards)])
    values = {"llaso.format_version": "1", "llaso.dataset": str(samples), "llaso.shards": names}
    schema = pa.schema([index.SHARD_COLUMN, *index.SCHEMA], metadata=values)
    rng = np.random.default_rng(0)
    with (
        storage.whole(str(out / layout.INDEX)) as written,
        pa.OSFile(written, "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for first in range(0, samples, BATCH):
            count = min(BATCH, samples - first)
            writer.write_batch(_rows(first, count, rng, schema))


def _rows(first: int, count: int, rng: np.random.Generator, schema: pa.Schema) -> pa.RecordBatch:
    rows = np.arange(first, first + count)
    digits = np.frombuffer(noise(1, 2 * count, 2 * first).tobytes().hex().encode(), np.uint8)
    keys = pa.StringArray.from_buffers(
        count, pa.py_buffer((np.arange(count + 1) * 32).astype(np.int32)), pa.py_buffer(digits)
    )
    duration_s = np.clip(np.exp(rng.normal(1.5, 0.6, count)), 0.5, 30).round(3)
    size = (duration_s * 16_000).astype(np.int64)
    offset = (rows % PER_SHARD) * 700_000
    parts = pa.StructArray.from_arrays(
        [
            pa.array(["flac", "json"] * count),
            pa.array(np.stack([offset, offset + size + 512], 1).ravel()),
            pa.array(np.stack([size, np.full(count, 900)], 1).ravel()),
            pa.array(np.zeros(PARTS * count, np.uint32)),
        ],
        fields=list(index.PART),
    )
    lists = pa.ListArray.from_arrays(pa.array((np.arange(count + 1) * PARTS).astype(np.int32)), parts)
    columns: list[Any] = [
        pa.array((rows // PER_SHARD).astype(np.int32)),
        keys,
        lists.cast(schema.field("parts").type),
        pa.array(duration_s),
        pa.array((duration_s * 14).astype(np.int64)),
        pa.array(np.where(rows % 4 > 0, "asr", "translation")),
        pa.array(np.where(rows % 3 > 0, "en", "de")),
        pa.array(["text+audio"] * count),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def measure(what: str, folder: str) -> dict[str, float]:
    """One measurement, in this process."""
    started = time.perf_counter()
    mixture = Mixture.of(folder).model_copy(update={"balance": "task"} if what == "balanced epoch" else {})
    plan = Planner(mixture, Budget.of("300s"), seed=1, micro_batches=8, window=20)
    opened_s = time.perf_counter() - started
    found = {"opened s": opened_s}
    if what.endswith("epoch"):
        window_s = time.perf_counter()
        steps = sum(plan.window(StreamPosition(window=number)).steps for number in range(plan.windows_per_epoch))
        found |= {"epoch s": time.perf_counter() - window_s, "steps": steps, "windows": plan.windows_per_epoch}
    elif what == "quality":
        seen = simulate(plan, 1)
        found |= {"padding": seen.padding, "fill": seen.fill, "shards in 32": seen.shards_in_stretch}
        found |= {"window": seen.shards_in_window}
    else:
        at, offset = (0, 0) if what == "start" else (int(0.6 * plan.windows_per_epoch), 3)
        step, _ = next(plan.steps(StreamPosition(step=10 * at, window=at, offset=offset), {}))
        assert len(step.batches) == 8
        found["first step s"] = time.perf_counter() - started
    found["anonymous MiB"] = _anonymous_mib()
    found["peak with mapped pages MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _anonymous_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--samples", type=int, nargs="+", default=[20_000, 200_000, 25_500_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(*args.child)))
        return
    for samples in args.samples:
        out = args.folder / str(samples)
        if not (out / layout.INDEX).exists():
            write_index(out, samples)
        taken: dict[str, list[dict[str, float]]] = {}
        for _ in range(args.repeats):
            for what in ("start", "resume at 60 %", "epoch", "balanced epoch"):
                taken.setdefault(what, []).append(_child(what, out))
        taken["quality"] = [_child("quality", out)]
        print(f"\n{samples:,} samples, index of {(out / layout.INDEX).stat().st_size / 1e6:,.0f} MB")
        for what, found in taken.items():
            medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
            print(f"  {what}: " + ", ".join(f"{name} {value:,.3f}" for name, value in medians.items()), flush=True)


def _child(what: str, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--folder", str(out), "--child", what, str(out)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


if __name__ == "__main__":
    main()
