"""Edges: moved to where sound begins and ends, never past a neighbour, short pauses closed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llaso_data.align.edges import MIN_PAUSE_S, REACH_S, refine_edges


def tones(spans_s: list[tuple[float, float]], duration_s: float) -> NDArray[np.int16]:
    """Faint noise with a loud tone in each span."""
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    samples = np.random.default_rng(0).normal(0, 8, len(time_s))
    for start, end in spans_s:
        inside = (time_s >= start) & (time_s < end)
        samples[inside] += 6_000 * np.sin(2 * np.pi * 200 * time_s[inside])
    return samples.astype(np.int16)


def test_edges_at_pauses_move_to_the_sound() -> None:
    truth = np.array([(0.30, 0.60), (1.00, 1.40)])
    pcm = tones([(0.30, 0.60), (1.00, 1.40)], 2.0)
    rough = truth + np.array([(-0.05, 0.06), (0.04, -0.05)])
    assert np.abs(refine_edges(rough, pcm) - truth).max() <= 0.008


def test_an_edge_with_no_sound_in_reach_stays() -> None:
    pcm = tones([(0.30, 0.60)], 2.0)
    assert refine_edges(np.array([(1.2, 1.5)]), pcm).tolist() == [[1.2, 1.5]]


def test_what_is_too_short_to_be_a_pause_is_shared() -> None:
    pcm = tones([(0.30, 0.60), (0.66, 1.0)], 1.5)  # the closure of a stop
    edges = refine_edges(np.array([(0.30, 0.60), (0.66, 1.0)]), pcm)
    assert edges[0, 1] == edges[1, 0] == pytest.approx(0.63)


@given(st.lists(st.floats(0.0, 3.0), min_size=2, max_size=12), st.integers(0, 99))
def test_edges_stay_in_order_inside_the_clip_and_near(times: list[float], seed: int) -> None:
    borders = np.sort(np.array(times[: len(times) // 2 * 2])).reshape(-1, 2)
    rng = np.random.default_rng(seed)
    pcm = (rng.normal(0, 1, 40_000) * np.repeat(rng.choice([5, 3_000], 50), 800)).astype(np.int16)
    edges = refine_edges(borders, pcm)
    assert (np.diff(edges.ravel()) >= -1e-9).all()
    assert edges.min() >= 0.0 and edges.max() <= 2.5
    assert np.abs(edges - np.clip(borders, 0.0, 2.5)).max() <= max(REACH_S, MIN_PAUSE_S / 2) + 0.01
