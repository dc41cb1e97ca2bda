"""The dataset card: how large it is, how long it takes to write, and how soon a browser shows it.

    .venv/bin/python bench/card.py demo-out/align --repeats 5
    .venv/bin/python bench/card.py --rows 1000000

Writes the card of a finished run, or of synthetic records without sound, into a temporary folder; prints seconds and
peak memory of writing, the page's bytes, and the medians of what a headless Chromium with an empty cache reports from
the start of the navigation: first paint, page loaded, all charts drawn; and the CPU time of the page's thread, which a
busy machine hardly changes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the browser is the tests'

from llaso_data.filters.columns import hex_strings
from llaso_data.io import storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.judge import judge
from llaso_data.pipeline.load_recipe import dump, judging_digest
from llaso_data.recipe import Recipe
from llaso_data.records import FORMAT_VERSION, Scores, Source, Utterance, digest, to_table
from llaso_data.report import card
from tests.support.browser import ARGUMENTS, chromium

BLOCK_ROWS = 8192
COPIES = 0.02  # share of rows with the audio of another
_TIMES = """() => { const drawn = performance.getEntriesByName("charts-drawn")[0];
  const load = performance.getEntriesByType("navigation")[0].loadEventEnd;
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return drawn && load && [paint.startTime, load, drawn.startTime] }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("align", nargs="?", default="demo-out/align", help="a finished run")
    parser.add_argument("--rows", type=int, default=0, help="synthetic records instead")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        align = synthetic(folder, args.rows) if args.rows else args.align
        before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        page = Path(card.write_card(align, os.path.join(folder, "card.html")))
        print(f"written in                    {time.perf_counter() - started:8.2f} s")
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory                   {peak_mib:8.0f} MiB ({before_mib:.0f} before)")
        times = [opened(page) for _ in range(args.repeats)]
        print(f"{page.name:<30}{page.stat().st_size / 1e6:8.2f} MB")
        names = ("first paint", "loaded", "all charts drawn", "CPU of the page's thread")
        for name, values in zip(names, zip(*times, strict=True), strict=True):
            spread = f"{min(values):.0f}-{max(values):.0f}"
            print(f"  {name:<28}{statistics.median(values):8.0f} ms  (of {args.repeats}: {spread})")
    print(f"CPU cores {os.cpu_count()}, load average {os.getloadavg()[0]:.1f}")


def opened(page: Path) -> list[float]:
    """Milliseconds to first paint, load and the last chart, and of CPU until then; a new browser each time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        devtools = tab.context.new_cdp_session(tab)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        tab.goto(page.as_uri())
        while not (found := tab.evaluate(_TIMES)):
            tab.wait_for_timeout(20)
        metrics = {m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]}
        browser.close()
    return [*(float(value) for value in found), 1000 * metrics["TaskDuration"]]


def synthetic(folder: str, rows: int) -> str:
    """A finished run of records in 40 languages, 60 corpora and many voices, without any audio."""
    align = os.path.join(folder, "align")
    random = np.random.default_rng(0)
    names = []
    template = to_table([_record()], Utterance)
    for start in range(0, rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, rows - start)
        names.append(digest("block", start))
        commit.write_table(commit.block_uri(align, names[-1]), _block(template, count, random))
    recipe = Recipe()
    result = judge([commit.block_uri(align, name) for name in names], recipe.judge)
    verdicts = judging_digest(recipe, names)
    commit.write_table(commit.verdicts_uri(align, verdicts), result.table)
    storage.write_bytes(storage.join(align, "recipe.yaml"), dump(recipe).encode())
    plain = recipe.model_dump(mode="json", exclude={"run", "out"})
    said = {
        "format_version": FORMAT_VERSION,
        "llaso": "0",
        "blocks": names,
        "verdicts": verdicts,
        "observing": "0" * 32,
    }
    storage.write_json(commit.manifest_uri(align), {**said, "recipe": plain, **result.summary()})
    print(f"rows                          {rows:8,} in {len(names)} blocks, {result.counts['accepted']:,} accepted")
    return align


def _record() -> Utterance:
    scores = Scores(no_speech_prob=0.0, language_prob=1.0, compression_ratio=1.2, repetition=0.0, clipped_ratio=0.0)
    source = Source(corpus="c", uri="/gone.wav")
    return Utterance(id="0" * 32, recording="0" * 32, source=source, audio_id="0" * 32, duration_s=1.0, language="en",
                     language_origin="given", text="please hold the line", text_origin="given",
                     hypothesis="please hold the line", decoding="packed", scores=scores)  # fmt: skip


def _block(template: pa.Table, count: int, random: np.random.Generator) -> pa.Table:
    """The template's one row `count` times, with ids, scores, languages, corpora and speakers of their own."""
    table = template.take(pa.array(np.zeros(count, np.int64)))
    ids = hex_strings(random.integers(0, 1 << 64, (count, 2), np.uint64))
    heard = random.integers(0, 1 << 64, (count, 2), np.uint64)
    heard[random.random(count) < COPIES] = heard[0]
    duration_s = np.round(random.gamma(2.5, 2.5, count), 3)
    duration_s[(heard == heard[0]).all(axis=1)] = duration_s[0]
    scores = {
        "avg_logprob": -random.exponential(0.3, count),
        "min_word_logprob": -random.exponential(1.2, count),
        "eot_logprob": -random.exponential(1.2, count),
        "llr": -random.exponential(1.0, count),
        "cer": random.exponential(0.08, count),
        "chars_per_s": random.normal(13, 3, count),
        "rms_dbfs": random.normal(-24, 6, count),
    }
    table = _put(table, "id", ids)
    table = _put(table, "recording", ids)
    table = _put(table, "audio_id", hex_strings(heard))
    table = _put(table, "duration_s", pa.array(duration_s))
    table = _put(table, "language", pa.array([f"l{n}" for n in random.integers(40, size=count)]))
    table = _inside(table, "scores", {name: pa.array(np.round(values, 4)) for name, values in scores.items()})
    table = _inside(table, "source", {"corpus": pa.array([f"corpus {n}" for n in random.integers(60, size=count)])})
    voices = pa.array([f"voice {n}" for n in random.zipf(1.4, count) % 200_000])
    given = pa.array(["given"] * count)
    return _inside(table, "speaker", {"id": pa.StructArray.from_arrays([voices, given], ["value", "origin"])})


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values.cast(table.schema.field(at).type))


def _inside(table: pa.Table, name: str, parts: dict[str, pa.Array]) -> pa.Table:
    at = table.schema.get_field_index(name)
    kind = table.schema.field(at).type
    struct = table[name].combine_chunks()
    arrays = [parts.get(f.name, struct.field(f.name)).cast(f.type) for f in kind]
    return table.set_column(at, table.schema.field(at), pa.StructArray.from_arrays(arrays, fields=list(kind)))


if __name__ == "__main__":
    main()
