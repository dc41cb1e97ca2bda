"""GigaSpeech: ``GigaSpeech.json`` with audios and their segments, and the audio below ``audio/``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.tables.audio_segments import SegmentedCorpus, recognises_file, segment_rows
from llaso_data.recipe import SourceSpec
from llaso_data.text.markup import SCHEMES

FILE = "GigaSpeech.json"
_NO_SPEECH = re.compile(r"<(SIL|NOISE|MUSIC|OTHER)>")
_PUNCTUATION = tuple((re.compile(tag), mark) for tag, mark in SCHEMES["gigaspeech"] if "SIL" not in tag)


def recognises(tree: FileTree) -> str | None:
    """``GigaSpeech.json`` itself, or a folder that holds it."""
    return recognises_file(tree, FILE)


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every segment with speech; the segments of silence, music, noise and other sounds are a note.

    Raises:
        LLaSOError: There is no such file, or no segment in it.
    """
    corpus = SegmentedCorpus(FILE, "text_tn", "en", said)
    return sorted_rows(segment_rows(spec, tree, corpus), if_none=f"{spec.path}: {FILE} holds no segment of speech")


def said(text: str) -> str | None:
    """The text with its tags for punctuation as punctuation; None where it is no speech.

    ``AS A CHILD <COMMA> I`` → ``AS A CHILD, I``
    """
    if _NO_SPEECH.search(text):
        return None
    for tag, mark in _PUNCTUATION:
        text = tag.sub(mark, text)
    return text


LAYOUT = Layout(
    name="gigaspeech",
    title="GigaSpeech",
    recognised_by=f"`{FILE}`",
    unit="a segment",
    container="the folder",
    endings=frozenset(("json",)),
    before=("librispeech", "manifest", "nemo_conversations", "nemo_tarred", "webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
