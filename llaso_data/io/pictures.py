"""Matplotlib, drawing into files and not on a screen; it comes with the extra ``report``."""

from __future__ import annotations

import os
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for
from llaso_data.io import outputs, storage

_MARKABLE = ("png", "svg", "pdf", "eps", "ps")  # formats whose files say what drew them


def pyplot() -> Any:
    """``matplotlib.pyplot``; raises LLaSOError where it is not installed."""
    with needed_for("a picture"):
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    return pyplot


def refuse(uri: str, by: str, option: str) -> None:
    """Before a picture is drawn: whether it can be written, and replaces none but an earlier one of the command.

    Args:
        uri: the picture's file; its ending is the format.
        by: the command, such as ``llaso-data words``, which the file will name.
        option: by which the user names the file.

    Raises:
        LLaSOError: for an ending that Matplotlib does not write, and for a file that is not the command's. A picture
            in a format that cannot name the command, such as JPEG, is never replaced.
    """
    pyplot()
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if _format(uri) not in known:
        raise LLaSOError(f"{option} {uri}: the name must end in .png, .svg, .pdf or another of {', '.join(known)}")
    outputs.refuse(uri, by, outputs.marked(_mark(by)), option)


def save(figure: Any, uri: str, by: str, dpi: int) -> None:
    """Write a figure, whole or not at all, and close it. ``by`` is noted in the file, see :func:`refuse`."""
    format = _format(uri)
    about = {"Creator": _mark(by)} if format in _MARKABLE else None
    with storage.whole(uri) as path:
        figure.savefig(path, dpi=dpi, format=format, metadata=about)
    pyplot().close(figure)


def _format(uri: str) -> str:
    return os.path.splitext(uri)[1].removeprefix(".").lower()


def _mark(by: str) -> str:
    return f"made by {by}"
