"""Shards to batches: an exact, elastic, checked stream. See docs/stream.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llaso_data.stream.mixture import Mixture, Source

if TYPE_CHECKING:
    from llaso_data.stream.augment import Augment
    from llaso_data.stream.batch import Batch
    from llaso_data.stream.loader import StreamingLoader

__all__ = ["Augment", "Batch", "Mixture", "Source", "StreamingLoader"]


def __getattr__(name: str) -> object:
    """The loader and its batches bring torch, so they are imported when they are asked for."""
    if name == "StreamingLoader":
        from llaso_data.stream.loader import StreamingLoader

        return StreamingLoader
    if name == "Batch":
        from llaso_data.stream.batch import Batch

        return Batch
    if name == "Augment":
        from llaso_data.stream.augment import Augment

        return Augment
    raise AttributeError(name)
