"""What ``observe.quality`` says of speech whose faults are known: noise of a known level, narrow bands, rooms.

    python bench/quality.py [--clips 24]

The clips are those of pytest-audioeval and prompts of Debian's Asterisk packages.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import soxr

from llaso_data import audio
from llaso_data.audio import Pcm, surroundings
from llaso_data.demo import assets
from llaso_data.estimate.bandwidth import bandwidth_hz
from llaso_data.estimate.dnsmos import dnsmos
from llaso_data.estimate.environment import environment
from llaso_data.estimate.noise import snr_db

Change = Callable[[Pcm], Pcm]


def speech(count: int) -> list[Pcm]:
    files = [*sorted(assets.clips().rglob("*.wav")), *sorted(assets.demo_corpus().root.rglob("*.g722"))[::18]]
    pcm = [audio.decode(str(file))[0] for file in files]
    long = [one for one in pcm if len(one) > audio.SAMPLE_RATE_HZ]
    return long[:: max(1, len(long) // count)][:count]


def noisy(snr: float, kind: str) -> Change:
    def change(pcm: Pcm) -> Pcm:
        clean, rng = audio.to_float32(pcm) * np.float32(0.5), np.random.default_rng(len(pcm))
        if kind == "pink":
            return audio.to_int16(surroundings.noisy(clean, snr, rng))
        noise = rng.standard_normal(len(clean))
        noise *= np.sqrt(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2) / 10 ** (snr / 10))
        return audio.to_int16((clean + noise).astype(np.float32))

    return change


def narrow(rate_hz: int) -> Change:
    return lambda pcm: audio.to_int16(
        soxr.resample(soxr.resample(audio.to_float32(pcm), 16_000, rate_hz), rate_hz, 16_000)
    )


def room(seconds: float) -> Change:
    return lambda pcm: audio.to_int16(
        surroundings.add_reverberation(audio.to_float32(pcm), seconds, np.random.default_rng(len(pcm)))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=24)
    clips = speech(parser.parse_args().clips)
    seconds = sum(map(len, clips)) / audio.SAMPLE_RATE_HZ
    print(f"{len(clips)} clips, {seconds:.0f} s\n\nSNR in dB: median error, median and 90th percentile of its size")
    for kind in ("white", "pink"):
        for snr in (-5, 0, 5, 10, 15, 20, 30, 40):
            errors = np.array([(snr_db(noisy(snr, kind)(pcm)) or np.nan) - snr for pcm in clips])
            sizes = np.abs(errors)
            print(
                f"  {kind:5} {snr:3} dB  {np.median(errors):+5.1f}  {np.median(sizes):4.1f}"
                f"  {np.percentile(sizes, 90):4.1f}"
            )
    print("\nbandwidth in Hz of speech that went through a rate: lowest, median, highest")
    for rate_hz in (5_000, 6_800, 8_000, 11_025, 14_000, 16_000):
        found = [bandwidth_hz(narrow(rate_hz)(pcm)) or 0 for pcm in clips]
        print(f"  {rate_hz:6} Hz, so {rate_hz / 2:.0f}  {min(found):.0f}  {np.median(found):.0f}  {max(found):.0f}")
    kinds: dict[str, Change] = {"as recorded": lambda pcm: pcm}
    kinds |= {f"pink noise, {snr} dB": noisy(snr, "pink") for snr in (20, 10, 5, 0)}
    kinds |= {"through 8 kHz": narrow(8_000), "room of 0.3 s": room(0.3), "room of 0.6 s": room(0.6)}
    print("\nDNSMOS, medians of overall, signal, background, P.808; and environments")
    started_s = time.process_time()
    for name, change in kinds.items():
        changed = [change(pcm) for pcm in clips]
        scores = [dnsmos(pcm) for pcm in changed]
        places = Counter(
            found[0] if found else "unknown"
            for found in (environment(snr_db(p), bandwidth_hz(p), s) for p, s in zip(changed, scores, strict=True))
        )
        rows = np.array([(s.overall, s.signal, s.background, s.p808) for s in scores if s])
        said = ", ".join(f"{place} {count}" for place, count in places.most_common())
        print(f"  {name:18} " + " ".join(f"{value:.2f}" for value in np.median(rows, axis=0)) + f"  {said}")
    used_s = time.process_time() - started_s
    print(f"\n{used_s / len(kinds) / len(clips):.2f} core seconds a clip")


if __name__ == "__main__":
    main()
