"""How fast a large JSON list of conversations becomes typed rows, and Parquet, beside ``datasets``' JSON builder.

    python bench/convert_json.py [--rows 1000000] [--peer-rows 1000000] [--repeats 3]

It writes a JSON array indented by 2, as LLaSO publishes it, from words that a seed draws. One answer in 17 has a
character beyond ASCII, as in LLaSO-Eval. Every measurement is a
process of its own; the tools take turns, and of each the median counts. Rates are of CPU time (user and system, all
threads), from the opened file to the closed one, without imports. RSS is the most that the process had, imports
included. Both write the same Parquet columns: path, hash (the id of the audio) and text (the answer). ``datasets``
holds the whole list in memory, some 4 GiB for a million rows, so it gets a file of the first ``--peer-rows``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TEXT = (
    "the quick brown fox jumps over a lazy dog while rain falls on old stone houses beside the river bank and nobody "
    "hears what was said in evening light or knows where she went before winter came again"
)
ASKED = (
    "Please transcribe the speech in this recording into text without any comment.<audio>",
    "Transcribe the spoken words from the following audio clip. Ensure accuracy, and add nothing.<audio>",
    "Write down what is said.<audio>",
)
CORPUS = "bench"
_BATCH = 8192  # rows of a row group


def make(path: Path, rows: int) -> None:
    rng, words = random.Random(0), TEXT.split()
    with path.open("w", encoding="utf-8") as file:
        file.write("[\n")
        for number in range(rows):
            speaker, book = rng.randrange(20_000), rng.randrange(20_000)
            said = " ".join(rng.choices(words, k=rng.randint(5, 60)))
            row = {
                "index": number,
                "speaker_id": str(speaker),
                "book_id": str(book),
                "voice": [f"mls_english_opus/train_data_16000\\{speaker}_{book}_{number:08d}.wav"],
                "conversations": [
                    {"from": "human", "value": rng.choice(ASKED)},
                    {"from": "gpt", "value": f"“{said}”" if rng.randrange(17) == 0 else said},
                ],
            }
            item = json.dumps(row, indent=2, ensure_ascii=False).replace("\n", "\n  ")
            file.write(f"  {item}" + (",\n" if number < rows - 1 else "\n"))
        file.write("]\n")


def ours_rows(source: str, out: str) -> int:
    from llaso_data.formats.conversations.llaso_rows import LlasoRow, llaso_row
    from llaso_data.formats.tables.json_blocks import json_blocks

    return sum(len(rows.rows) for rows in json_blocks(source, LlasoRow, llaso_row))


def ours_parquet(source: str, out: str) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from llaso_data.formats.conversations.llaso_rows import LlasoRow, llaso_row
    from llaso_data.formats.tables.json_blocks import json_blocks
    from llaso_data.records import utterance_id
    from llaso_data.shards import columns  # pyarrow.array would import pandas, which takes 45 MiB

    pa.set_memory_pool(pa.system_memory_pool())  # which gives memory back
    schema = pa.schema([("path", pa.string()), ("hash", pa.string()), ("text", pa.string())])
    count = 0
    with pq.ParquetWriter(out, schema, use_dictionary=False) as writer:
        paths: list[str] = []
        texts: list[str] = []

        def flush() -> None:
            hashes = [utterance_id(CORPUS, path) for path in paths]
            arrays = [columns.texts(values) for values in (paths, hashes, texts)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            paths.clear()
            texts.clear()

        for rows in json_blocks(source, LlasoRow, llaso_row):
            for row in rows.rows:
                if isinstance(row, str):
                    raise SystemExit(row)
                paths.append(row.voice[0].replace("\\", "/"))
                texts.append(row.conversations[1].value)
            count += len(rows.rows)
            if len(paths) >= _BATCH:
                flush()
        if paths:
            flush()
    return count


def datasets_parquet(source: str, out: str) -> int:
    import datasets

    from llaso_data.records import utterance_id

    def columns(batch: dict[str, list[Any]]) -> dict[str, list[str]]:
        paths = [voice[0].replace("\\", "/") for voice in batch["voice"]]
        texts = [turns[1]["value"] for turns in batch["conversations"]]
        return {"path": paths, "hash": [utterance_id(CORPUS, path) for path in paths], "text": texts}

    datasets.disable_progress_bars()
    table = datasets.load_dataset("json", data_files=source, split="train", cache_dir=f"{out}.cache")
    table.map(columns, batched=True, remove_columns=table.column_names).to_parquet(out)
    return len(table)


WAYS = {"rows": ours_rows, "parquet": ours_parquet, "datasets": datasets_parquet}
_IMPORTS = {"rows": "msgspec", "parquet": "pyarrow.parquet", "datasets": "datasets"}
NAMES = {"rows": "llaso-data, typed rows", "parquet": "llaso-data, to Parquet", "datasets": "datasets, to Parquet"}


def measure(way: str, source: str, out: str) -> None:
    """In a process of its own: prints the rows, the CPU seconds and the resident memory."""
    __import__(_IMPORTS[way])
    __import__("llaso_data.formats.tables.json_blocks")
    start = time.process_time()
    count = WAYS[way](source, out)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": count, "cpu_s": seconds, "rss_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("WAY", "JSON", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = dict.fromkeys(WAYS, arguments.rows) | {"datasets": min(arguments.rows, arguments.peer_rows)}
        sources = {rows: Path(folder) / f"rows-{rows}.json" for rows in set(counts.values())}
        for rows, source in sources.items():
            make(source, rows)
            print(f"{rows:,} rows, {source.stat().st_size / 1e6:,.0f} MB")
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for repeat in range(arguments.repeats):
            for way, rows in counts.items():
                out = str(Path(folder) / f"{way}-{repeat}.parquet")
                command = [sys.executable, os.path.abspath(__file__), "--measure", way, str(sources[rows]), out]
                runs[way].append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
                subprocess.run(["rm", "-rf", out, f"{out}.cache"], check=True)
        show(runs, counts, {rows: source.stat().st_size for rows, source in sources.items()})


def show(runs: dict[str, list[dict[str, float]]], counts: dict[str, int], sizes: dict[int, int]) -> None:
    """The table, of the medians."""
    print(f"{'':24}{'rows':>12}{'MB/s CPU':>10}{'rows/s CPU':>12}{'RSS MiB':>9}")
    rates = {}
    for way, results in runs.items():
        rows = counts[way]
        assert all(result["rows"] == rows for result in results)
        seconds = statistics.median(result["cpu_s"] for result in results)
        rates[way] = rows / seconds
        peak = max(result["rss_mib"] for result in results)
        print(f"{NAMES[way]:24}{rows:12,}{sizes[rows] / seconds / 1e6:10,.0f}{rates[way]:12,.0f}{peak:9,.0f}")
    print(f"Rows a CPU second, to Parquet: {rates['parquet'] / rates['datasets']:.1f} times those of datasets")


if __name__ == "__main__":
    main()
