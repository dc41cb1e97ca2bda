"""Where a recording was made, as far as its quality tells: telephone, noisy, studio or quiet; else nothing is said.

The limits are strict, because a label that is missing costs less than a wrong one. ``bench/quality.py`` prints what
they give for clean, noisy, narrow and reverberant speech.
"""

from __future__ import annotations

from llaso_data.estimate.dnsmos import Dnsmos

TELEPHONE, NOISY, STUDIO, QUIET = "telephone", "noisy", "studio", "quiet"

TELEPHONE_HZ = 3_950.0  # a telephone sends 300-3,400 Hz; a file at 8 kHz holds no more than 3,950
NOISY_SNR_DB, NOISY_BACKGROUND = 12.0, 3.0
QUIET_SNR_DB, QUIET_BACKGROUND = 30.0, 3.7
STUDIO_SNR_DB, STUDIO_BACKGROUND, STUDIO_OVERALL, STUDIO_HZ = 45.0, 4.0, 3.2, 7_500.0


def environment(snr_db: float | None, bandwidth_hz: float | None, mos: Dnsmos | None) -> tuple[str, float] | None:
    """The kind of place, and how sure that is.

    Args:
        snr_db: Signal-to-noise ratio; None where it is not known.
        bandwidth_hz: The highest frequency; None where it is not known.
        mos: What listeners would say; None where it was not asked: then nothing but a telephone is told.

    Returns:
        A value of ``formats/rows/vocabulary.py``, and a confidence: 0.5 where a measure stands at its limit, towards 1
        the farther all of them are beyond. None where no kind fits.
    """
    if bandwidth_hz is not None and bandwidth_hz <= TELEPHONE_HZ:
        return TELEPHONE, _confidence((TELEPHONE_HZ - bandwidth_hz) / 500)
    if snr_db is None or mos is None or bandwidth_hz is None:
        return None
    if snr_db <= NOISY_SNR_DB and mos.background <= NOISY_BACKGROUND:
        return NOISY, _confidence((NOISY_SNR_DB - snr_db) / 10, NOISY_BACKGROUND - mos.background)
    if (
        snr_db >= STUDIO_SNR_DB
        and mos.background >= STUDIO_BACKGROUND
        and mos.overall >= STUDIO_OVERALL
        and bandwidth_hz >= STUDIO_HZ
    ):
        margins = (mos.background - STUDIO_BACKGROUND) / 0.5, (mos.overall - STUDIO_OVERALL) / 0.5
        return STUDIO, _confidence((snr_db - STUDIO_SNR_DB) / 10, *margins)
    if snr_db >= QUIET_SNR_DB and mos.background >= QUIET_BACKGROUND:
        return QUIET, _confidence((snr_db - QUIET_SNR_DB) / 15, (mos.background - QUIET_BACKGROUND) / 0.5)
    return None


def _confidence(*margins: float) -> float:
    """0.5 to 1, of the least margin; 1 is a margin far beyond the limit."""
    return 0.5 + 0.5 * min(1.0, *margins)
