"""Fits the network of ``llaso_data/filters/border_level.py``, for ``bench/borders.py --fit``.

Prompts of five voices, none of which ``bench/borders.py`` or ``bench/filters.py --conditions`` measures, are altered at
random: other noises than those measured (white, brown, shaped like the speech, babble in Spanish and Russian of two to
eight talkers, the music of three games), at levels between, rooms with other reverberation times. Each is kept whole,
cut in a vowel at either end, near either end wherever it is, and in its longest pause, which is no fault.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from border_conditions import MUSIC, babble, is_vowel, opus, to_pcm, trimmed
from debian import unpacked
from faults import speech
from filter_conditions import prompts as conditioned
from scipy.signal import fftconvolve, welch

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.audio.surroundings import add_reverberation
from llaso_data.demo import assets
from llaso_data.filters.border_level import MEASURED, Network, evidence
from llaso_data.filters.planting import seeded
from llaso_model.evaluate.conditions import band_pass, mix_at_snr

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]
VOICE_PROMPTS = 120  # of each voice
BENCH_PROMPTS = slice(VOICE_PROMPTS, 2 * VOICE_PROMPTS)  # of the English ones: those that bench/borders.py measures
OTHER_VOICES = ("es", "fr", "it", "ru")
ALTERED = 24  # versions of each prompt
ROOMS_S = (0.15, 0.2, 0.25, 0.4, 0.45, 0.5, 0.7, 0.8, 0.9)
NOISES = ("white", "brown", "speech-shaped", "babble", "babble", "babble", MUSIC, MUSIC)
MUSIC_PACKAGES = ("hyperrogue-music", "singularity-music", "planetblupi-music-ogg")  # of Debian
PIECE = 20 * SAMPLE_RATE_HZ  # from the middle of each; shorter ones are no music
SNR_DB = (6.0, 35.0)
LOUD_NOISE_DB = 14.0  # below it a noise is named loud
LOST_S = (0.04, 0.5)  # of the first or last sounds
SHORTEST = SAMPLE_RATE_HZ // 4
UNITS, EPOCHS, BATCH, DECAY, RATE = 128, 60, 512, 1e-3, 3e-3
LIMIT, LIMIT_DB = 5.0, -35.0  # standard deviations; the default recipe's `border_db_max`
HELD_OUT = 5  # one prompt in so many is not fitted; the limit is placed by them
ALLOWED = 0.03  # of their whole clips in the worst surroundings
FEW = 50  # such clips place no limit
_PAUSE = 25  # windows of 10 ms


@dataclass(frozen=True)
class Borders:
    """What a version of a prompt gives: ``cut`` is whole, pause, start or end."""

    prompt: str
    surroundings: str
    cut: str
    found: Floats  # (2, measurements)


def prompts() -> list[tuple[str, Path]]:
    """(voice, file) of what is fitted."""
    root, paths = assets.demo_corpus(600, 60).root / "en", drawn_order(english_files())
    elsewhere = {pair.name for pair in conditioned()}
    own = [path for path in paths if path.relative_to(root).with_suffix("").as_posix() not in elsewhere]
    own = [path for path in own if path not in paths[BENCH_PROMPTS]]
    return [("en", path) for path in own[:VOICE_PROMPTS]] + [
        (code, path) for code in OTHER_VOICES for path in voice_files(code)[:VOICE_PROMPTS]
    ]


def english_files() -> list[Path]:
    """All English prompts with transcripts."""
    return sorted((assets.demo_corpus(600, 60).root / "en").rglob("*.g722"))


def drawn_order(paths: Iterable[Path]) -> list[Path]:
    """The files in an order that looks like chance."""
    return sorted(paths, key=lambda path: seeded("prompt", path.relative_to(path.parents[1])).random())


def voice_files(code: str) -> list[Path]:
    """The prompts of another language, in a drawn order."""
    folder = assets.prompts() / "usr/share/asterisk/sounds" / assets.VOICES[code].folder
    paths = [path for path in folder.rglob("*.g722") if path.stat().st_size > assets.MIN_BYTES]
    return sorted(paths, key=lambda path: seeded("voice", code, path.stem, path.parent.name).random())


@cache
def talkers() -> list[Pcm]:
    """Voices of the babble: prompts that are neither fitted nor measured."""
    kept = slice(2 * VOICE_PROMPTS, 2 * VOICE_PROMPTS + 60)
    return [audio.decode(str(path))[0] for code in ("es", "ru") for path in voice_files(code)[kept]]


@cache
def pieces_of_music(folder: Path) -> list[Pcm]:
    """The middle of each piece of the games' music; the packages are kept in the folder."""
    found = []
    for package in MUSIC_PACKAGES:
        for path in sorted(unpacked(package, folder).rglob("*.ogg")):
            pcm = audio.decode(str(path))[0]
            if len(pcm) > PIECE:
                found.append(pcm[(len(pcm) - PIECE) // 2 :][:PIECE])
    return found


def noise(kind: str, clean: Samples, rng: np.random.Generator, folder: Path) -> Floats:
    """Noise (n,) of any level, as long as the clip; the folder keeps the music."""
    count = len(clean)
    white = rng.standard_normal(count + 512)
    if kind == "white":
        return np.asarray(white[:count])
    if kind == "brown":
        steps = np.cumsum(white[:count])
        return np.asarray(steps - steps.mean())
    if kind == "speech-shaped":
        _, power = welch(clean, SAMPLE_RATE_HZ, nperseg=512)
        shape = np.roll(np.fft.irfft(np.sqrt(power)), 256) * np.hanning(512)
        return np.asarray(fftconvolve(white, shape)[256 : 256 + count])
    if kind == MUSIC:
        hiss = 0.001 * white[:count]  # where the piece pauses
        return babble(pieces_of_music(folder), 1, count, rng) + hiss
    return babble(talkers(), int(rng.integers(2, 9)), count, rng)


def altered(pcm: Pcm, rng: np.random.Generator, folder: Path) -> tuple[Pcm, bool, str]:
    """The clip in drawn surroundings, whether it is to be coded, and what they are."""
    samples, named = to_float32(pcm), []
    if rng.random() < 0.45:
        samples = add_reverberation(samples, float(rng.choice(ROOMS_S)), rng)
        named.append("room")
    if rng.random() < 0.6:
        kind, snr_db = str(rng.choice(NOISES)), float(rng.uniform(*SNR_DB))
        samples = np.asarray(mix_at_snr(samples, noise(kind, samples, rng, folder), snr_db), np.float32)
        named.append(f"loud {kind}" if snr_db < LOUD_NOISE_DB else kind)
    if rng.random() < 0.15:
        low_hz, high_hz = float(rng.choice([150, 250])), float(rng.choice([3000, 3800]))
        samples = np.asarray(band_pass(samples, low_hz, high_hz), np.float32)
    samples = samples * rng.uniform(0.15, 1)
    return to_pcm(samples), bool(rng.random() < 0.12), "+".join(named) or "quiet"


def versions(path: Path, folder: Path) -> Iterator[tuple[str, str, Pcm]]:
    """(surroundings, cut, clip) of a prompt."""
    pcm = audio.decode(str(path))[0]
    for number in range(ALTERED):
        rng = np.random.default_rng(seeded("border-fit", number, path.parent.name, path.stem).getrandbits(64))
        heard, is_coded, named = altered(pcm, rng, folder)
        pieces = [("whole", heard)]
        places = [(cut, vowel_place(pcm, rng)) for cut in ("start", "end")]
        for cut, place in [*places, *near_ends(pcm, rng)]:
            if place is not None:
                pieces.append((cut, heard[place:] if cut == "start" else heard[:place]))
        for part in pauses(pcm, rng):
            pieces.append(("pause", heard[part]))
        for cut, part in pieces:
            if len(part) >= SHORTEST:
                yield named, cut, opus(part) if is_coded else part
        if number < 2:
            yield "trimmed", "whole", trimmed(pcm, rng)


def vowel_place(pcm: Pcm, rng: np.random.Generator) -> int | None:
    """A drawn sample inside a vowel, 0.3 s from both ends; None where 60 draws found none."""
    first_s, last_s = speech(pcm)
    for _ in range(60):
        place = int(rng.uniform(first_s + 0.1, last_s - 0.05) * SAMPLE_RATE_HZ)
        if 0.3 * SAMPLE_RATE_HZ < place < len(pcm) - 0.3 * SAMPLE_RATE_HZ and is_vowel(pcm, place):
            return place
    return None


def near_ends(pcm: Pcm, rng: np.random.Generator) -> list[tuple[str, int]]:
    """A drawn sample within the last half second of the speech, and one within the first, whatever sounds there."""
    first_s, last_s = speech(pcm)
    most_s = min(LOST_S[1], (last_s - first_s) / 2)
    lost_s = rng.uniform(LOST_S[0], max(LOST_S[0], most_s), 2)
    return [
        ("start", round((first_s + lost_s[0]) * SAMPLE_RATE_HZ)),
        ("end", round((last_s - lost_s[1]) * SAMPLE_RATE_HZ)),
    ]


def pauses(pcm: Pcm, rng: np.random.Generator) -> Iterator[slice]:
    """The clip up to its longest pause, and from there on, where one takes 250 ms."""
    hop = SAMPLE_RATE_HZ // 100
    frames = (pcm[: len(pcm) // hop * hop].reshape(-1, hop) / audio.FULL_SCALE) ** 2
    level_db = 10 * np.log10(frames.mean(axis=1) + 1e-10)
    first, last = (round(s * 100) for s in speech(pcm))
    quiet = level_db < np.percentile(level_db, 90) - 35
    bounds = np.flatnonzero(np.diff(np.r_[False, quiet[first:last], False].astype(int))) + first
    runs = [(int(start), int(stop)) for start, stop in zip(bounds[::2], bounds[1::2], strict=True)]
    start, stop = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
    if stop - start >= _PAUSE:
        yield slice(0, (start + int(rng.integers(6, 20))) * hop)
        yield slice((stop - int(rng.integers(3, 12))) * hop, None)


def measured(folder: Path, voice_and_path: tuple[str, Path]) -> list[Borders]:
    voice, path = voice_and_path
    name = f"{voice}/{path.parent.name}/{path.stem}"
    return [Borders(name, named, cut, evidence(part)) for named, cut, part in versions(path, folder)]


def fit(target: Path, folder: Path) -> None:
    """Alter and measure the prompts, fit the network, and write it; the folder keeps the music."""
    pieces_of_music(folder)  # decoded once, for all processes of the pool
    with ProcessPoolExecutor(torch.get_num_threads()) as pool:
        write(target, [one for part in pool.map(partial(measured, folder), prompts(), chunksize=4) for one in part])


def write(target: Path, found: Sequence[Borders]) -> None:
    """Fit the network to the borders that are found, place the limit by those held out, and write both."""
    torch.set_num_threads(1)
    kept = {name: number % HELD_OUT > 0 for number, name in enumerate(sorted({one.prompt for one in found}))}
    fitted = [one for one in found if kept[one.prompt]]
    rows, targets, weights = _rows(fitted)
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    trained = _trained(np.clip((rows - mean) / scale, -LIMIT, LIMIT), targets, weights)
    hidden, output = (layer for layer in trained if isinstance(layer, torch.nn.Linear))
    decibel = 10 / np.log(10)
    network = Network(
        mean,
        scale,
        LIMIT,
        hidden.weight.detach().T.numpy(),
        hidden.bias.detach().numpy(),
        decibel * output.weight.detach().numpy()[0],
        decibel * float(output.bias.detach()[0]),
    )
    limit_db = _placed([one for one in found if not kept[one.prompt]], lambda one: float(network(one.found).max()))
    placed = dataclasses.replace(network, output_bias=network.output_bias - limit_db + LIMIT_DB)
    stated = {"measured": MEASURED, **dataclasses.asdict(placed)}
    lines = (f"{json.dumps(name)}: {json.dumps(_rounded(value))}" for name, value in stated.items())
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _rows(found: Sequence[Borders]) -> tuple[Floats, Floats, Floats]:
    """Single borders, whether they are cut, and their weights: a whole clip has two that are not."""
    rows: list[Floats] = []
    targets: list[float] = []
    weights: list[float] = []
    for one in found:
        if one.cut in ("start", "end"):
            rows.append(one.found[int(one.cut == "end")])
            targets.append(1.0)
            weights.append(1.0)
        else:
            rows += list(one.found)
            targets += [0.0, 0.0]
            weights += [0.5 if one.cut == "pause" or one.surroundings == "trimmed" else 1.0] * 2
    return np.array(rows), np.array(targets), np.array(weights)


def _trained(inputs: Floats, targets: Floats, weights: Floats) -> torch.nn.Sequential:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], UNITS), torch.nn.ReLU(), torch.nn.Linear(UNITS, 1), torch.nn.Flatten(0)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    rows = [torch.tensor(one, dtype=torch.float32) for one in (inputs, targets, weights)]
    steps = EPOCHS * (len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs))
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            x, y, weight = (one[batch] for one in rows)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x), y, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def _placed(found: Sequence[Borders], odds_db: Callable[[Borders], float]) -> float:
    """The odds, dB, that `ALLOWED` of the whole clips exceed in the worst surroundings; prints both errors in each."""
    groups: dict[str, list[Borders]] = {}
    for one in found:
        groups.setdefault(one.surroundings, []).append(one)
    whole = {name: [odds_db(one) for one in some if one.cut == "whole"] for name, some in groups.items()}
    limit_db = max(float(np.quantile(some, 1 - ALLOWED)) for some in whole.values() if len(some) >= FEW)
    print("| surroundings | whole | rejected | pauses rejected | cut | found |\n" + "|---" * 6 + "|")
    for name, some in sorted(groups.items()):
        if len(whole[name]) < FEW:
            continue
        pause = [odds_db(one) > limit_db for one in some if one.cut == "pause"]
        cut = [odds_db(one) > limit_db for one in some if one.cut in ("start", "end")]
        print(
            f"| {name} | {len(whole[name])} | {np.mean(np.array(whole[name]) > limit_db):.3f} "
            f"| {np.mean(pause) if pause else 0:.3f} | {len(cut)} | {np.mean(cut) if cut else 0:.3f} |"
        )
    return limit_db


def _rounded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.round(value, 4).tolist()
    return round(value, 4) if isinstance(value, float) else value
