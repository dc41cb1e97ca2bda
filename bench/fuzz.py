"""Throw changed files at everything that reads what others wrote, for minutes.

    .venv/bin/python bench/fuzz.py --minutes 10

Every target of tests/support/fuzz_targets.py gets its share of time in its own process, on two cores. With atheris
(Linux; an extra of ours) inputs are led by coverage; without, real files are changed at random. Prints for every target
its runs, the lines of our code that were reached together with their branches (libFuzzer's edges), and what was found:
exceptions that do not speak to the user, inputs that take 5 s of the processor, 30 s in all or 3 GB, crashes of the
process, and anything that is done outside the target's folder. Inputs that found something are kept in --findings.
Exit code 1 where anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for tests.support.fuzz_targets

SLOW_S = 5.0  # of the processor
STUCK_S = 30.0
MEMORY_MB = 3072
LONGEST_BYTES = 100_000


class Slow(BaseException):
    """One input took too long."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--target", help="only targets whose name holds this")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.findings.mkdir(parents=True, exist_ok=True)
    if args.child:
        child(args.child, args.seconds, args.seed, args.findings)
    else:
        sys.exit(parent(args))


# The parent


def parent(args: argparse.Namespace) -> int:
    from tests.support import fuzz_targets

    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in fuzz_targets.targets(Path(folder)) if (args.target or "") in name]
    share_s = args.minutes * 60 * args.jobs / len(names)
    print(f"{len(names)} targets, {share_s:.0f} s each, {args.jobs} at a time", flush=True)
    print(f"{'target':<36}{'runs':>10}{'edges':>8}{'found':>7}")
    runs = found = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for name, (done, edges, bad) in zip(names, pool.map(lambda n: one(n, share_s, args), names), strict=True):
            print(f"{name:<36}{done:>10,}{edges:>8}{len(bad):>7}", flush=True)
            for line in bad:
                print(f"    {line}", flush=True)
            runs, found = runs + done, found + len(bad)
    print(f"{'all':<36}{runs:>10,}{'':>8}{found:>7}")
    return 1 if found else 0


def one(name: str, seconds: float, args: argparse.Namespace) -> tuple[int, str, list[str]]:
    """(runs, edges reached, findings) of one target."""
    command = [sys.executable, str(Path(__file__)), "--child", name, "--seconds", str(seconds)]
    command += ["--seed", str(args.seed), "--findings", str(args.findings)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT)
    message = done.stdout + done.stderr
    bad = [line[6:] for line in message.splitlines() if line.startswith("FOUND ")]
    runs = re.findall(r"^(?:RUNS |#|stat::number_of_executed_units:\s*)(\d+)", message, re.MULTILINE)
    edges = re.findall(r"cov: (\d+)", message)
    if done.returncode:
        tail = next((line for line in message.splitlines() if "ERROR: libFuzzer" in line), message[-300:])
        bad.append(f"the process ended with {done.returncode}: {' '.join(tail.split())}")
    return int(runs[-1]) if runs else 0, edges[-1] if edges else "?", bad


# One target


def child(name: str, seconds: float, seed: int, findings: Path) -> None:
    os.environ["AWS_MAX_ATTEMPTS"] = "1"  # no network is reached; it should not be asked for again and again
    findings = findings.absolute()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        atheris = None
    if atheris is None:
        from tests.support import fuzz_targets
    else:
        with atheris.instrument_imports(include=["llaso_data"]):
            from tests.support import fuzz_targets
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for part in ("made", "run", "corpus"):
            Path(folder, part).mkdir()
        target = fuzz_targets.targets(Path(folder, "made"))[name]
        seen: set[str] = set()

        def throw(data: bytes) -> None:
            signal.setitimer(signal.ITIMER_PROF, SLOW_S)
            signal.setitimer(signal.ITIMER_REAL, STUCK_S)
            try:
                fuzz_targets.throw(target, data, Path(folder, "run"))
            except (Exception, Slow) as error:
                what = message_of(error)
                if what not in seen:
                    seen.add(what)
                    kept = (
                        findings / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{hashlib.sha256(data).hexdigest()[:12]}"
                    )
                    kept.write_bytes(data)
                    print(f"FOUND {what} ({kept})", flush=True)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)

        signal.signal(signal.SIGPROF, slow)
        signal.signal(signal.SIGALRM, slow)
        if atheris is None:
            changed_at_random(throw, target, seconds, seed)
            return
        for number, data in enumerate(target.seeds):
            Path(folder, "corpus", str(number)).write_bytes(data)
        options = {
            "max_total_time": round(seconds),
            "timeout": round(2 * STUCK_S),  # what no Python signal gets through to
            "rss_limit_mb": MEMORY_MB,
            "max_len": LONGEST_BYTES,
            "seed": seed + 1,
            "print_final_stats": 1,
            "artifact_prefix": f"{findings}/",
        }
        atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), f"{folder}/corpus"], throw)
        atheris.Fuzz()


def changed_at_random(throw, target, seconds: float, seed: int) -> None:  # type: ignore[no-untyped-def]
    from tests.support import fuzz_targets

    draw, until, runs = random.Random(seed), time.monotonic() + seconds, 0
    for data in target.seeds:
        throw(data)
    while time.monotonic() < until:
        throw(fuzz_targets.mutated(draw.choice(target.seeds), draw, target.seeds))
        runs += 1
    print(f"RUNS {runs}")


def slow(number: int, frame: FrameType | None) -> None:
    raise Slow("too much computing" if number == signal.SIGPROF else "stuck")


def message_of(error: BaseException) -> str:
    """One line: the error's kind, its place in our code, its text."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    place = f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else "?"
    return json.dumps(f"{type(error).__name__} at {place}: {re.sub('[0-9]+', '#', str(error))[:80]}")


if __name__ == "__main__":
    main()
