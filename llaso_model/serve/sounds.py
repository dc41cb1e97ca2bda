"""Strangers' audio: decoded by the limited worker, in a few threads that each have a process of their own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, decode_worker
from llaso_data.errors import AudioError
from llaso_model.serve.answering import in_threads
from llaso_model.serve.metrics import Metrics
from llaso_model.serve.settings import ServeLimits

_MOST_OF_NAME = 100


class Sounds:
    """Decodes the audio of requests."""

    def __init__(self, limits: ServeLimits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._threads = ThreadPoolExecutor(limits.decoders, "llaso-decoding")

    async def decoded(self, content: bytes | BinaryIO, name: str | None = None, known_s: float = 0.0) -> Pcm:
        """Decodes a recording.

        Args:
            content: The file, or its bytes.
            name: What errors call it.
            known_s: Seconds of audio that the request has already.

        Returns:
            16 kHz mono samples (T,) int16.

        Raises:
            AudioError: It cannot be decoded, or is longer than a request's audio may be (``too_long``).
        """
        self._metrics.add("llaso_decoding_audio")
        try:
            label = os.path.basename(name or "audio")[-_MOST_OF_NAME:] or "audio"
            pcm = await in_threads(self._threads, self._decode, content, label, self._limits.audio_s - known_s)
        finally:
            self._metrics.add("llaso_decoding_audio", -1)
        self._metrics.add("llaso_audio_seconds_total", len(pcm) / SAMPLE_RATE_HZ)
        return pcm

    def close(self) -> None:
        """Ends the processes, after what they decode now."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _decode(self, content: bytes | BinaryIO, label: str, most_s: float) -> Pcm:
        limits = self._limits
        data = content if isinstance(content, bytes) else content.read()
        try:
            if not data:
                raise AudioError("empty", f"{label}: an empty file")
            (found,), _ = decode_worker.decode_spans(
                label,
                None,
                [(None, None)],
                max(most_s, 0.0),
                stall_s=limits.stall_s,
                memory_mb=limits.decoder_mb,
                data=data,
            )
            if isinstance(found, AudioError):
                raise found
        except AudioError as error:
            raise self._explained(error, label) from error
        return found

    def _explained(self, error: AudioError, label: str) -> AudioError:
        """The error in words of this server's limits."""
        limits = self._limits
        said = {
            "too_long": f"{label}: the audio of a request may be {limits.audio_s:g} s long, all of it together",
            decode_worker.STUCK: f"{label}: nothing came of it for {limits.stall_s:g} s; convert it",
            decode_worker.TOO_MUCH_MEMORY: f"{label}: its decoder wants more than {limits.decoder_mb} MiB",
        }.get(error.reason)
        return error if said is None else AudioError(error.reason, said)
