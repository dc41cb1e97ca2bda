"""Twelve million records through what is global: cutting blocks, checking commits, judging, assigning shards.

    .venv/bin/python bench/pipeline_scale.py --millions 1.2 4 12

Synthetic records in parts as real runs write them: every column, 256 records a part, words with times; 3 % exact
duplicates, 1 % failures, 0.01 % repeated ids. Every stage is a process of its own; prints seconds, CPU seconds of all
threads and peak memory (resident, of the whole process), and the CPU time per record against that of the smallest
size: 1.00 is linear.
The parts of 12 million records take about 6 GB under --scratch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llaso_data import records
from llaso_data.filters.columns import hex_strings
from llaso_data.io import storage
from llaso_data.pipeline import commit, judge, shard_plan
from llaso_data.pipeline.blocks import plan
from llaso_data.recipe import Blocks, Judge, Shard
from llaso_data.records import Attribute, Failure, Input, Scores, Source, Speaker, Utterance, Word

ROWS = 256
TEMPLATES = 16
VERDICTS = "verdicts"
LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "ru", "zh")
VOCABULARY = "the of and to in a is that for it as was with be by on not he his but at are this have from or had"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1.2, 4.0, 12.0])
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--scratch", default=None, help="a folder with room; default: the system's temporary one")
    parser.add_argument("--keep", type=Path, help="a folder for the parts that stays, and is used again")
    parser.add_argument("--run", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        _measured(*args.run)
        return
    folder = args.keep or Path(tempfile.mkdtemp(prefix="scale-", dir=args.scratch))
    print(f"{'records':>12}  {'stage':<12} {'seconds':>9} {'CPU':>9} {'MiB':>7} {'us a record':>12} {'to linear':>10}")
    try:
        first: dict[str, float] = {}
        for millions in sorted(args.millions):
            rows = -(-round(millions * 1e6) // ROWS) * ROWS
            out = make(folder, rows)
            for stage in args.stages:
                found = json.loads(_output([sys.executable, __file__, "--run", stage, out]))
                micros = found["cpu"] / rows * 1e6
                ratio = micros / first.setdefault(stage, micros)
                row = f"{rows:>12,}  {stage:<12} {found['seconds']:>9.1f} {found['cpu']:>9.1f} {found['mib']:>7,}"
                print(f"{row} {micros:>12.2f} {ratio:>10.2f}", flush=True)
    finally:
        if not args.keep:
            shutil.rmtree(folder)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _measured(stage: str, folder: str) -> None:
    out = str(folder)
    rows = storage.read_json(storage.join(out, "size.json"))
    started = time.perf_counter()
    STAGES[stage](out, rows)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss // 1024}
    print(json.dumps(found))


# stages


def cut(out: str, rows: int) -> None:
    """Planned blocks of inputs that stream by."""
    blocks = sum(1 for _ in plan(inputs(rows), Blocks(), "observing"))
    assert rows / 512 < blocks < rows / 128, blocks


def commits(out: str, rows: int) -> None:
    """Which parts are there: what a rerun asks first."""
    done = commit.committed(out)
    assert done >= set(names(rows))


def judging(out: str, rows: int) -> None:
    """Verdicts on everything, with duplicates and the audit's draw, and their table written."""
    found = judge.judge([commit.block_uri(out, name) for name in names(rows)], Judge())
    commit.write_table(commit.verdicts_uri(out, VERDICTS), found.table)
    counts = found.counts
    assert counts["inputs"] == rows, counts
    assert all(counts[kind] > 0.005 * rows for kind in ("accepted", "rejected", "duplicates", "failed")), counts


def assign(out: str, rows: int) -> None:
    """Which accepted record goes into which shard, and the rows of every shard."""
    manifest = {"format_version": records.FORMAT_VERSION, "blocks": names(rows), "verdicts": VERDICTS}
    storage.write_json(commit.manifest_uri(out), manifest)
    planned = shard_plan.plan(out, Shard())
    found = sum(len(chosen) for number in range(planned.shards) for _, chosen in planned.rows(number))
    assert found == planned.samples > 0.8 * rows


STAGES: dict[str, Callable[[str, int], None]] = {"cut": cut, "commits": commits, "judge": judging, "assign": assign}


# synthetic records


def name(number: int) -> str:
    return records.digest("part", number)


def names(rows: int) -> list[str]:
    return [name(number) for number in range(rows // ROWS)]


def inputs(rows: int) -> Iterator[Input]:
    """Files of many folders, as a source yields them."""
    for row in range(rows):
        folder = row // 20_000
        path = f"{folder:04d}/clip-{row:09d}.flac"
        own = records.utterance_id("corpus", path)
        source = Source(corpus="corpus", uri=f"/data/corpus/{path}")
        yield Input(
            utterance=Utterance(id=own, recording=own, source=source, language="en"),
            container=f"/data/corpus/{folder:04d}",
            size_bytes=150_000,
            version="150000-1700000000.0",
        )


def make(folder: Path, rows: int) -> str:
    """An output with the parts of that many records; those of another size are the same files under another name."""
    (folder / "observations").mkdir(parents=True, exist_ok=True)
    present = commit.committed(str(folder))
    missing = [number for number in range(rows // ROWS) if name(number) not in present]
    chunks = [missing[start::64] for start in range(64)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_write_parts, [str(folder)] * 64, chunks))
    out = str(folder / str(rows))
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(os.path.join(out, "observations"))
    for block in names(rows):
        os.link(commit.block_uri(str(folder), block), commit.block_uri(out, block))
    storage.write_json(storage.join(out, "size.json"), rows)
    return out


def _write_parts(folder: str, numbers: list[int]) -> None:
    import pyarrow.parquet as pq

    for number in numbers:
        table = part(template(number % TEMPLATES), number)
        pq.write_table(table, commit.block_uri(folder, name(number)), compression="zstd", compression_level=3)


@cache
def template(seed: int) -> pa.Table:
    """Records that differ in everything but what names them."""
    dice = random.Random(seed)
    return records.to_table([utterance(dice) for _ in range(ROWS)], Utterance)


def utterance(dice: random.Random) -> Utterance:
    source = Source(corpus=dice.choice(("read", "told", "heard")), uri="", sampling_rate_hz=48_000, channels=1)
    if dice.random() < 0.01:
        failure = Failure("unreadable", "/data/corpus/clip.flac: neither libsndfile nor FFmpeg reads it as audio")
        return Utterance(id="", recording="", source=source, failure=failure)
    said = [dice.choice(VOCABULARY.split()) for _ in range(dice.randint(3, 25))]
    text, duration_s = " ".join(said), 0.4 * len(said)
    times = [
        Word(word, round(0.4 * i, 3), round(0.4 * i + 0.3, 3), round(-dice.random(), 4)) for i, word in enumerate(said)
    ]
    scores = {
        field.name: round(dice.gauss(-0.5, 0.15), 4)
        for field in dataclasses.fields(Scores)
        if field.name.endswith("logprob")
    }
    low = -6.0 if dice.random() < 0.06 else -1.0
    return Utterance(
        id="",
        recording="",
        source=source,
        duration_s=duration_s,
        language=dice.choice(LANGUAGES[:2]) if dice.random() < 0.7 else "en",
        language_origin=records.GIVEN,
        text=text,
        text_origin=records.GIVEN,
        hypothesis=text,
        words=tuple(times),
        speaker=Speaker(id=Attribute(f"speaker-{dice.randint(0, 9999)}", records.GIVEN)),
        decoding="packed",
        scores=Scores(
            **{**scores, "min_word_logprob": low + dice.random() / 2},
            language_prob=1.0,
            compression_ratio=round(1 + dice.random(), 4),
            chars_per_s=round(len(text) / duration_s, 4),
            cer=round(dice.random() / 5, 4),
            wer=round(dice.random() / 4, 4),
            repetition=round(dice.random() / 5, 4),
            speech_ratio=round(dice.random(), 4),
            rms_dbfs=round(-20 - 10 * dice.random(), 4),
            clipped_ratio=0.0,
        ),
    )


def part(pattern: pa.Table, number: int) -> pa.Table:
    """A template with ids, audio ids and places of its own."""
    rows = np.arange(number * ROWS, (number + 1) * ROWS, dtype=np.uint64)
    ids = hex_strings(_hashes(np.where(rows % 10_000 == 9_999, rows - rows % 256, rows), 1))
    sounds = hex_strings(_hashes(np.where(rows % 33 == 32, rows // 2, rows), 2))
    failed = pattern["failure"].combine_chunks().is_valid()
    source = pattern["source"].combine_chunks()
    uris = pc.binary_join_element_wise("/data/corpus/", ids, ".flac", "")
    named = pa.StructArray.from_arrays(
        [uris if field.name == "uri" else source.field(field.name) for field in source.type], fields=list(source.type)
    )
    columns: dict[str, Any] = {
        "id": ids,
        "recording": ids,
        "audio_id": pc.if_else(failed, pa.scalar(None, pa.string()), sounds),
        "source": named,
    }
    arrays = [columns.get(name, pattern[name]) for name in pattern.column_names]
    return pa.Table.from_arrays(arrays, schema=pattern.schema)


def _hashes(values: np.ndarray[Any, np.dtype[np.uint64]], seed: int) -> Any:
    """(n, 2) well-mixed words of each number."""
    first = shard_plan.seeded(values, seed)
    return np.stack([first, shard_plan.seeded(first, seed + 1)], axis=1)


if __name__ == "__main__":
    main()
