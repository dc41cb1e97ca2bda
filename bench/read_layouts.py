"""How fast every layout is read: rows and megabytes of its tables for a CPU second.

    python bench/read_layouts.py [--rows 20000] [--rounds 3] [--only kaldi …]

For each layout a set of so many rows is made (`bench/read_layouts_sets.py`); its sound is short and shared, for no
reader decodes it. Every reading is a process of its own: it lists the files, recognises the layout, and makes the
records that `build-align` and `convert` begin with. The layouts take turns, and the median of the rounds counts. CPU
time is of the process with its threads, without imports. Megabytes are of tables, lists and transcripts; of tars and
tables with sound inside, whose sound is passed over, they are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from llaso_data import formats
from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

sys.path.insert(0, str(Path(__file__).parent))
from read_layouts_sets import BUILDERS, TABLES

INSIDE = frozenset(("hf_disk", "hf_parquet"))


def measure(name: str, folder: str) -> None:
    """In a process of its own: print the rows and the CPU seconds of reading."""
    formats.LAYOUTS[name]
    start_s = time.process_time()
    source = formats.open_source(SourceSpec(path=folder), Counter())
    assert source.recognition.layout.name == name, source.recognition
    rows = 0
    if source.holds_conversations:
        for sample in formats.conversation_samples(source):
            assert not isinstance(sample, Failure), sample
            rows += 1
    else:
        for _, one in formats.corpus_rows(source):
            assert one.utterance.failure is None, one.utterance.failure
            assert one.utterance.text, one.utterance
            rows += 1
    took_s = time.process_time() - start_s
    print(json.dumps([rows, took_s]))


def megabytes(name: str, folder: Path) -> float | None:
    """The size of what is read of a set; None where it lies among sound."""
    if name in INSIDE:
        return None
    endings = AUDIO_EXTENSIONS | {"tar"}
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    size = sum(path.stat().st_size for path in files if path.suffix[1:].lower() not in endings)
    return size / 1e6 or None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(formats.LAYOUTS), choices=list(formats.LAYOUTS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    with tempfile.TemporaryDirectory() as temporary:
        sets = {name: Path(temporary) / name for name in options.only}
        for name, folder in sets.items():
            folder.mkdir()
            BUILDERS[name](folder, options.rows)
        took_s: dict[str, list[float]] = {name: [] for name in sets}
        for _ in range(options.rounds):
            for name, folder in sets.items():
                command = [sys.executable, __file__, "--measure", name, str(folder / TABLES.get(name, ""))]
                rows, seconds = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                assert rows == options.rows, (name, rows)
                took_s[name].append(seconds)
        print(f"{'layout':20}{'rows/CPU s':>12}{'MB/CPU s':>10}")
        for name, values in took_s.items():
            seconds, size = statistics.median(values), megabytes(name, sets[name])
            print(f"{name:20}{options.rows / seconds:>12,.0f}{'–' if size is None else f'{size / seconds:.1f}':>10}")


if __name__ == "__main__":
    main()
