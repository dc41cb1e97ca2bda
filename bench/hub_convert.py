"""A published corpus converted archive by archive: rates and memory of every stage, and what 25.5 million rows come to.

    python bench/hub_convert.py [--millions 1] [--clips 1000] [--repeats 3]

Scan, directories and join get made rows and as many made members, in zips of 12,000, named as LLaSO's are; the members
are empty, for only their names are read. Fetch and convert get real clips (16 kHz, 2.7 s on average; each clip in two
rows), fetch from a server on this machine that speaks the hub's protocol. Every stage is a process
of its own, and of the repeats the median counts. CPU seconds are of all threads; memory is the most that was resident,
imports included. Then it reckons what LLaSO-Align and LLaSO-Instruct come to by these rates: 25.5 M rows with clips of
14 s, 3,120 zips.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

MEMBERS_A_ZIP = 12_000
PUBLISHED = {"rows": 25.5e6, "members": 19e6, "zips": 3120, "bytes": 1020 * 1.5e9 + 2100 * 0.3e9, "json": 34 + 1}
MEAN_S = 14  # of a clip of the published corpus
CORES, LINE_BYTES_S = 64, 125e6  # of the example: one large machine, 1 Gbit/s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=1.0)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        _measured(args.run[0], Path(args.run[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_names(folder / "names" / "LLaSO-Align", round(args.millions * 1e6))
        _make_clips(folder / "hub" / "bench" / "LLaSO-Align", args.clips)
        taken: dict[str, list[dict[str, float]]] = {stage: [] for stage in STAGES}
        for _ in range(args.repeats):
            for stage in STAGES:
                command = [sys.executable, __file__, "--run", stage, str(folder)]
                ended = subprocess.run(command, check=True, capture_output=True, text=True)
                taken[stage].append(json.loads(ended.stdout.splitlines()[-1]))
    medians = {
        stage: {name: statistics.median(one[name] for one in runs) for name in runs[0]} for stage, runs in taken.items()
    }
    print(f"{'stage':12} {'unit':8} {'units/CPU s':>12} {'CPU s':>8} {'MB/CPU s':>9} {'MB of memory':>13}")
    for stage, one in medians.items():
        rate, megabytes = one["units"] / one["cpu_s"], one["bytes"] / 1e6 / one["cpu_s"]
        shown = f"{rate:,.0f}" if rate > 100 else f"{rate:.3g}"
        print(f"{stage:12} {UNITS[stage]:8} {shown:>12} {one['cpu_s']:8.1f} {megabytes:9,.1f} {one['rss_mb']:13,.0f}")
    _reckon(medians)


def _reckon(medians: dict[str, dict[str, float]]) -> None:
    """What the published corpus takes by these rates."""

    def hours(stage: str, units: float) -> float:
        return units * medians[stage]["cpu_s"] / medians[stage]["units"] / 3600

    fetch = medians["fetch"]
    core_hours = {
        "scan": hours("scan", PUBLISHED["rows"]),
        "directories": hours("directories", PUBLISHED["members"]),
        "join": hours("join", PUBLISHED["rows"]),
        "fetch": PUBLISHED["bytes"] * fetch["cpu_s"] / fetch["bytes"] / 3600,
        "convert": hours("convert", PUBLISHED["rows"] * MEAN_S / 3600),
    }
    print(f"\n{PUBLISHED['rows'] / 1e6:.1f} M rows, {PUBLISHED['zips']:,} zips, {PUBLISHED['bytes'] / 1e12:.2f} TB:")
    for stage, value in core_hours.items():
        print(f"  {stage:12} {value:10,.2f} core hours")
    line_hours = PUBLISHED["bytes"] / LINE_BYTES_S / 3600
    total = sum(core_hours.values())
    print(f"  together     {total:10,.2f} core hours: {total / CORES:,.1f} h on {CORES} cores")
    print(f"  a line of 1 Gbit/s needs {line_hours:,.1f} h for the bytes")
    print(f"  requests: {5 * PUBLISHED['zips'] + 2 * PUBLISHED['json']:,.0f}; scratch: 1.5 GB a worker and its shard")


# What is measured


def _make_names(folder: Path, rows: int) -> None:
    """A table of ``rows`` rows, and a zip for every 12,000 of their clips."""
    from convert_json import make

    table = folder / "text_audio" / "ASR_stage1_train.json"
    table.parent.mkdir(parents=True)
    make(table, rows)
    voices = _voices(table)
    for number in range(0, rows, MEMBERS_A_ZIP):
        path = folder / f"LLaSO-Align-audio.part{number // MEMBERS_A_ZIP}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for voice in voices[number : number + MEMBERS_A_ZIP]:
                archive.writestr(zipfile.ZipInfo(f"LLaSO-Align-audio/{voice}"), b"")


def _voices(table: Path) -> list[str]:
    with table.open(encoding="utf-8") as file:
        lines = (line.strip() for line in file)
        return [json.loads(line).replace("\\", "/") for line in lines if line.startswith('"mls_')]


def _make_clips(folder: Path, clips: int) -> None:
    """Real clips at many levels, so that all are other sounds, in zips of 250; two rows a clip."""
    import soundfile

    from llaso_data.demo import assets

    sources = sorted(assets.clips().glob("*/*.wav"))
    rows = []
    for first in range(0, clips, 250):
        with zipfile.ZipFile(_made(folder) / f"LLaSO-Align-audio.part{first // 250}.zip", "w") as archive:
            for number in range(first, min(clips, first + 250)):
                pcm, rate_hz = soundfile.read(str(sources[number % len(sources)]), dtype="float32")
                with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                    soundfile.write(file.name, pcm * (0.2 + 0.8 * number / clips), rate_hz, subtype="PCM_16")
                    archive.write(file.name, f"audio/set/{number:06d}.wav")
                said = sources[number % len(sources)].with_suffix(".txt").read_text("utf-8").strip()
                for asked in ("Transcribe.<audio>", "What is said?<audio>"):
                    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
                    rows.append({"voice": [f"set\\{number:06d}.wav"], "conversations": turns})
    table = _made(folder / "text_audio") / "ASR_stage1_train.json"
    table.write_text(json.dumps(rows, indent=2), "utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _stages(source: str, work: Path, folder: Path) -> Any:
    from llaso_data.pipeline.convert.by_archive.origin import Scratch
    from llaso_data.pipeline.convert.by_archive.source import archive_source
    from llaso_data.pipeline.convert.by_archive.stages import Stages
    from llaso_data.pipeline.convert.samples import open_samples
    from llaso_data.recipe import Convert, SourceSpec

    found = archive_source(open_samples(SourceSpec(path=source), Convert(), Counter()))
    assert found is not None
    return Stages(str(_made(work)), found, Scratch(str(_made(folder / "scratch")), 1 << 40))


def _each(function: Callable[[Any], Any], tasks: Iterable[Any]) -> None:
    for task in tasks:
        function(task)


def _prepared(folder: Path) -> tuple[Any, int, int]:
    source = folder / "names" / "LLaSO-Align"
    stages = _stages(str(source), folder / "work", folder)
    return stages, sum(one.size_bytes for one in stages.source.tables), len(list(source.glob("*.zip"))) * MEMBERS_A_ZIP


def scan_stage(folder: Path) -> Callable[[], tuple[float, float]]:
    from llaso_data.pipeline.convert.by_archive.scan import scan

    stages, size_bytes, _ = _prepared(folder)

    def run() -> tuple[float, float]:
        _each(scan, stages.scans)
        return json.loads(next((folder / "work").glob("scan-*.json")).read_text("utf-8"))["rows"], size_bytes

    return run


def directories_stage(folder: Path) -> Callable[[], tuple[float, float]]:
    from llaso_data.pipeline.convert.by_archive.directories import directories

    stages, _, members = _prepared(folder)

    def run() -> tuple[float, float]:
        _each(directories, stages.listings)
        return members, sum(one.size_bytes for one in stages.source.archives)

    return run


def join_stage(folder: Path) -> Callable[[], tuple[float, float]]:
    from llaso_data.pipeline.convert.by_archive.join import join

    stages, size_bytes, _ = _prepared(folder)
    stages.read_tables()
    tasks = list(stages.joins(needs_rows=True))

    def run() -> tuple[float, float]:
        _each(join, tasks)
        stages.read_joins()
        assert stages.counts()["unused"] == 0
        return sum(sum(one["rows"].values()) for one in stages._joined.values()), size_bytes

    return run


def fetch_stage(folder: Path) -> Callable[[], tuple[float, float]]:
    from llaso_data.io import hub_files

    listed = hub_files.tree("hf://datasets/bench/LLaSO-Align")
    zips = [file for file in listed.files if file.path.endswith(".zip")]

    def run() -> tuple[float, float]:
        for file in zips:
            path = folder / "fetched.zip"
            hub_files.fetch(listed, file, str(path))
            path.unlink()
        return len(zips), sum(file.size_bytes for file in zips)

    return run


def convert_stage(folder: Path) -> Callable[[], tuple[float, float]]:
    from llaso_data.pipeline.convert.run import convert
    from llaso_data.pipeline.load_recipe import load

    out = folder / f"out-{os.getpid()}"
    source = folder / "hub" / "bench" / "LLaSO-Align"
    recipe = load(None, options={"run.engine": "local", "sources": [{"path": str(source)}], "out": str(out)})

    def run() -> tuple[float, float]:
        return convert(recipe).hours, sum(path.stat().st_size for path in source.glob("*.zip"))

    return run


STAGES: dict[str, Callable[[Path], Callable[[], tuple[float, float]]]] = {
    "scan": scan_stage,
    "directories": directories_stage,
    "join": join_stage,
    "fetch": fetch_stage,
    "convert": convert_stage,
}
UNITS = {"scan": "rows", "directories": "members", "join": "rows", "fetch": "zips", "convert": "hours"}


def _measured(stage: str, folder: Path) -> None:
    """Run one stage in this process and print what it took. The server, where it needs one, is another process."""
    if stage == "fetch":
        with _server(folder / "hub") as url:
            os.environ |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}
            _timed(stage, folder)
    else:
        _timed(stage, folder)


def _timed(stage: str, folder: Path) -> None:
    run = STAGES[stage](folder)
    before, started_s = time.process_time(), time.monotonic()
    units, size_bytes = run()
    cpu_s, wall_s = time.process_time() - before, time.monotonic() - started_s
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"units": units, "bytes": size_bytes, "cpu_s": cpu_s, "wall_s": wall_s, "rss_mb": rss_mb}))


class _server:
    """The tests' hub in a process of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> str:
        code = "import sys,time; from pathlib import Path; from tests.support.fake_hub import serve\n"
        code += "with serve(Path(sys.argv[1])) as hub: print(hub.url, flush=True); time.sleep(3600)"
        command = [sys.executable, "-c", code, str(self._root)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    main()
