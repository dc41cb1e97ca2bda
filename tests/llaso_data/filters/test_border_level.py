"""What is cut inside a word is told from whole speech, whatever the room sounds like; ``bench/borders.py`` has more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.audio import Pcm
from llaso_data.audio.surroundings import add_reverberation
from llaso_data.filters.border_evidence import MEASURED, SURROUNDINGS
from llaso_data.filters.border_level import (
    FAR_S,
    LEAST_DB,
    LIMIT_DB,
    NEAR_S,
    NO_WORD_DB,
    Network,
    Weighing,
    border_level,
    border_levels,
)
from llaso_data.recipe import Confidence
from llaso_model.evaluate.conditions import mix_at_snr, shaped_noise
from tests.conftest import Clip

Room = Callable[[Pcm], Pcm]


def _pcm(samples: np.ndarray) -> Pcm:
    return np.round(np.clip(samples, -1, 0.9999) * 32768).astype(np.int16)


def noisy(kind: str, snr_db: float) -> Room:
    def room(pcm: Pcm) -> Pcm:
        clean, rng = audio.to_float32(pcm), np.random.default_rng(7)
        noise = shaped_noise(clean, "pink", rng) if kind == "pink" else np.cumsum(rng.standard_normal(len(clean)))
        return _pcm(mix_at_snr(clean, noise - noise.mean(), snr_db))

    return room


def reverberant(pcm: Pcm, time_s: float) -> Pcm:
    return _pcm(add_reverberation(audio.to_float32(pcm), time_s, np.random.default_rng(7)))


ROOMS: dict[str, Room] = {
    "clean": lambda pcm: pcm,
    **{f"{kind} {snr}": noisy(kind, snr) for kind in ("pink", "brown") for snr in (30, 20, 15, 10)},
    "reverberation 0.3": lambda pcm: reverberant(pcm, 0.3),
    "reverberation 0.6": lambda pcm: reverberant(pcm, 0.6),
    "opus": lambda pcm: audio.decode_bytes(audio.encode(pcm, "opus")),
}


BABBLE_DB = (20, 10, 5)


@pytest.fixture(scope="module")
def spoken(clips: list[Clip]) -> dict[str, list[Pcm]]:
    """The clips in every room."""
    clean = [audio.decode(str(clip.path))[0] for clip in clips]
    found = {name: [room(pcm) for pcm in clean] for name, room in ROOMS.items()}
    for snr_db in BABBLE_DB:
        found[f"babble {snr_db}"] = [among(clean, number, snr_db) for number in range(len(clean))]
    return found


def among(clean: list[Pcm], number: int, snr_db: float) -> Pcm:
    """A clip while six others are read."""
    speech = audio.to_float32(clean[number])
    others = [audio.to_float32(clean[(number + step) % len(clean)]) for step in range(1, 7)]
    babble = sum(np.resize(np.roll(other, 4000 * step), len(speech)) for step, other in enumerate(others))
    return _pcm(mix_at_snr(speech, babble, snr_db))


def level(pcm: Pcm) -> float:
    found = border_levels(pcm)
    assert found is not None
    return border_level(found)


@pytest.mark.parametrize("room", [*ROOMS, *(f"babble {snr_db}" for snr_db in BABBLE_DB)])
def test_whole_readings_pass_in_every_room(spoken: dict[str, list[Pcm]], room: str) -> None:
    loud = [level(pcm) for pcm in spoken[room]]
    assert sum(found > LIMIT_DB for found in loud) <= 0.05 * len(loud), sorted(loud)[-4:]


def in_vowels(pcm: Pcm) -> tuple[int, int]:
    """A sample inside the first loud sound and one inside the last: in the middle of 60 ms near the loudest."""
    frames = pcm[: len(pcm) // 320 * 320].reshape(-1, 320).astype(np.float64)
    power = np.mean(frames**2, axis=1)
    loud = np.convolve(power > np.percentile(power, 95) / 10, np.ones(3), "valid") == 3
    places = np.flatnonzero(loud)
    return (int(places[0]) + 1) * 320 + 160, (int(places[-1]) + 1) * 320 + 160


LEAST = {"clean": 0.95, "opus": 0.95, "reverberation 0.3": 0.95, "pink 20": 0.85, "brown 20": 0.85, "pink 10": 0.85}
LEAST |= {"babble 20": 0.85, "babble 10": 0.85}


@pytest.mark.parametrize(("room", "least"), [*LEAST.items(), ("reverberation 0.6", 0.85)])
def test_a_vowel_that_is_cut_is_found(spoken: dict[str, list[Pcm]], room: str, least: float) -> None:
    found = []
    for clean, whole in zip(spoken["clean"], spoken[room], strict=True):
        first, last = in_vowels(clean)
        found += [level(whole[first:]), level(whole[:last])]
    assert np.mean(np.array(found) > LIMIT_DB) >= least, sorted(found)[:8]


def test_what_is_trimmed_to_the_sound_passes(spoken: dict[str, list[Pcm]]) -> None:
    """10 ms are left before the first 10 ms within 40 dB of the loud ones, and after the last."""
    found = []
    for pcm in spoken["clean"]:
        power = np.mean(pcm[: len(pcm) // 160 * 160].reshape(-1, 160).astype(np.float64) ** 2, axis=1)
        loud = np.flatnonzero(power > np.percentile(power, 90) / 1e4)
        found.append(level(pcm[max(0, loud[0] - 1) * 160 : (loud[-1] + 2) * 160]))
    assert np.mean(np.array(found) > LIMIT_DB) <= 0.05, sorted(found)[-6:]


def test_digital_silence_is_no_room(spoken: dict[str, list[Pcm]]) -> None:
    """One side of a call, and what was gated, has samples of exactly 0; beside these any room is loud."""
    for pcm in spoken["pink 30"]:
        whole = level(pcm)
        assert level(np.pad(pcm, (0, 20_000))) <= max(whole, LIMIT_DB)
        cut = pcm[in_vowels(pcm)[0] :]
        assert (level(np.pad(cut, (0, 20_000))) > LIMIT_DB) == (level(cut) > LIMIT_DB)


def constant(inputs: int, output: float) -> Network:
    ones = np.ones(inputs)
    return Network(0 * ones, ones, 5.0, np.zeros((inputs, 1)), np.zeros(1), np.zeros(1), output)


@pytest.mark.parametrize(("usual_db", "level_db"), [(LEAST_DB - 20, 5.0), (LEAST_DB, 5.0), (LEAST_DB + 4, 1.0)])
def test_loud_surroundings_raise_what_the_odds_must_be(usual_db: float, level_db: float) -> None:
    """Quiet ones do not lower it."""
    weighing = Weighing(constant(len(MEASURED), LEAST_DB + 5), constant(len(SURROUNDINGS), usual_db))
    assert weighing(np.zeros((1, 2, len(MEASURED)))) == pytest.approx([LIMIT_DB + level_db])


def test_the_default_limit_is_where_the_fit_has_it() -> None:
    assert Confidence().border_db_max == LIMIT_DB


def test_silence_and_what_is_too_short() -> None:
    assert level(np.zeros(16_000, np.int16)) < -100
    assert border_levels(np.zeros(1_599, np.int16)) is None
    assert border_levels(np.zeros(1_600, np.int16)) is not None


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("place", "lost"), [(-1.0, 0.0), (0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (9.0, 1.0)])
def test_a_border_counts_less_the_further_the_next_word_is(side: int, place: float, lost: float) -> None:
    levels, gaps_s = [-90.0, -90.0], [0.0, 0.0]
    levels[side] = -10.0
    gaps_s[side] = NEAR_S[side] + place * (FAR_S[side] - NEAR_S[side])
    assert border_level((levels[0], levels[1])) == -10.0  # where no words are known
    found = border_level((levels[0], levels[1]), (gaps_s[0], gaps_s[1]))
    assert found == pytest.approx(-10.0 - lost * NO_WORD_DB)
