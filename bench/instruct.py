"""What `llaso-data build-instruct` costs: planning, samples a second with and without speech, what voices take.

    python bench/instruct_sets.py SETS
    python bench/instruct.py --plan 1000000
    python bench/instruct.py --sets SETS --samples 400 --asr FOLDER

`--plan N` writes a table of N / 4 synthetic rows whose recordings do not exist, each with labels of four tasks. A
process of its own reads it, finds splits, and chooses samples; no sound is heard. Demanded: 60 s and 1 GiB for a
million; exit code 1 where it takes more.

Otherwise samples are built of the corpora of `bench/instruct_sets.py`: `written`, whose instructions nobody speaks, and
`spoken`; and, as Parquet with pointers, by `build-instruct` and by `datasets` (`bench/instruct_peers.py`). Repeats are
interleaved, and each begins with an empty cache; medians are printed. Of speech: hours a core and hour, for speaking
and for listening back, and what Whisper heard otherwise by voice. Memory is the peak of the resident sets of all
processes of a run together, looked at every 50 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import instruct_peers as peers

PLANNED_S, PLANNED_MIB = 60.0, 1024.0
TASKS = ("gender", "emotion", "intent", "translation")
_EVERY_S = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_EMOTIONS = ("joy", "neutrality", "surprise", "sadness", "anger", "fear", "disgust")
_INTENTS = ("alarm query", "alarm remove", "alarm set", "calendar query", "calendar remove", "calendar set")
_WORDS = (
    *("river", "stone", "window", "paper", "seven", "garden", "music", "train"),
    *("yellow", "summer", "letter", "ocean", "coffee", "bridge", "market", "silver"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=int, metavar="SAMPLES")
    parser.add_argument("--sets", type=Path, help="what bench/instruct_sets.py made")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--asr", default="openai/whisper-base", help="the Whisper that listens back")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "JSON"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, settings = args.child
        does = {"plan": plan, "build": build, "pointers": peers.by_us, "datasets": peers.by_datasets}
        print(json.dumps(does[what](**json.loads(settings))))
    elif args.plan:
        sys.exit(0 if planning(args.plan, args.repeats) else 1)
    elif args.sets:
        building(args.sets, args.samples, args.asr, args.repeats, args.workers)
    else:
        parser.error("say --plan or --sets")


def planning(samples: int, repeats: int) -> bool:
    """Print what planning takes; whether it is within the demand, which is for a million."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rows.jsonl"
        write_rows(table, samples // len(TASKS))
        print(f"{samples // len(TASKS):,} rows, {table.stat().st_size / 2**20:.0f} MiB")
        runs = [measured("plan", table=str(table), samples=samples) for _ in range(repeats)]
    for name in ("reading_s", "choosing_s", "whole_s"):
        print(f"{name.removesuffix('_s'):10} {statistics.median(told[name] for told, _, _ in runs):8.1f} s")
    print(f"{'processor':10} {statistics.median(told['cpu_s'] for told, _, _ in runs):8.1f} s")
    print(f"{'chosen':10} {runs[0][0]['chosen']:8,} samples of {runs[0][0]['candidates']:,} candidates")
    whole_s, peak = (
        statistics.median(values) for values in ((told["whole_s"] for told, _, _ in runs), (p for _, _, p in runs))
    )
    print(f"{'memory':10} {peak:8.0f} MiB at most")
    return whole_s <= PLANNED_S and peak <= PLANNED_MIB


def write_rows(path: Path, count: int) -> None:
    """Synthetic rows: a recording that does not exist, its text, speaker, and labels."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = " ".join(_WORDS[number * 7919 // 16**place % 16] for place in range(8))
            row = {
                "audio": f"wav/{number % 997:03}/{number:07}.wav",
                "text": f"{text} {number}.",
                "language": "en",
                "speaker": f"s{number % 5003}",
                "gender": ("female", "male")[number % 2],
                "emotion": _EMOTIONS[number % len(_EMOTIONS)],
                "intent": _INTENTS[number % len(_INTENTS)],
                "translation": f"{text[::-1]} {number}",
                "target_language": "fr",
            }
            file.write(json.dumps(row) + "\n")


def plan(table: str, samples: int) -> dict[str, Any]:
    """In a process of its own: read the rows, and choose."""
    from llaso_data.pipeline.instruct.items import plan_of
    from llaso_data.pipeline.instruct.progress import Progress
    from llaso_data.pipeline.instruct.reading import asking_of, read_rows
    from llaso_data.pipeline.instruct.row_store import RowStore
    from llaso_data.recipe import Instruct, Recipe, SourceSpec, Voices

    instruct = Instruct(tasks=TASKS, samples=samples, split={"train": 0.9, "test": 0.1})
    recipe = Recipe(sources=(SourceSpec(path=table),), instruct=instruct, voices=Voices(engines={}), out="-")
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    with RowStore() as rows:
        reading = read_rows(recipe, "", TASKS, asking_of(recipe), rows, Progress())
        read_s = time.monotonic() - started_s
        made = plan_of(recipe, "", TASKS, reading.scan.done(), rows, None)
        chosen = made.selection.next()
        whole_s = time.monotonic() - started_s
    return {
        "reading_s": read_s,
        "choosing_s": whole_s - read_s,
        "whole_s": whole_s,
        "cpu_s": time.process_time() - started_cpu_s,
        "candidates": len(made.candidates.row),
        "chosen": len(chosen),
    }


def building(sets: Path, samples: int, asr: str, repeats: int, workers: int) -> None:
    """Print what building takes, without speech and with it, and beside a peer."""
    beside(sets, repeats)
    runs: dict[str, list[tuple[dict[str, Any], float, float]]] = {"written": [], "spoken": []}
    for _ in range(repeats):
        for name, found in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                settings = {
                    "sets": str(sets),
                    "samples": samples,
                    "asr": asr,
                    "workers": workers,
                    "out": folder + "/out",
                }
                found.append(measured("build", spoken=name == "spoken", **settings))
    for name, found in runs.items():
        made = statistics.median(told["samples"] / wall_s for told, wall_s, _ in found)
        peak = statistics.median(peak for _, _, peak in found)
        first = found[0][0]
        print(f"{name:8} {first['samples']:6,} samples, {made:7.1f} a second, {first['hours']:.2f} h, {peak:5.0f} MiB")
    told = runs["spoken"][-1][0]
    said_s = sum(of["seconds"] for by_language in told["voices"].values() for of in by_language.values())
    for what, core_s in told["core_s"].items():
        if core_s:
            print(f"{what:10} {core_s:.0f} core seconds for {said_s / 3600:.2f} h: {said_s / core_s:.1f} h an hour")
    for voice, by_language in told["voices"].items():
        for language, of in by_language.items():
            print(
                f"  {voice:24} {language:3} {of['lines']:5} lines, {of['rejected']:4} rejected, "
                f"{100 * of['errors'] / max(1, of['words']):5.1f} % heard otherwise"
            )


def beside(sets: Path, repeats: int) -> None:
    """Print how fast Parquet with pointers is made, by the side of ``datasets``; repeats are interleaved."""
    names = ("pointers", "datasets")
    runs: dict[str, list[tuple[dict[str, Any], float, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                runs[name].append(measured(name, sets=str(sets.resolve()), out=f"{folder}/{name}"))
    for name, found in runs.items():
        made = statistics.median(told["samples"] / told["seconds"] for told, _, _ in found)
        peak = statistics.median(peak for _, _, peak in found)
        print(f"{name:8} {found[0][0]['samples']:6,} samples, {made:7.1f} a second, {peak:5.0f} MiB")


def build(sets: str, samples: int, asr: str, workers: int, out: str, spoken: bool) -> dict[str, Any]:
    """In a process of its own: build."""
    from llaso_data.pipeline.instruct.run import build_instruct
    from llaso_data.pipeline.load_recipe import load

    os.chdir(sets)
    overrides = [f"instruct.samples={samples}", f"observe.asr.model={asr}", "run.engine=local"]
    overrides += [f"run.num_workers={workers}", f"out={out}", "instruct.leakage.kinds=[]"]
    if not spoken:
        overrides += ["voices.engines={}", "instruct.modalities={text_audio: 1.0, text: 1.0}"]
    summary = build_instruct(load("recipe.yaml", overrides))
    return {name: getattr(summary, name) for name in ("samples", "hours", "voices", "core_s")}


def measured(what: str, **settings: Any) -> tuple[dict[str, Any], float, float]:
    """Run a part in a process of its own: what it says, seconds, and MiB at the peak of all its processes."""
    command = [sys.executable, __file__, "--child", what, json.dumps(settings)]
    started_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        peak = 0
        while child.poll() is None:
            peak = max(peak, tree_bytes(child.pid))
            time.sleep(_EVERY_S)
        assert child.stdout is not None
        said = child.stdout.read()
    if child.returncode:
        sys.exit(f"{what} failed")
    return json.loads(said.splitlines()[-1]), time.monotonic() - started_s, peak / 2**20


def tree_bytes(root: int) -> int:
    """The resident sets of a process and of all that it started, together."""
    parents, held = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            held[int(entry.name)] = int((entry / "statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    whole, found = 0, {root}
    while found:
        whole += sum(held.get(pid, 0) for pid in found)
        found = {pid for pid, parent in parents.items() if parent in found}
    return whole


if __name__ == "__main__":
    main()
