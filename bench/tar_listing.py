"""How long a tar of very many small members takes to list, ours beside Python's tarfile.

    .venv/bin/python bench/tar_listing.py --members 1000000

Prints seconds and the peak of memory of each in a process of its own: the directory of the tar, and every input of
it as a source, as build-align begins with.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.tar"
        write(path, args.members)
        print(f"{args.members:,} members, {path.stat().st_size / 1e9:.2f} GB")
        for way in ("tarfile", "directory", "source"):
            subprocess.run([sys.executable, __file__, "--child", way, str(path)], check=True)


def write(path: Path, members: int) -> None:
    """Sound and text of three bytes, by turns."""
    from llaso_data.shards.tar import header

    with path.open("wb") as file:
        for number in range(members):
            file.write(header(f"{number // 2:08d}.{'txt' if number % 2 else 'wav'}", 3) + b"abc".ljust(512, b"\0"))
        file.write(bytes(1024))


def child(way: str, path: str) -> None:
    from llaso_data import formats
    from llaso_data.io import archive
    from llaso_data.recipe import SourceSpec

    before_mb, started = _peak_mb(), time.perf_counter()
    if way == "tarfile":
        with tarfile.open(path) as tar:
            count = sum(1 for _ in tar)
    elif way == "directory":
        count = len(archive.directory(path).members)
    else:
        count = sum(1 for _ in formats.read(SourceSpec(path=path)))
    took_s = time.perf_counter() - started
    print(f"{way:<10}{count:>10,}{took_s:>8.1f} s{_peak_mb() - before_mb:>7.0f} MB more", flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
