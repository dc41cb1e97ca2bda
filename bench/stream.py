"""Streaming speech from shards, beside what people use today: raw samples a second, and padded batches.

    .venv/bin/python bench/stream.py --folder /tmp/stream --repeats 5

The same FLAC and JSON for all: tars that webdataset and ours read as they are, converted for the others (seconds and
bytes are printed). Every measurement is a process of its own, the tools take turns, and medians are printed with
ratios to webdataset. Each pass gives every sample; the results' keys and bytes are compared first, and a tool that
gives another multiset is named. ``raw`` is bytes in batches of 32; ``padded`` is decoded by the same function, JSON
parsed, padded by the same function. Files are in the page cache. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stream_tools import BATCH, TOOLS, Tool

ROOT = Path(__file__).parent.parent


def write_set(out: Path, samples: int, shards: int) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.support.shard_sets import durations
    from tests.support.shard_sets import write_set as write

    write(out, durations(samples), -(-samples // shards), sound=True)


def child(tool: Tool, folder: Path, what: str, workers: int) -> dict[str, Any]:
    """One pass over all samples."""
    made = tool.make(folder)
    if what == "prepare":
        started = time.perf_counter()
        if hasattr(made, "prepare"):
            if made.folder.exists():
                shutil.rmtree(made.folder)
            made.prepare(folder)
        return {"wall_s": time.perf_counter() - started, "bytes": _bytes(made)}
    _import(tool)
    started = time.perf_counter()
    first_s, seen, count, area, used = 0.0, 0, 0, 0, 0
    for batch in made.batches(what == "padded", workers):
        first_s = first_s or time.perf_counter() - started
        if what == "padded":
            keys, sounds, lengths = batch
            area, used = area + sounds.numel(), used + int(lengths.sum())
            names = list(keys)
        else:
            names = [f"{key} {len(flac)} {len(text)}" for key, flac, text in batch]
        count += len(names)
        if what == "check":
            names = [f"{key} {hashlib.md5(flac + text).hexdigest()}" for key, flac, text in batch]
        for name in names:
            seen ^= int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    wall_s = time.perf_counter() - started
    padding = 1 - used / area if area else 0.0
    return {"wall_s": wall_s, "first_s": first_s, "samples": count, "seen": seen, "padding": padding}


def _import(tool: Tool) -> None:
    """What the tool imports is not what is measured."""
    importlib.import_module(tool.needs)
    if tool.needs == "llaso_data":
        importlib.import_module("llaso_data.stream.loader")


def _bytes(made: Any) -> int:
    folder = getattr(made, "folder", None)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder else 0


def run(tool: Tool, folder: Path, what: str, workers: int = 0) -> dict[str, Any] | None:
    command = [sys.executable, __file__, "--folder", str(folder), "--child", tool.name, what, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{tool.name}, {what}, {workers} workers: failed: {done.stderr.strip().splitlines()[-1][:300]}")
        return None
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tools", nargs="+", help="names, or beginnings of names")
    parser.add_argument("--what", nargs="+", default=["raw", "padded"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, what, workers = args.child
        tool = next(one for one in TOOLS if one.name == name)
        print(json.dumps(child(tool, args.folder, what, int(workers))))
        return
    folder = args.folder / "tars"
    if not (folder / "manifest.json").exists():
        write_set(folder, args.samples, args.shards)
    tools = [tool for tool in TOOLS if not args.tools or any(tool.name.startswith(name) for name in args.tools)]
    tools = [tool for tool in tools if _installed(tool)]
    expected = run(TOOLS[-1], folder, "check")
    assert expected is not None
    usable = []
    for tool in tools:
        made, found = run(tool, folder, "prepare"), None
        if made is not None:
            found = run(tool, folder, "check")
        if made is None or found is None:
            continue
        same = (found["samples"], found["seen"]) == (expected["samples"], expected["seen"])
        print(
            f"{tool.name}: {found['samples']} samples, {'the same' if same else 'NOT THE SAME'} multiset; "
            f"prepared in {made['wall_s']:.1f} s, {made['bytes'] / 1e6:.0f} MB",
            flush=True,
        )
        usable.append(tool)
    for what in args.what:
        for workers in (0, 2):
            taken: dict[str, list[dict[str, Any]]] = {}
            for _ in range(args.repeats):
                for tool in usable:
                    if workers in tool.workers and (found := run(tool, folder, what, workers)):
                        taken.setdefault(tool.name, []).append(found)
            report(what, workers, taken)


def report(what: str, workers: int, taken: dict[str, list[dict[str, Any]]]) -> None:
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{what}, {workers} workers, batches of {BATCH}, load at the end {load}")
    print("| | samples/s | x webdataset | first batch s | padding |\n|---|---|---|---|---|")
    base = taken.get("webdataset", [])
    for name, found in taken.items():
        rate = statistics.median(one["samples"] / one["wall_s"] for one in found)
        ratio = statistics.median(b["wall_s"] / a["wall_s"] for a, b in zip(found, base, strict=False)) if base else 0.0
        first_s = statistics.median(one["first_s"] for one in found)
        padding = statistics.median(one["padding"] for one in found)
        print(f"| {name} | {rate:,.0f} | {ratio:.2f} | {first_s:.3f} | {padding:.1%} |", flush=True)


def _installed(tool: Tool) -> bool:
    try:
        found = importlib.util.find_spec(tool.needs) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        print(f"{tool.name} is not installed, left out")
    return found


if __name__ == "__main__":
    main()
