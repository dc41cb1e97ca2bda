"""`llaso-data download`, which compares all sums, beside huggingface_hub's `snapshot_download`, which compares none.

    .venv/bin/python bench/hub.py

A server on this machine speaks the hub's protocol. Two repositories, one of large files and one of small ones, are
fetched by both in turn, eight files at a time. Printed are medians of wall time and of this process's CPU time, and
what the other takes for each second of ours: 1.00 is the same speed, more is faster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
OWNER, WORKERS = "bench", 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=10, help="files of 50 MB")
    parser.add_argument("--small", type=int, default=500, help="files of 8 kB")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "hub")
        make(root / OWNER / "large", args.large, 50_000_000)
        make(root / OWNER / "small", args.small, 8_000)
        command = [sys.executable, "-m", "tests.support.fake_hub", str(root)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                os.environ.update(
                    HF_ENDPOINT=server.stdout.readline().strip(),
                    HF_HOME=str(Path(folder, "home")),
                    HF_HUB_DISABLE_XET="1",
                    HF_HUB_DISABLE_PROGRESS_BARS="1",
                )
                for name in ("large", "small"):
                    compare(name, Path(folder, "out"), args.rounds)
            finally:
                server.kill()


def make(folder: Path, files: int, size_bytes: int) -> None:
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number:05d}.bin").write_bytes(os.urandom(size_bytes))


def ours(name: str, out: Path) -> None:
    from llaso_data.io import hub_files
    from llaso_data.pipeline.download.run import download

    hub_files._signed.clear()  # as in a process of its own
    download(f"hf://datasets/{OWNER}/{name}", str(out), workers=WORKERS)


def theirs(name: str, out: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(f"{OWNER}/{name}", repo_type="dataset", local_dir=out, max_workers=WORKERS)


def compare(name: str, out: Path, rounds: int) -> None:
    taken: dict[Callable[[str, Path], None], list[tuple[float, float]]] = {ours: [], theirs: []}
    for number in range(rounds + 1):
        for fetch in (ours, theirs) if number % 2 else (theirs, ours):
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            fetch(name, out)
            if number:  # the first time the server computes sums, and modules are imported
                taken[fetch].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
            shutil.rmtree(out)
            os.sync()
    for number, kind in enumerate(("wall", "CPU")):
        here, there = (statistics.median(one[number] for one in taken[fetch]) for fetch in (ours, theirs))
        ratios = sorted(b[number] / a[number] for a, b in zip(taken[ours], taken[theirs], strict=True))
        print(
            f"{name}, {kind}: {here:.2f} s with sums, {there:.2f} s of snapshot_download without; speed "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
