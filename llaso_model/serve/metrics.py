"""What a server has done and is doing, as Prometheus reads it (text format 0.0.4)."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_RATE_OVER_S = 10.0

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Histogram:
    bounds: Sequence[float]
    counts: list[int]
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: Labels) -> list[str]:
        lines, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(_line(f"{name}_bucket", (*labels, ("le", edge)), running))
        return [*lines, _line(f"{name}_sum", labels, self.total), _line(f"{name}_count", labels, running)]


_HELP = {
    "llaso_requests_total": ("counter", "Requests that have ended, by address and status; 499: the client left."),
    "llaso_requests_open": ("gauge", "Requests that are being answered."),
    "llaso_request_seconds": ("histogram", "From the first byte of a request to the last of its answer."),
    "llaso_first_text_seconds": ("histogram", "From a whole request to the first text of its answer."),
    "llaso_audio_seconds_total": ("counter", "Seconds of audio that were decoded for requests."),
    "llaso_speech_seconds_total": ("counter", "Seconds of speech that voices spoke."),
    "llaso_real_time_factor": ("histogram", "Seconds that a transcription took, for each second of its audio."),
    "llaso_realtime_sessions": ("gauge", "Realtime sessions that are open."),
    "llaso_realtime_lag_seconds": (
        "histogram",
        "From the end of audio that a hypothesis is of to its confirmed words.",
    ),
    "llaso_unspoken_total": ("counter", "Sentences of answers that no voice can speak, by reason."),
    "llaso_queue": ("gauge", "Prompts that wait for a slot."),
    "llaso_batch_size": ("gauge", "Rows that are decoded together now."),
    "llaso_slots": ("gauge", "Rows that can be decoded together."),
    "llaso_answers_total": ("counter", "Prompts by how they ended."),
    "llaso_steps_total": ("counter", "Steps of the batch."),
    "llaso_tokens_total": ("counter", "Tokens of answers."),
    "llaso_tokens_per_second": ("gauge", f"Tokens of answers a second, over the last {_RATE_OVER_S:g} s."),
    "llaso_decoding_audio": ("gauge", "Recordings that are decoded or wait for it."),
}
_BOUNDS = {"llaso_real_time_factor": FACTORS}


@dataclass(slots=True)
class Metrics:
    """Counters, gauges and histograms of one server. Its methods may be called from any thread."""

    _values: dict[str, dict[Labels, float]] = field(default_factory=dict)
    _histograms: dict[str, dict[Labels, _Histogram]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tokens: list[tuple[float, int]] = field(default_factory=list)

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Adds to a counter or a gauge."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            values = self._values.setdefault(name, {})
            values[key] = values.get(key, 0.0) + value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds a value to a histogram."""
        key, bounds = tuple(sorted(labels.items())), _BOUNDS.get(name, SECONDS)
        with self._lock:
            histograms = self._histograms.setdefault(name, {})
            histograms.setdefault(key, _Histogram(bounds, [0] * (len(bounds) + 1))).add(value)

    def value(self, name: str, **labels: str) -> float:
        """A counter's or gauge's value; 0 where nothing was added."""
        return self._values.get(name, {}).get(tuple(sorted(labels.items())), 0.0)

    def count_tokens(self, tokens: int) -> float:
        """Tokens a second over the last seconds. Called every second with how many there were in all."""
        now = time.monotonic()
        with self._lock:
            self._tokens = [(at, count) for at, count in self._tokens if now - at <= _RATE_OVER_S]
            self._tokens.append((now, tokens))
            (first_at, first), (last_at, last) = self._tokens[0], self._tokens[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def text(self, now: Mapping[str, Mapping[Labels, float]]) -> str:
        """All as Prometheus reads it.

        Args:
            now: Values that are looked up and not added: name to value by labels.
        """
        with self._lock:
            values: dict[str, Any] = {name: dict(by_labels) for name, by_labels in self._values.items()}
            histograms = {name: dict(by_labels) for name, by_labels in self._histograms.items()}
            lines: list[str] = []
            for name, (kind, explained) in _HELP.items():
                lines += [f"# HELP {name} {explained}", f"# TYPE {name} {kind}"]
                for labels, value in sorted({**values.get(name, {}), **now.get(name, {})}.items()):
                    lines.append(_line(name, labels, value))
                for labels, histogram in sorted(histograms.get(name, {}).items()):
                    lines += histogram.lines(name, labels)
        return "\n".join(lines) + "\n"


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
