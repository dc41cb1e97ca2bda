"""Audio in any form (path, bytes, samples, mapping) to 16 kHz mono float32."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llaso_data import audio as audio_files
from llaso_data.errors import LLaSOError
from llaso_data.stream.batch import sound as sound_of

Samples = npt.NDArray[np.float32]

_FORMS = ("array", "bytes", "path", "url", "base64")


class InputError(LLaSOError, ValueError):
    """An input that the processor cannot use. No part of an input is ignored."""


def samples(audio: Any, sampling_rate: int | None = None) -> Samples:
    """16 kHz mono float32 of an audio in any form.

    Args:
        audio: A path or URI (``data:`` with base64 as well), the bytes of a file, a mapping with ``array`` and
            ``sampling_rate``, or with one of ``bytes``, ``path``, ``url``, ``base64`` (as Hugging Face's datasets and
            chat messages have them), or samples: NumPy, torch or a list, (T,) or (channels, T) or (T, channels). Floats
            are taken as they are, 8-, 16- and 32-bit integers are scaled by their full range.
        sampling_rate: Of samples that do not say theirs, Hz; None: 16,000.

    Returns:
        Samples (T,) in -1 … 1.

    Raises:
        InputError: It is not audio, or has samples that are not finite.
        AudioError: A file cannot be read.
    """
    if isinstance(audio, Mapping):
        return _of_mapping(audio, sampling_rate)
    if isinstance(audio, str) and audio.startswith("data:"):
        return _of_mapping({"base64": audio}, None)
    if isinstance(audio, str) or hasattr(audio, "__fspath__"):
        return audio_files.to_float32(audio_files.decode(str(audio))[0])
    if isinstance(audio, bytes | bytearray | memoryview):
        return sound_of(bytes(audio), "audio")
    rate = audio_files.SAMPLE_RATE_HZ if sampling_rate is None else sampling_rate
    return _resampled(_mono(_floats(audio)), rate)


def _of_mapping(audio: Mapping[str, Any], sampling_rate: int | None) -> Samples:
    forms = [form for form in _FORMS if audio.get(form) is not None]
    if "bytes" in forms and "path" in forms:  # a dataset that is not decoded has both
        forms.remove("path")
    if len(forms) != 1:
        raise InputError(f"an audio has one of {', '.join(_FORMS)}; this has {', '.join(map(str, audio)) or 'nothing'}")
    form, value = forms[0], audio[forms[0]]
    if form == "array":
        rate = audio.get("sampling_rate", sampling_rate)
        if "sampling_rate" in audio and rate is None:
            raise InputError("the sampling_rate of an audio's array is None: say how many samples a second has")
        return samples(value, rate)
    if form == "base64":
        try:
            return samples(base64.b64decode(str(value).rpartition("base64,")[2], validate=True))
        except binascii.Error as error:
            raise InputError(f"an audio's base64 is none ({error})") from error
    return samples(value if form == "bytes" else str(value))


def _floats(audio: Any) -> npt.NDArray[Any]:
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu()
        audio = (audio.float() if audio.is_floating_point() else audio).numpy()
    try:
        array = np.asarray(audio)
    except ValueError as error:  # lists of unlike lengths
        raise InputError(f"an audio's samples are no array ({error})") from error
    kind = array.dtype
    if kind == np.int16:
        return audio_files.to_float32(array)
    if kind in (np.int8, np.int32):
        return (array / -float(np.iinfo(kind).min)).astype(np.float32)
    if kind == np.uint8:  # as in 8-bit files: silence is 128
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if not np.issubdtype(kind, np.floating):
        raise InputError(f"an audio's samples are {kind}: give floats from -1 to 1, or integers of 8, 16 or 32 bits")
    return array


def _mono(audio: npt.NDArray[Any]) -> Samples:
    if audio.ndim == 2:
        audio = audio.mean(axis=int(np.argmin(audio.shape)))
    if audio.ndim != 1:
        raise InputError(f"audio of {audio.ndim} dimensions; give samples (T,) or channels (C, T)")
    with np.errstate(over="ignore"):
        mono = np.ascontiguousarray(audio, np.float32)
    if not np.isfinite(mono).all():
        raise InputError(f"{int((~np.isfinite(mono)).sum())} of an audio's {len(mono)} samples are no numbers")
    return mono


def _resampled(sound: Samples, rate_hz: Any) -> Samples:
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int | float | np.number) or not 0 < rate_hz < 1e7:
        raise InputError(f"a sampling rate of {rate_hz!r}: give samples a second")
    if rate_hz == audio_files.SAMPLE_RATE_HZ or not len(sound):
        return sound
    import soxr

    resampled: Samples = soxr.resample(sound, rate_hz, audio_files.SAMPLE_RATE_HZ).astype(np.float32)
    return resampled
