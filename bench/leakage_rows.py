"""Leakage while instruction data are built: what is planted among rows is found, what is found falsely, what it costs.

    .venv/bin/python bench/leakage_rows.py [--clips 200] [--rows 100000] [--tests 10000] [--num-workers 1]

Everything goes the way of `llaso-data build-instruct`: rows, their splits, :func:`find_leaks_of_rows`.

1. A draw of the telephone prompts of Debian's asterisk-core-sounds is the test split. Copies of it, as files of other
   codecs, rates and levels and cut by 0.2 s, are training rows, and so are all other prompts, most of them of the same
   voices. Texts of prompts are rows without sound; the training split has them in capitals, or with one word changed.
   Printed: how many of each are found, and which other prompts are. Prompts are cut from the same recordings: which
   pairs are one recording is told by the correlation of their waveforms.
2. Core milliseconds for a second of sound: decoding in the limited process, and the rest.
3. ``--rows`` training rows against ``--tests`` test rows, each with a clip and a text, made of the prompts' codes and
   words: time and memory of the search, where all recordings are heard.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from llaso_data import audio, formats
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, decode_worker
from llaso_data.demo import assets
from llaso_data.instruct.leakage.find import CLIP, KINDS, NEAR_WORDS, SAMPLE, SOUND, WORDS
from llaso_data.instruct.leakage.fingerprint import Fingerprint, fingerprint
from llaso_data.instruct.leakage.sounds import LEAST_FRAMES, is_short, thinned
from llaso_data.instruct.leakage.texts import LEAST_WORDS, NormalText
from llaso_data.instruct.row import InstructRow
from llaso_data.pipeline import hearing
from llaso_data.pipeline.hearing import HeardBlock, HeardRecording, HearJob, Workplace
from llaso_data.pipeline.instruct.leaks import TEST, TRAIN, RowLeaks, find_leaks_of_rows
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.recipe import LeakageCheck, Run, SourceSpec
from llaso_data.records import Source, Utterance

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.support.coded_sounds
from bench.leakage import SAME_RECORDING, correlation
from tests.support.coded_sounds import encoded, resampled

CUT = SAMPLE_RATE_HZ // 5
KINDS_TIMED = {"exact kinds": (SAMPLE, CLIP), "sound": (SOUND,), "texts": (WORDS, NEAR_WORDS), "all kinds": KINDS}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--num-workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(engine="local", num_workers=options.num_workers)
        prints = show_planted(Path(folder), options.clips, run)
        show_search(Path(folder) / "made", prints, options.rows, options.tests)


def wav(path: Path, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> None:
    soundfile.write(path.with_suffix(".wav"), pcm, rate_hz)


def scaled(pcm: Pcm, factor: float) -> Pcm:
    return np.clip(factor * pcm.astype(np.int32), -32768, 32767).astype(np.int16)


def opus(pcm: Pcm) -> bytes:
    return encoded(pcm, "libopus", 24_000, 48_000, "ogg")


def mp3(pcm: Pcm) -> bytes:
    return encoded(pcm, "libmp3lame", 32_000, 16_000, "mp3")


PLANTED: dict[str, Callable[[Path, Pcm], object]] = {
    "the same": lambda path, pcm: wav(path, pcm),
    "Opus, 24 kbit/s": lambda path, pcm: path.with_suffix(".ogg").write_bytes(opus(pcm)),
    "MP3, 32 kbit/s": lambda path, pcm: path.with_suffix(".mp3").write_bytes(mp3(pcm)),
    "begins 0.2 s later": lambda path, pcm: wav(path, pcm[CUT:]),
    "ends 0.2 s earlier": lambda path, pcm: wav(path, pcm[:-CUT]),
    "6 dB louder, clipped": lambda path, pcm: wav(path, scaled(pcm, 2)),
    "6 dB softer": lambda path, pcm: wav(path, scaled(pcm, 0.5)),
    "a file of 8 kHz": lambda path, pcm: wav(path, resampled(pcm, SAMPLE_RATE_HZ, 8_000), 8_000),
    "a file of 44.1 kHz": lambda path, pcm: wav(path, resampled(pcm, SAMPLE_RATE_HZ, 44_100), 44_100),
    "Opus, 0.2 s later": lambda path, pcm: path.with_suffix(".ogg").write_bytes(opus(pcm[CUT:])),
    "MP3, 0.2 s later, -6 dB": lambda path, pcm: path.with_suffix(".mp3").write_bytes(mp3(scaled(pcm[CUT:], 0.5))),
}


def show_planted(folder: Path, clips: int, run: Run) -> list[Fingerprint]:
    root = assets.prompts() / "usr/share/asterisk/sounds"
    prompts = [
        row
        for row in recordings(root)
        if row.audio is not None and Path(row.audio.source.uri).stat().st_size >= assets.MIN_BYTES
    ]
    pcms = {row.id: audio.decode(row.audio.source.uri)[0] for row in prompts if row.audio is not None}
    prints = {name: fingerprint(pcm) for name, pcm in pcms.items()}
    long_enough = [row for row in prompts if np.count_nonzero(thinned(prints[row.id].codes)) >= LEAST_FRAMES]
    places = np.random.default_rng(0).permutation(len(long_enough))[:clips]
    tests = [replace(long_enough[place], split="test") for place in places]
    copied: dict[str, str] = {}
    for number, (name, write) in enumerate(PLANTED.items()):
        (folder / f"{number}").mkdir()
        for row in tests:
            write(folder / f"{number}" / row.id, pcms[row.id])
            copied[f"{number}"] = name
    planted = [row for number in copied for row in recordings(folder / number)]
    drawn = {row.id for row in tests}
    others = [row for row in prompts if row.id not in drawn]
    texts = {one.text: one for one in (NormalText.of(text, "en") for _, text in assets.english_prompts().values())}
    said = [one for one in texts.values() if len(one.words) >= LEAST_WORDS]
    with RowStore() as rows:
        for row in [*tests, *planted, *others, *text_rows(said)]:
            rows.add(row)
        splits = np.array([TEST if row.split == "test" else TRAIN for row in rows], np.int8)
        before = cpu_s()
        found = find_leaks_of_rows(
            rows, splits, np.ones(len(rows), np.bool_), LeakageCheck(), Workplace(run, str(folder / "work"))
        )
        spent = [now - then for now, then in zip(cpu_s(), before, strict=True)]
        show_found(rows, found, copied, prints, pcms)
    planted_s = sum(audio.decode(row.audio.source.uri)[1].duration_s or 0.0 for row in planted if row.audio)
    audio_s = planted_s + sum(map(len, pcms.values())) / SAMPLE_RATE_HZ
    if run.num_workers == 1:
        print(
            f"\n{audio_s / 3600:.2f} h of sound: {1000 * spent[1] / audio_s:.1f} core ms a second for decoding it in "
            f"the limited process, {1000 * spent[0] / audio_s:.1f} for the rest: digest, fingerprint, files, search"
        )
    return list(prints.values())


def recordings(folder: Path) -> Iterator[InstructRow]:
    for row, one in formats.corpus_rows(formats.open_source(SourceSpec(path=str(folder)), Counter())):
        utterance = one.utterance
        yield InstructRow(id=utterance.id, audio=utterance, audio_version=one.version, where=row.where, split="train")


def text_rows(texts: list[NormalText]) -> Iterator[InstructRow]:
    """Texts of the test split, and what is made of them for the training split; ``where`` says what."""
    for number, one in enumerate(texts):
        words = one.words
        changed = [*words[: number % len(words)], "wonderful", *words[number % len(words) + 1 :]]
        for split, kind, text in (
            ("test", "", one.text),
            ("train", "in capitals", f"{one.text.upper()}!"),
            ("train", "one word changed", " ".join(changed)),
        ):
            name = f"{len(texts) * (kind == '') + 2 * number + (kind != 'in capitals'):032x}"
            yield InstructRow(id=f"{kind}{name}", labels={"text": text}, language="en", split=split, where=kind)


def show_found(
    rows: RowStore, found: RowLeaks, copied: dict[str, str], prints: dict[str, Fingerprint], pcms: dict[str, Pcm]
) -> None:
    planted, leaked, short = Counter[str](), Counter[str](), Counter[str]()
    other_leaks = []
    for row, leak in zip(rows, found.leaks, strict=True):
        if row.split == "test":
            continue
        path = None if row.audio is None else Path(row.audio.source.uri)
        kind = row.where if path is None else copied.get(path.parent.name, "")
        planted[kind] += 1
        leaked[kind] += bool(leak)
        if leak and not kind:
            other_leaks.append(row)
        if not leak and path is not None and kind and is_short_now(path):
            short[kind] += 1
    print(f"{'planted in train':<26} {'rows':>6} {'found':>6} {'too short':>9}")
    for kind in [*PLANTED.keys(), "in capitals", "one word changed"]:
        print(f"{kind:<26} {planted[kind]:>6} {leaked[kind]:>6} {short[kind]:>9}")
    tests = [row for row in rows if row.split == "test" and row.audio is not None]
    pairs = planted[""] * len(tests)
    one_voice = sum(
        count * Counter(voice_of(row) for row in tests)[voice]
        for voice, count in Counter(
            voice_of(row) for row in rows if row.split != "test" and row.audio and row.id in prints
        ).items()
    )
    heard = [pcms[one.id] for one in tests]
    false = [row for row in other_leaks if max(correlation(pcms[row.id], pcm) for pcm in heard) < SAME_RECORDING]
    print(
        f"other prompts: {planted['']:,} rows, {pairs:,} pairs with the test split, {one_voice:,} of one voice: "
        f"{len(other_leaks)} found, {len(other_leaks) - len(false)} are a test row's recording, {len(false)} are not"
    )
    for row in false:
        print(f"  {row.where}")
    counts = found.counts["test"]
    print(f"{SOUND} {counts[SOUND]:,}, {WORDS} {counts[WORDS]:,}, {NEAR_WORDS} {counts[NEAR_WORDS]:,}")
    print(f"not compared: {found.not_compared}")


def voice_of(row: InstructRow) -> str:
    assert row.audio is not None
    return Path(row.audio.source.uri).relative_to(assets.prompts() / "usr/share/asterisk/sounds").parts[0]


def is_short_now(path: Path) -> bool:
    """Whether what was planted has too little sound for a fingerprint."""
    return is_short(fingerprint(audio.decode(str(path))[0]))


def cpu_s() -> tuple[float, float]:
    """Of this process and of its decoding process."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    child = getattr(decode_worker._per_thread, "child", None)
    ticks = 0
    if child is not None:
        fields = Path(f"/proc/{child._process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
    return own.ru_utime + own.ru_stime, ticks / os.sysconf("SC_CLK_TCK")


def show_search(work: Path, prints: list[Fingerprint], count: int, tests: int) -> None:
    """Rows whose recordings are said to be heard: nothing is decoded, everything else is as it is."""
    said = [word for _, text in assets.english_prompts().values() for word in NormalText.of(text, "en").words]
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 1 << 32, count + tests, np.uint32)
    hearing.hear_block = made_up(prints, masks)
    with RowStore() as rows:
        for number in range(count + tests):
            text = " ".join(said[place] for place in rng.integers(0, len(said), 8))
            source = Source(corpus="made", uri=f"{work}/{number}")
            utterance = Utterance(id=f"{number:032x}", recording=f"{number:032x}", source=source)
            rows.add(InstructRow(id=utterance.id, audio=utterance, labels={"text": text}, language="en"))
        splits = np.full(len(rows), TRAIN, np.int8)
        splits[rng.permutation(len(rows))[:tests]] = TEST
        place = Workplace(Run(engine="local"), str(work))
        text_counts = np.ones(len(rows), np.bool_)
        find_leaks_of_rows(rows, splits, text_counts, LeakageCheck(kinds=("audio",)), place)  # writes the block files
        for name, kinds in KINDS_TIMED.items():
            start = time.process_time()
            found = find_leaks_of_rows(rows, splits, text_counts, LeakageCheck(kinds=kinds), place)
            spent_s = time.process_time() - start
            print(
                f"{count:,} training rows against {tests:,}, {name}: {spent_s:.0f} s of CPU, "
                f"{1000 * spent_s / (count + tests):.2f} ms a row; so far at most {peak_bytes() / 2**20:.0f} MiB; "
                f"{int(found.leaks.sum())} leak"
            )


def made_up(prints: list[Fingerprint], masks: np.ndarray) -> Callable[[HearJob], HeardBlock]:
    def hear_block(job: HearJob) -> HeardBlock:
        heard = []
        for one in job.recordings:
            number = int(Path(one.place[0]).name)
            sound = prints[number % len(prints)]
            codes = np.where(sound.codes == 0, sound.codes, sound.codes ^ masks[number])
            heard.append(HeardRecording(f"{number:032x}", 2.85, Fingerprint(codes, sound.doubts)))
        return hearing.commit(job, heard)

    return hear_block


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
