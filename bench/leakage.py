"""Leakage: which changes of a sound the fingerprint survives, what it finds falsely, and what a clip costs.

    .venv/bin/python bench/leakage.py [--clips 200] [--samples 100000] [--voices FOLDER FOLDER]

On the telephone prompts of Debian's asterisk-core-sounds in five languages: 2,600 clips of five recordings, of which
those of one folder are one voice.

1. A draw of clips is changed: coded as Opus at 24 kbit/s and MP3 at 32, resampled, louder, softer, cut at either end.
   Printed: how many are found, and the share of bits that differ.
2. Every clip is looked up among all. Prompts are cut from the same recordings, so that some pairs do share sound. Which
   ones is told by what the fingerprint does not use: the waveforms, whose correlation at the best lag is near 1 where
   the recording is the same. Pairs below 0.5 are false finds, and are listed.
3. The English texts: one word of each is changed, at every place; and pairs of different texts that are near.
4. CPU time of a clip, and bytes of an index.
5. Memory of a whole set of ``--samples`` that are made of the prompts' codes, and the time to look one up in it.

6. Where Chromaprint's ``fpcalc`` is installed: how many of the drawn clips are too short for it.

``--voices`` are two folders in which files of one name say the same text in two voices: none of these pairs may be
found.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import correlate

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, AudioError, Pcm
from llaso_data.demo import assets
from llaso_data.instruct.leakage.find import NEAR_WORDS, SOUND, OtherSets
from llaso_data.instruct.leakage.fingerprint import Fingerprint, fingerprint
from llaso_data.instruct.leakage.sounds import LEAST_FRAMES, SoundIndex, thinned
from llaso_data.instruct.leakage.texts import LEAST_WORDS, NormalText, TextIndex
from llaso_data.instruct.leakage.traits import SampleTraits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.support.coded_sounds
from tests.support.coded_sounds import coded, resampled

CUT = SAMPLE_RATE_HZ // 5
SAME_RECORDING = 0.5
MILLION = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--samples", type=int, default=100_000, help="of the set whose memory is measured")
    parser.add_argument("--voices", nargs=2, type=Path)
    options = parser.parse_args()
    root = assets.prompts() / "usr/share/asterisk/sounds"
    files = [path for path in sorted(root.rglob("*.g722")) if path.stat().st_size >= assets.MIN_BYTES]
    names = [path.relative_to(root).with_suffix("").as_posix() for path in files if "silence" not in path.parts]
    pcms = {name: audio.decode(str(root / f"{name}.g722"))[0] for name in names}
    start = time.process_time()
    prints = {name: fingerprint(pcm) for name, pcm in pcms.items()}
    made_s = time.process_time() - start
    index = SoundIndex.of([thinned(one.codes) for one in prints.values()])
    hours = sum(map(len, pcms.values())) / SAMPLE_RATE_HZ / 3600
    long_enough = [name for name in names if np.count_nonzero(thinned(prints[name].codes)) >= LEAST_FRAMES]
    print(f"{len(names)} clips, {hours:.2f} h; {len(names) - len(long_enough)} have too little sound for a fingerprint")

    drawn = [long_enough[number] for number in np.random.default_rng(0).permutation(len(long_enough))[: options.clips]]
    show_changes(drawn, names, pcms, index)
    show_pairs(names, pcms, prints, index)
    show_costs(len(names), 3600 * hours, made_s, index, prints)
    show_texts()
    show_memory(prints, options.samples)
    if shutil.which("fpcalc"):
        show_chromaprint(drawn, pcms)
    if options.voices:
        show_voices(*options.voices)


def show_changes(drawn: list[str], names: list[str], pcms: dict[str, Pcm], index: SoundIndex) -> None:
    print(f"\n{'changed':<22} {'clips':>6} {'found':>6} {'too short':>9}   bits that differ: median, most")
    for change, apply in CHANGES.items():
        errors, missed, short = [], [], 0
        for name in drawn:
            changed = fingerprint(apply(pcms[name]))
            found = {one.clip: one.errors for one in index.find(changed)}
            if names.index(name) in found:
                errors.append(found[names.index(name)])
            elif np.count_nonzero(thinned(changed.codes)) < LEAST_FRAMES + 1:
                short += 1
            else:
                missed.append(name)
        print(
            f"{change:<22} {len(drawn):>6} {len(errors):>6} {short:>9}   {np.median(errors):.3f} {max(errors):.3f}"
            f"   {' '.join(missed[:5])}"
        )


def show_pairs(names: list[str], pcms: dict[str, Pcm], prints: dict[str, Fingerprint], index: SoundIndex) -> None:
    pairs = sorted(
        {
            (min(number, one.clip), max(number, one.clip))
            for number, name in enumerate(names)
            for one in index.find(prints[name])
            if one.clip != number
        }
    )
    correlations = {pair: correlation(pcms[names[pair[0]]], pcms[names[pair[1]]]) for pair in pairs}
    false = [pair for pair in pairs if correlations[pair] < SAME_RECORDING]
    folders = [name.split("/")[0] for name in names]
    of_one_voice = sum(folders.count(folder) * (folders.count(folder) - 1) // 2 for folder in set(folders))
    print(
        f"\n{len(names) * (len(names) - 1) // 2:,} pairs, {of_one_voice:,} of one voice: {len(pairs)} found, "
        f"{len(pairs) - len(false)} are the same recording by their waveforms, {len(false)} are not"
    )
    for pair in false:
        print(f"  {names[pair[0]]} | {names[pair[1]]}: correlation {correlations[pair]:.2f}")


def show_costs(clips: int, audio_s: float, made_s: float, index: SoundIndex, prints: dict[str, Fingerprint]) -> None:
    start = time.process_time()
    for one in prints.values():
        index.find(one)
    found_s = time.process_time() - start
    size = index.codes.nbytes + index.order.nbytes + index.sorted_codes.nbytes + index.starts.nbytes
    print(
        f"\na clip of {audio_s / clips:.2f} s: {1000 * made_s / clips:.2f} ms of CPU for its fingerprint, "
        f"{1000 * found_s / clips:.2f} ms to look it up among {clips}; {size / clips:.0f} bytes in the index: "
        f"{size / clips * MILLION / 2**20:.0f} MiB for a million such clips"
    )


def show_memory(prints: dict[str, Fingerprint], samples: int) -> None:
    """Of a set as a whole: ids, places, sounds and texts.

    A clip's codes are a prompt's, all turned alike. A text is eight words, drawn as often as prompts say them.
    """
    clips, rng = list(prints.values()), np.random.default_rng(0)
    said = [word for _, text in assets.english_prompts().values() for word in NormalText.of(text, "en").words]
    masks = rng.integers(0, 1 << 32, samples, np.uint32)

    def made(number: int) -> SampleTraits:
        one = clips[number % len(clips)]
        codes = np.where(one.codes == 0, one.codes, one.codes ^ masks[number])
        text = " ".join(said[place] for place in rng.integers(0, len(said), 8))
        name = f"{number:032x}"
        return SampleTraits(
            ids=(name,),
            where=f"shard-{number:06d}.tar!{name}",
            names=(name,),
            audio_ids=(name,),
            sounds=(Fingerprint(codes, one.doubts),),
            texts=(NormalText(text, "en"),),
        )

    before = rss_bytes()
    start = time.process_time()
    others = OtherSets({"set": map(made, range(samples))})
    read_s, size = time.process_time() - start, rss_bytes() - before
    asked = [made(number) for number in range(0, samples, samples // 200)]
    start = time.process_time()
    found = sum(any(leak.kind == SOUND for leak in others.leaks(one, [SOUND])) for one in asked)
    sound_ms = 1000 * (time.process_time() - start) / len(asked)
    start = time.process_time()
    for one in asked:
        list(others.leaks(one, [NEAR_WORDS]))
    text_ms = 1000 * (time.process_time() - start) / len(asked)
    print(
        f"\n{samples:,} samples with a clip and a text each: {size / samples:.0f} bytes a sample in memory, "
        f"{size / samples * MILLION / 2**30:.2f} GiB for a million, indexed in {1000 * read_s / samples:.2f} ms of CPU "
        f"each; among them a sound is looked up in {sound_ms:.2f} ms, a text in {text_ms:.2f} ms; {found} of "
        f"{len(asked)} sounds are also another clip's"
    )


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def show_texts() -> None:
    normal = {one.text: one for one in (NormalText.of(text, "en") for _, text in assets.english_prompts().values())}
    texts = list(normal.values())
    start = time.process_time()
    index = TextIndex.of(texts)
    made_s = time.process_time() - start
    start = time.process_time()
    near = {tuple(sorted((text.text, texts[one.text].text))) for text in texts for one in index.find(text)}
    found_s = time.process_time() - start
    changed = found = 0
    for number, text in enumerate(texts):
        words = text.words
        for place in range(len(words) if len(words) >= LEAST_WORDS else 0):
            other = NormalText(" ".join([*words[:place], "wonderful", *words[place + 1 :]]), "en")
            changed += 1
            found += number in {one.text for one in index.find(other)}
    size = index.keys.nbytes + index.order.nbytes
    print(
        f"\n{len(texts)} different texts: one word changed {changed} times, {found} found; {len(near)} pairs of them "
        f"are near\na text: {1000 * made_s / len(texts):.2f} ms of CPU to index, {1000 * found_s / len(texts):.2f} ms "
        f"to look up, {size / len(texts):.0f} bytes and itself"
    )


def show_voices(one: Path, other: Path) -> None:
    def read(folder: Path) -> Iterator[tuple[str, Pcm]]:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                yield path.relative_to(folder).with_suffix("").as_posix(), audio.decode(str(path))[0]
            except AudioError as error:
                print(f"  {error}")

    first, second = dict(read(one)), dict(read(other))
    names = list(first)
    index = SoundIndex.of([thinned(fingerprint(pcm).codes) for pcm in first.values()])
    shared = [name for name in names if name in second]
    found = [(names[hit.clip], name) for name, pcm in second.items() for hit in index.find(fingerprint(pcm))]
    same = [pair for pair in found if pair[0] == pair[1]]
    print(f"\n{len(shared)} names in two voices: {len(same)} pairs of one name found, {len(found) - len(same)} others")
    for pair in found[:10]:
        print(f"  {pair[0]} | {pair[1]}: correlation {correlation(first[pair[0]], second[pair[1]]):.2f}")


def show_chromaprint(drawn: list[str], pcms: dict[str, Pcm]) -> None:
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        for name in drawn:
            soundfile.write(path, pcms[name], SAMPLE_RATE_HZ)
            command = ["fpcalc", "-raw", "-json", "-ignore-errors", str(path)]
            printed = subprocess.run(command, capture_output=True, text=True).stdout
            counts.append(len(json.loads(printed)["fingerprint"]) if printed.strip() else 0)
    few = sum(count < 3 for count in counts)
    print(f"\nchromaprint: {few} of the {len(drawn)} drawn clips have fewer than 3 codes")


def correlation(one: Pcm, other: Pcm) -> float:
    """Of the waveforms at the best lag, by the energy of the shorter and of what it lies upon."""
    short, long = sorted((one.astype(np.float64), other.astype(np.float64)), key=len)
    padded = np.pad(long, len(short))
    products = correlate(padded, short, "valid", "fft")
    energies = np.cumsum(np.concatenate([[0.0], padded**2]))
    under = energies[len(short) :] - energies[: -len(short)]
    least = 0.25 * float(short @ short)  # where little lies under the shorter one, any correlation is chance
    return float(np.max(np.abs(products) / np.sqrt(np.maximum(under, least) * float(short @ short))))


def through(rate_hz: int) -> Callable[[Pcm], Pcm]:
    return lambda pcm: resampled(resampled(pcm, SAMPLE_RATE_HZ, rate_hz), rate_hz, SAMPLE_RATE_HZ)


CHANGES: dict[str, Callable[[Pcm], Pcm]] = {
    "Opus 24 kbit/s": lambda pcm: coded(pcm, "libopus", 24_000, 48_000, "ogg"),
    "MP3 32 kbit/s": lambda pcm: coded(pcm, "libmp3lame", 32_000, 16_000, "mp3"),
    "8 kHz": through(8_000),
    "22.05 kHz": through(22_050),
    "+6 dB": lambda pcm: np.clip(2 * pcm.astype(np.int32), -32768, 32767).astype(np.int16),
    "-6 dB": lambda pcm: pcm // 2,
    "begins 0.2 s later": lambda pcm: pcm[CUT:],
    "ends 0.2 s earlier": lambda pcm: pcm[:-CUT],
    "Opus, 0.2 s later": lambda pcm: CHANGES["Opus 24 kbit/s"](pcm)[CUT:],
}

if __name__ == "__main__":
    main()
