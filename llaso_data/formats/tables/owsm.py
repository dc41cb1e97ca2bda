"""Texts of OWSM: ``<eng><asr><0.00> hello<2.30>``, a language, a task and times as marks in the text."""

from __future__ import annotations

import re

from llaso_data.formats.files.file_tree import FileTree

_HEAD = re.compile(r"\s*<([a-z]{3})><([a-z]+(?:_[a-z]{3})?)>(?:<notimestamps>)?")
_TIME = re.compile(r"<\d+\.\d+>")
_TRANSCRIPTION = "asr"


def spoken_text(tree: FileTree, text: str | None) -> tuple[str | None, str | None]:
    """A text without OWSM's marks, and the language that they name; a text without such marks as it is.

    Args:
        tree: Takes a note of texts of other tasks, which are no transcripts: translations have none.
        text: As the corpus has it; None where it has none.
    """
    head = None if text is None else _HEAD.match(text)
    if text is None or head is None:
        return text, None
    if head[2] != _TRANSCRIPTION:
        tree.note("texts of OWSM that are no transcripts", 1)
        return None, head[1]
    return " ".join(_TIME.sub(" ", text[head.end() :]).split()) or None, head[1]
