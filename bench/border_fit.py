"""Fits the networks of ``llaso_data/filters/border_level.py``, for ``bench/borders.py --fit``.

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
from llaso_data.filters.border_evidence import MEASURED, SURROUNDINGS, evidence
from llaso_data.filters.border_level import LIMIT_DB, Network, Weighing
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
MUSIC_PACKAGES = (
    "hyperrogue-music",
    "singularity-music",
    "planetblupi-music-ogg",
    "wesnoth-1.16-music",
    "colobot-common-sounds",
    "zaz-data",
    "fretsonfire-songs-muldjord",
)  # of Debian
PIECE = 20 * SAMPLE_RATE_HZ  # from the middle of each; shorter ones are no music
SNR_DB = (3.0, 35.0)  # half of them under 11
LOUD_NOISE_DB = 14.0  # below it a noise is named loud
LOST_S = (0.04, 0.5)  # of the first or last sounds
SHORTEST = SAMPLE_RATE_HZ // 4
BATCH = 512
LIMIT = 5.0  # standard deviations
DECIMALS = 4  # that are written
HELD_OUT = 5  # one prompt in so many is not fitted; both errors are printed of these
ALLOWED, ALLOWED_LOUD, ALLOWED_MUSIC = 0.04, 0.015, 0.007
"""The shares of whole clips that may be over the limit: in loud noise few that are cut are found anyway, and loud music
is as good as unknown to the second network, which then needs to see more of it."""
MUSIC_WEIGHT = 3.0
PARTS = 5  # of the prompts; the odds of each are of a network that was fitted to the others
CUTS = 4  # of a version
FEW = 50  # so many whole clips of some surroundings, or they are not printed
_PAUSE = 25  # windows of 10 ms
OF_CLIP = [MEASURED.index(name) for name in SURROUNDINGS]

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Of the numbers of some rows, what the network gives for them, and what is wanted."""


@dataclass(frozen=True)
class Fitting:
    """How a network is fitted."""

    units: int
    epochs: int
    rate: float
    decay: float
    dropout: float


ODDS = Fitting(units=256, epochs=60, rate=3e-3, decay=1e-3, dropout=0.3)
WHOLE = Fitting(units=16, epochs=15, rate=5e-3, decay=1e-2, dropout=0.0)


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


def english_names() -> set[str]:
    """Of the English prompts of what is fitted."""
    root = assets.demo_corpus(600, 60).root / "en"
    return {path.relative_to(root).with_suffix("").as_posix() for voice, path in prompts() if voice == "en"}


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
    if rng.random() < 0.7:
        kind, snr_db = str(rng.choice(NOISES)), float(SNR_DB[0] + (SNR_DB[1] - SNR_DB[0]) * rng.random() ** 2)
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
    """Fit both networks to the borders that are found, print both errors of those held out, and write them."""
    torch.set_num_threads(1)
    number = {name: place for place, name in enumerate(sorted({one.prompt for one in found}))}
    fitted = [one for one in found if number[one.prompt] % HELD_OUT]
    part = [number[one.prompt] // HELD_OUT % PARTS for one in fitted]
    unseen = [_odds([one for one, its in zip(fitted, part, strict=True) if its != other]) for other in range(PARTS)]
    odds_db = [float(unseen[its](one.found).max()) for one, its in zip(fitted, part, strict=True)]
    weighing = Weighing(_odds(fitted), _whole(fitted, odds_db))
    _print_errors([one for one in found if not number[one.prompt] % HELD_OUT], weighing)
    lines = [f'"measured":{json.dumps(MEASURED)}']
    for name, network in (("odds_db", weighing.odds_db), ("whole_db", weighing.whole_db)):
        stated = dataclasses.asdict(network)
        stated["hidden_thousandths"] = np.rint(1000 * stated.pop("hidden")).astype(int)  # most of the file
        parts = (f"{json.dumps(key)}:{json.dumps(_rounded(one), separators=(',', ':'))}" for key, one in stated.items())
        lines.append(f"{json.dumps(name)}:{{\n" + ",\n".join(parts) + "\n}")
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _odds(found: Sequence[Borders]) -> Network:
    """The odds that a border is cut, dB."""
    inputs, targets, weights = _rows(found)
    return _fitted(inputs, targets, ODDS, 10 / np.log(10), partial(_cross_entropy, torch.tensor(weights).float()))


def _whole(found: Sequence[Borders], odds_db: Sequence[float]) -> Network:
    """The odds that few whole clips exceed, dB, by what surrounds their speech.

    What is cut loses the silence at an end, and so seems to be in louder surroundings. It is to be compared with its
    own whole clip, so its surroundings, too, stand for the odds of that.
    Koenker and Bassett, "Regression quantiles", Econometrica 46 (1978), have the loss.
    """
    rows = [number for number, one in enumerate(found) if one.cut != "pause"]
    of_whole = np.maximum.accumulate([number if one.cut == "whole" else 0 for number, one in enumerate(found)])
    allowed, weights = [], []
    for number in rows:
        is_loud, is_music = (word in found[number].surroundings for word in ("loud", f"loud {MUSIC}"))
        allowed.append(ALLOWED_MUSIC if is_music else ALLOWED_LOUD if is_loud else ALLOWED)
        weights.append((MUSIC_WEIGHT if is_music else 1) * (1 if found[number].cut == "whole" else 1 / CUTS))
    surroundings = np.array([found[number].found[0, OF_CLIP] for number in rows])
    wanted = np.array([odds_db[of_whole[number]] for number in rows]) / 10
    loss = partial(_quantile, torch.tensor(allowed), torch.tensor(weights))
    return _fitted(surroundings, wanted, WHOLE, 10.0, loss)


def _cross_entropy(
    weights: torch.Tensor, rows: torch.Tensor, given: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(given, wanted, weights[rows])


def _quantile(
    allowed: torch.Tensor, weights: torch.Tensor, rows: torch.Tensor, given: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    above = wanted - given
    return (weights[rows] * torch.maximum((1 - allowed[rows]) * above, -allowed[rows] * above)).mean()


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


def _fitted(inputs: Floats, targets: Floats, how: Fitting, unit: float, loss_of: Loss) -> Network:
    """A network whose numbers are those of the fit times a unit."""
    torch.manual_seed(0)
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    x = torch.tensor(np.clip((inputs - mean) / scale, -LIMIT, LIMIT), dtype=torch.float32)
    y = torch.tensor(targets, dtype=torch.float32)
    hidden, output = torch.nn.Linear(x.shape[1], how.units), torch.nn.Linear(how.units, 1)
    network = torch.nn.Sequential(hidden, torch.nn.ReLU(), torch.nn.Dropout(how.dropout), output, torch.nn.Flatten(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=how.rate, weight_decay=how.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.epochs * (len(x) // BATCH))
    for _ in range(how.epochs):
        order = torch.randperm(len(x))
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = loss_of(rows, network(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Network(
        mean,
        scale,
        LIMIT,
        hidden.weight.detach().T.numpy(),
        hidden.bias.detach().numpy(),
        unit * output.weight.detach().numpy()[0],
        unit * float(output.bias.detach()[0]),
    )


def _print_errors(found: Sequence[Borders], weighing: Weighing) -> None:
    """Both errors at the default limit, in each surroundings."""
    groups: dict[str, list[Borders]] = {}
    for one in found:
        groups.setdefault(one.surroundings, []).append(one)
    print("| surroundings | whole | rejected | pauses rejected | cut | found |\n" + "|---" * 6 + "|")
    for name, some in sorted(groups.items()):
        over = weighing(np.array([one.found for one in some])) > LIMIT_DB
        whole, pause, cut = (
            over[[one.cut in kinds for one in some]] for kinds in (("whole",), ("pause",), ("start", "end"))
        )
        if len(whole) >= FEW:
            print(
                f"| {name} | {len(whole)} | {whole.mean():.3f} | {pause.mean() if len(pause) else 0:.3f} "
                f"| {len(cut)} | {cut.mean() if len(cut) else 0:.3f} |"
            )


def _rounded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind == "i" else np.round(value.astype(np.float64), DECIMALS).tolist()
    return round(value, DECIMALS) if isinstance(value, float) else value
