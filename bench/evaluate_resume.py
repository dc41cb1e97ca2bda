"""``llaso-model evaluate`` killed with SIGKILL again and again, and once undisturbed: are the predictions the same?

    python bench/evaluate_resume.py demo-out/train/stage2/model demo-out/shards --kills 2

`make demo` leaves that model and those shards. Each kill comes when a few more batches are answered.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llaso_data.records import digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--batches", type=int, default=3, help="answered between two kills")
    parser.add_argument("--max-new-tokens", type=int, default=60)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / name for name in ("undisturbed", "killed")]
        command = [sys.executable, "-m", "llaso_model.cli", "evaluate", said.model, "--data", said.data]
        command += ["--max-new-tokens", str(said.max_new_tokens), "--out"]
        started = time.monotonic()
        subprocess.run([*command, str(outs[0])], check=True, capture_output=True)
        print(f"undisturbed: {len(parts(outs[0]))} batches in {time.monotonic() - started:.0f} s")
        for kill in range(said.kills):
            before = parts(outs[1])
            process = subprocess.Popen([*command, str(outs[1])], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            while len(parts(outs[1])) < len(before) + said.batches and process.poll() is None:
                time.sleep(0.01)
            process.kill()
            process.wait()
            print(f"kill {kill + 1}: {len(parts(outs[1]))} batches there")
        before = parts(outs[1])
        subprocess.run([*command, str(outs[1])], check=True, capture_output=True)
        kept = before.items() <= parts(outs[1]).items()
        print(f"resumed: {len(parts(outs[1]))} batches; those that were there {'' if kept else 'not '}left alone")
        whole, resumed = (digest((out / "predictions.jsonl").read_bytes()) for out in outs)
        print(f"predictions: {'identical' if whole == resumed else 'DIFFERENT'} ({whole}, {resumed})")
        sys.exit(0 if whole == resumed and kept else 1)


def parts(out: Path) -> dict[str, int]:
    """The parts that are there, with the times at which they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "predictions").glob("part-*.jsonl")}


if __name__ == "__main__":
    main()
