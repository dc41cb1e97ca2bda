"""Which vectors are of one voice: agglomerative clustering with average linkage, and what is needed around it.

A mean of few windows is a noisy picture of a voice: two such means are less alike than two of many windows, whether it
is one voice or two. So similarities are corrected for the number of windows, and one threshold does for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

NOISE = 0.36
"""Variance of one window's embedding over that of the voices themselves; ``bench/diarisation.py`` prints it."""
_AT_ONCE = 2_000  # vectors that are clustered together: their distances take 16 MB
_DECIMALS = 6  # sums in another order must not decide


def mean_vectors(vectors: npt.NDArray[Any], labels: Labels, sizes: npt.NDArray[Any]) -> Vectors:
    """The directions of groups: (groups, D) of length 1.

    Args:
        vectors: (N, D).
        labels: (N,) numbers of groups, from 0 without gaps.
        sizes: (N,) the weight of each vector.
    """
    sums = np.zeros((int(labels.max(initial=-1)) + 1, vectors.shape[1]))
    np.add.at(sums, labels, vectors.astype(np.float64) * sizes[:, None])
    return of_length_one(sums)


def of_length_one(vectors: Vectors) -> Vectors:
    """Vectors (N, D) with length 1; zeros stay."""
    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def similarities(first: Vectors, second: Vectors, sizes: npt.ArrayLike, others: npt.ArrayLike) -> Vectors:
    """How alike voices are, corrected for how little was heard of them: (N, M), 1 is the same.

    Args:
        first: (N, D) of length 1.
        second: (M, D) of length 1.
        sizes: (N,) windows behind each of ``first``.
        others: (M,) windows behind each of ``second``.
    """
    scale = np.sqrt(1 + NOISE / np.maximum(np.asarray(sizes, np.float64), 0.5))
    other_scale = np.sqrt(1 + NOISE / np.maximum(np.asarray(others, np.float64), 0.5))
    corrected: Vectors = np.minimum(np.round((first @ second.T) * scale[:, None] * other_scale, _DECIMALS), 1.0)
    return corrected


def agglomerate(distances: Vectors, threshold: float) -> Labels:
    """Clusters by average linkage.

    Args:
        distances: (N, N), symmetric.
        threshold: The mean distance up to which clusters are joined.

    Returns:
        (N,) numbers of clusters from 0, in the order of their first members.
    """
    if len(distances) < 2:
        return np.zeros(len(distances), np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage

    upper = np.maximum(distances[np.triu_indices(len(distances), 1)], 0.0)
    return in_order(fcluster(linkage(upper, "average"), threshold, "distance"))


def in_order(labels: npt.ArrayLike) -> Labels:
    """The same groups, numbered from 0 in the order of their first members."""
    _, first, inverse = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)


def same_voices(vectors: npt.NDArray[Any], sizes: npt.NDArray[Any], similarity: float) -> Labels:
    """Groups vectors by voice, however many there are.

    The vectors of which most was heard come first, 2,000 at a time. What is like a voice that is known joins it; the
    rest is clustered and makes new voices. So memory and time grow with the vectors times the voices.

    Args:
        vectors: (N, D) of length 1.
        sizes: (N,) windows behind each.
        similarity: From which, corrected, two are one voice; at more than 1 none are.

    Returns:
        (N,) numbers of voices from 0, in the order of their first members.
    """
    labels = np.full(len(vectors), -1, np.int64)
    sums, heard = np.zeros((0, vectors.shape[1])), np.zeros(0)
    order = np.argsort(-np.asarray(sizes), kind="stable")
    for start in range(0, len(order), _AT_ONCE):
        rows = order[start : start + _AT_ONCE]
        block, weights = vectors[rows].astype(np.float64), np.asarray(sizes, np.float64)[rows]
        best, alike = _nearest(block, weights, sums, heard)
        new = np.flatnonzero(alike < similarity)
        distances = 1 - similarities(block[new], block[new], weights[new], weights[new])
        best[new] = len(heard) + agglomerate(distances, 1 - similarity)
        labels[rows] = best
        grown = max(len(heard), int(best.max(initial=-1)) + 1)
        sums = np.vstack([sums, np.zeros((grown - len(heard), vectors.shape[1]))])
        heard = np.concatenate([heard, np.zeros(grown - len(heard))])
        np.add.at(sums, best, block * weights[:, None])
        np.add.at(heard, best, weights)
    return in_order(labels)


def margins(vectors: npt.NDArray[Any], sizes: npt.NDArray[Any], labels: Labels) -> npt.NDArray[np.float64]:
    """How much liker each vector is to its own voice than to the next one: (N,), corrected similarities.

    Args:
        vectors: (N, D) of length 1.
        sizes: (N,) windows behind each.
        labels: (N,) its voice. Where there is one voice only, it is compared with what two voices usually are.
    """
    voices = mean_vectors(vectors, labels, sizes)
    heard = np.bincount(labels, weights=sizes, minlength=len(voices))
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        alike = similarities(vectors[part].astype(np.float64), voices, sizes[part], heard)
        own = alike[np.arange(len(alike)), labels[part]]
        alike[np.arange(len(alike)), labels[part]] = STRANGERS
        found[part] = own - np.maximum(alike.max(axis=1), STRANGERS)
    return found


STRANGERS = 0.62
"""The corrected similarity of two voices, in the median."""


def _nearest(
    block: Vectors, weights: npt.NDArray[np.float64], sums: Vectors, heard: npt.NDArray[np.float64]
) -> tuple[Labels, npt.NDArray[np.float64]]:
    """The known voice that each vector is most like, and how alike; -1 where no voice is known."""
    if not len(heard):
        return np.zeros(len(block), np.int64), np.full(len(block), -1.0)
    alike = similarities(block, of_length_one(sums), weights, heard)
    best = np.asarray(alike.argmax(axis=1), np.int64)
    return best, alike[np.arange(len(block)), best]
