"""Matplotlib, drawing into files and not on a screen; it comes with the extra ``demo``."""

from __future__ import annotations

from typing import Any

from llaso_data.errors import LLaSOError


def pyplot() -> Any:
    """``matplotlib.pyplot``; raises LLaSOError where it is not installed."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot as found
    except ImportError:
        raise LLaSOError("pictures need matplotlib: pip install 'llaso[demo]'") from None
    return found
