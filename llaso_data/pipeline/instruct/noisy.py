"""A recording in noise, as a clip of its own: 16 kHz mono FLAC, named by what made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, limited
from llaso_data.audio.encoding import encode
from llaso_data.audio.mixing import to_int16
from llaso_data.audio.noise import NOISE_SHAPES, Samples, babble, mix_at_snr, shaped_noise
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import storage
from llaso_data.pipeline.instruct.spoken import Refusal
from llaso_data.records import Source, Utterance, digest

BABBLE = "babble"
_LAYOUT = "instruct-noisy-1"
_MAX_S = 60.0  # of a recording; longer ones are no samples in noise


def noisy_clip(
    recording: Utterance, snr_db: float, noise: str, key: object, folder: str, voices: Sequence[Utterance] = ()
) -> Utterance | Refusal:
    """Put a recording into noise at an exact ratio to its active speech. The same arguments give the same file.

    Args:
        recording: What is heard.
        snr_db: Signal-to-noise ratio in dB.
        noise: ``white``, ``pink``, ``speech`` or ``babble``.
        key: Names the draw.
        folder: Where the clip is written, on a disk or a store.
        voices: Recordings of which babble is made.

    Returns:
        The clip, with what is known of the recording. A Refusal where the recording, or a voice, cannot be decoded, or
        is silent.
    """
    try:
        speech = _samples(recording)
        rng = np.random.Generator(np.random.Philox(key=int(digest("noise", key, length=32), 16)))
        if noise == BABBLE:
            added = babble([_samples(one) for one in voices], len(speech), rng)
        else:
            shape = next(one for one in NOISE_SHAPES if one == noise)
            added = shaped_noise(speech, shape, rng)
        pcm = to_int16(mix_at_snr(speech, added, snr_db))
    except AudioError as error:
        return Refusal(error.reason, error.detail)
    except LLaSOError as error:
        return Refusal("silent", f"{recording.source.uri}: {error}")
    audio_id = audio.audio_id(pcm)
    name = digest(_LAYOUT, recording.id, snr_db, noise, key, audio_id)
    uri = storage.join(storage.absolute(folder), name[:2], f"{name}.flac")
    if not storage.exists(uri):
        storage.write_bytes(uri, encode(pcm, "flac"))
    origin = recording.source
    source = Source(
        corpus=origin.corpus,
        uri=uri,
        sampling_rate_hz=SAMPLE_RATE_HZ,
        channels=1,
        license=origin.license,
        consent=origin.consent,
    )
    return replace(
        recording, id=name, recording=name, source=source, audio_id=audio_id, duration_s=len(pcm) / SAMPLE_RATE_HZ
    )


def _samples(recording: Utterance) -> Samples:
    return audio.to_float32(limited.decode_source(recording.source, max_duration_s=_MAX_S))
