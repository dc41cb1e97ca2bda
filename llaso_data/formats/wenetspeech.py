"""WenetSpeech: ``WenetSpeech.json`` with audios and their segments, and the audio below ``audio/``."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.tables.audio_segments import SegmentedCorpus, recognises_file, segment_rows
from llaso_data.recipe import SourceSpec

FILE = "WenetSpeech.json"


def recognises(tree: FileTree) -> str | None:
    """``WenetSpeech.json`` itself, or a folder that holds it."""
    return recognises_file(tree, FILE)


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every segment.

    Raises:
        LLaSOError: There is no such file, or no segment in it.
    """
    corpus = SegmentedCorpus(FILE, "text", "zh")
    return sorted_rows(segment_rows(spec, tree, corpus), if_none=f"{spec.path}: {FILE} holds no segment")


LAYOUT = Layout(
    name="wenetspeech",
    title="WenetSpeech",
    recognised_by=f"`{FILE}`",
    unit="a segment",
    container="the folder",
    endings=frozenset(("json",)),
    before=("librispeech", "manifest", "nemo_conversations", "nemo_tarred", "webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
