"""Measures of quality say what was done to speech; ``bench/quality.py`` has more kinds and more clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

from llaso_data import audio
from llaso_data.audio import Pcm, surroundings
from llaso_data.errors import LLaSOError
from llaso_data.estimate import dnsmos as networks
from llaso_data.estimate import environment as places
from llaso_data.estimate.bandwidth import bandwidth_hz
from llaso_data.estimate.dnsmos import Dnsmos, dnsmos
from llaso_data.estimate.environment import environment
from llaso_data.estimate.noise import snr_db
from llaso_data.estimate.quality import MEASURES, QualityStage
from llaso_data.formats.rows.vocabulary import ENVIRONMENTS
from llaso_data.recipe import Quality
from llaso_data.records import ESTIMATED, GIVEN, UNKNOWN, Attribute, Source, Utterance
from tests.conftest import Clip


@pytest.fixture(scope="module")
def speech(clips: list[Clip]) -> list[Pcm]:
    return [pcm for pcm in (audio.decode(str(clip.path))[0] for clip in clips) if len(pcm) > 16_000]


def with_noise(pcm: Pcm, snr: float) -> Pcm:
    quieter = audio.to_float32(pcm) * np.float32(0.5)  # so that nothing clips
    return audio.to_int16(surroundings.noisy(quieter, snr, np.random.default_rng(3)))


def narrow(pcm: Pcm, rate_hz: int) -> Pcm:
    return audio.to_int16(soxr.resample(soxr.resample(audio.to_float32(pcm), 16_000, rate_hz), rate_hz, 16_000))


def test_noise_that_was_added_is_measured(speech: list[Pcm]) -> None:
    for snr in (0, 10, 20, 30):
        errors = [(snr_db(with_noise(pcm, snr)) or 0) - snr for pcm in speech]
        assert abs(np.median(errors)) < 2.5 and np.abs(errors).max() < 5, snr
    assert all((snr_db(pcm) or 0) > 35 for pcm in speech)
    assert snr_db(np.zeros(16_000, np.int16)) is None and snr_db(speech[0][:4000]) is None


def test_the_bandwidth_is_that_of_the_narrowest_rate_that_speech_went_through(speech: list[Pcm]) -> None:
    for rate_hz in (6_000, 8_000, 11_025, 14_000):
        found = [bandwidth_hz(narrow(pcm, rate_hz)) or 0 for pcm in speech]
        assert 0.92 * rate_hz / 2 < min(found) <= max(found) <= rate_hz / 2, rate_hz
    assert {bandwidth_hz(pcm) for pcm in speech} == {8_000.0}
    assert bandwidth_hz(speech[0] // 100) == 8_000.0  # also of a faint one
    assert bandwidth_hz(np.zeros(16_000, np.int16)) is None


def test_dnsmos_is_that_of_speechmos_and_falls_with_noise(speech: list[Pcm]) -> None:
    speechmos = pytest.importorskip("speechmos.dnsmos")
    clip = max(speech, key=len)[:80_000]
    scores, noisy = dnsmos(clip, step_s=1.0), dnsmos(with_noise(clip, 5))
    theirs = speechmos.run(audio.to_float32(clip), 16_000)
    assert scores is not None and noisy is not None
    assert scores.overall == pytest.approx(theirs["ovrl_mos"], abs=1e-3)
    assert scores.signal == pytest.approx(theirs["sig_mos"], abs=1e-3)
    assert scores.background == pytest.approx(theirs["bak_mos"], abs=1e-3)
    assert scores.p808 == pytest.approx(theirs["p808_mos"], abs=1e-3)
    assert noisy.overall < scores.overall - 0.5 and noisy.background < scores.background - 1
    assert dnsmos(clip[:0]) is None


CLEAN, MIDDLING, NOISY = Dnsmos(3.5, 3.7, 4.2, 4.0), Dnsmos(3.0, 3.4, 3.8, 3.5), Dnsmos(2.0, 3.4, 1.8, 2.4)


@pytest.mark.parametrize(
    ("snr", "bandwidth", "mos", "expected"),
    [
        (60.0, 8000.0, CLEAN, "studio"),
        (60.0, 5000.0, CLEAN, "quiet"),
        (32.0, 8000.0, MIDDLING, "quiet"),
        (20.0, 8000.0, MIDDLING, None),  # nothing is said where nothing is sure
        (5.0, 8000.0, NOISY, "noisy"),
        (5.0, 8000.0, MIDDLING, None),  # the two measures of noise disagree
        (60.0, 3400.0, None, "telephone"),
        (60.0, 8000.0, None, None),
        (None, None, CLEAN, None),
    ],
)
def test_the_environment_is_said_where_it_is_sure(
    snr: float | None, bandwidth: float | None, mos: Dnsmos | None, expected: str | None
) -> None:
    found = environment(snr, bandwidth, mos)
    assert (found[0] if found else None) == expected
    assert found is None or 0.5 <= found[1] <= 1


def test_every_place_is_one_that_records_know() -> None:
    assert {places.TELEPHONE, places.NOISY, places.STUDIO, places.QUIET} < set(ENVIRONMENTS)


def test_the_stage_fills_what_nobody_said_and_keeps_what_somebody_said(speech: list[Pcm]) -> None:
    def utterance(number: int, **known: Attribute) -> Utterance:
        return Utterance(id=str(number), recording=str(number), source=Source(corpus="c", uri="a"), **known)

    phone = narrow(speech[0], 6_800)
    rows = [utterance(0), utterance(1, environment=Attribute("vehicle", GIVEN)), utterance(2)]
    unsaid, said, failed = QualityStage(Quality(enabled=True, dnsmos=False))(rows, [phone, phone, None])
    assert unsaid.environment == Attribute("telephone", ESTIMATED)
    assert (
        set(unsaid.scores.extra)
        == {"snr_db", "bandwidth_hz", "environment_confidence"}
        < {*MEASURES} | {"environment_confidence"}
    )
    assert said.environment == Attribute("vehicle", GIVEN) and set(said.scores.extra) == {"snr_db", "bandwidth_hz"}
    assert failed == rows[2]
    (silent,) = QualityStage(Quality(enabled=True, dnsmos=False, environment=False))([utterance(0)], [phone])
    assert silent.environment.value == UNKNOWN


def test_a_missing_package_is_said_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "speechmos", None)
    with pytest.raises(LLaSOError, match=r"observe.quality.dnsmos needs speechmos: pip install 'llaso\[quality\]'"):
        networks.model_files()


def test_the_files_of_the_networks_are_found() -> None:
    pytest.importorskip("speechmos")
    assert all(isinstance(file, Path) and file.is_file() for file in networks.model_files())
