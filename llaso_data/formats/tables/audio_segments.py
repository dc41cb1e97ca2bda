"""Corpora in one JSON file ``{"audios": [{…, "segments": [{…}]}]}``, of which no more than one audio is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob, open_tree
from llaso_data.formats.files.text import open_text
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, failed_row, row_or_failure
from llaso_data.formats.tables.columns import (
    ROWS_FOR_COLUMNS,
    audio_location,
    audio_name,
    audio_stat,
    cell_text,
    note_unused,
    time_span,
)
from llaso_data.formats.tables.json_list import member_items
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

_LIST = "audios"
_USED = frozenset(("aid", "path", "segments", "sid", "speaker", "begin_time", "end_time"))
_NOBODY = frozenset(("n/a", "unknown", ""))  # as a speaker

TextOf = Callable[[str], str | None]
"""From a segment's text to what is said in it; None for a segment without speech."""


@dataclass(frozen=True, slots=True)
class SegmentedCorpus:
    """What one such corpus calls things.

    Attributes:
        file: The name of its JSON file.
        text: The key of a segment's text.
        language: The language of the corpus, where neither the file nor the recipe says it.
        text_of: What is said, by the text of a segment.
    """

    file: str
    text: str
    language: str
    text_of: TextOf = str


def recognises_file(tree: FileTree, name: str) -> str | None:
    """Why a source is the corpus whose file has this name: it is that file, or a folder that holds it."""
    if tree.is_file:
        return f"its name is {name}" if tree.root.rpartition("/")[2].lower() == name.lower() else None
    path = _file_of(tree, name)
    return None if path is None else f"it has {path}"


def segment_rows(spec: SourceSpec, tree: FileTree, corpus: SegmentedCorpus) -> Iterator[SourceRow]:
    """A row for each segment of the corpus, in the order of its file.

    Paths of audio are relative to the folder that holds the file. A row's place is ``NAME.json:3.2``: the second
    segment of the third audio.

    Raises:
        LLaSOError: There is no such file, or it cannot be opened.
    """
    if tree.is_file:
        folder, _, path = tree.root.rpartition("/")
        tree = FileTree(folder, files=open_tree(folder, ()).files, notes=tree.notes, labels=tree.labels)
    else:
        path = _file_of(tree, corpus.file) or ""
    if not path:
        raise LLaSOError(f"{spec.path}: no {corpus.file} in it; name the folder of the corpus, or the file")
    return _Segments(spec, tree, corpus, path).rows()


def _file_of(tree: FileTree, name: str) -> str | None:
    """The path of the file in the folder, or in a folder of it."""
    found = (file.path for file in tree.files if file.path.rpartition("/")[2].lower() == name.lower())
    return min((path for path in found if path.count("/") < 2), key=lambda path: (path.count("/"), path), default=None)


@dataclass
class _Segments:
    """A corpus while it is read."""

    spec: SourceSpec
    tree: FileTree
    corpus: SegmentedCorpus
    path: str
    columns: dict[str, None] = field(default_factory=dict)
    language: str | None = None

    def rows(self) -> Iterator[SourceRow]:
        prefix = self.path[: self.path.rfind("/") + 1]
        root = self.tree.uri(prefix).rstrip("/") if prefix else self.tree.root
        matches = compile_glob(self.spec.pattern).fullmatch
        files = {file.path[len(prefix) :]: file for file in self.tree.files if file.path.startswith(prefix)}
        name = self.path[len(prefix) :]
        number = 0
        try:
            with storage.open_read(self.tree.uri(self.path)) as file:
                for number, audio in member_items(open_text(file), _LIST):
                    if not number and isinstance(audio, dict):
                        self.language = self._language(audio)
                    elif isinstance(audio, dict):
                        yield from self._audio_rows(audio, root, f"{name}:{number}", files, matches)
                    else:
                        yield failed_row(root, root, f"{name}:{number}", f"{audio}; fetch the file again")
        except (OSError, UnicodeDecodeError, LLaSOError) as error:
            if isinstance(error, storage.StoreError):
                raise
            reason = getattr(error, "strerror", None) or error
            yield failed_row(root, root, f"{name}:{number + 1}", f"the file cannot be read on ({reason})")
        finally:  # a preview reads only the first rows
            note_unused(self.tree, name, self.columns, _USED | {self.corpus.text})

    def _language(self, head: Mapping[str, Any]) -> str | None:
        """What the file states, else nothing where the recipe states one, else the corpus's own."""
        stated = head.get("language")
        if isinstance(stated, str) and stated.strip():
            return stated
        return None if self.spec.language else self.corpus.language

    def _audio_rows(
        self,
        audio: dict[str, Any],
        root: str,
        where: str,
        files: Mapping[str, ListedFile],
        matches: Callable[[str], object],
    ) -> Iterator[SourceRow]:
        segments = audio.get("segments")
        if not isinstance(segments, list):
            yield failed_row(root, root, where, "the audio has no list `segments`")
            return
        try:
            path, uri = audio_location(audio_name(audio.get("path")), root)
        except RowError as error:
            yield failed_row(root, root, where, f"{error}; its {len(segments):,} segments are not read")
            return
        if not matches(path):
            return
        if len(self.columns) < ROWS_FOR_COLUMNS:
            self.columns.update(dict.fromkeys(audio))
        size_bytes, version = files[path][1:] if path in files else audio_stat(uri)
        row = partial(SourceRow, path=path, uri=uri, root=root, container=root, size_bytes=size_bytes, version=version)
        seen: set[str] = set()
        for number, segment in enumerate(segments, 1):
            text = segment.get(self.corpus.text) if isinstance(segment, dict) else None
            if isinstance(text, str) and self.corpus.text_of(text) is None:
                self.tree.note_example(f"segments of {self.corpus.file} without speech", text[:80])
                continue
            place = f"{where}.{number}"
            yield row_or_failure(partial(self._row, row, segment, audio, place, seen), root, root, place)

    def _row(
        self, row: Callable[..., SourceRow], segment: Any, audio: Mapping[str, Any], where: str, seen: set[str]
    ) -> SourceRow:
        if not isinstance(segment, dict):
            raise RowError("a segment is a JSON object")
        if len(self.columns) < ROWS_FOR_COLUMNS:
            self.columns.update(dict.fromkeys(segment))
        id = cell_text(segment.get("sid"))
        if id is not None and id in seen:
            raise RowError(f"its audio has another segment {id!r}; take one out")
        if id is not None:
            seen.add(id)
        start, end = segment.get("begin_time"), segment.get("end_time")
        start_s, end_s = time_span({"start": start, "end": end, "duration": None})
        if start_s is None or end_s is None:
            raise RowError("a segment has begin_time and end_time, in seconds")
        text = segment.get(self.corpus.text)
        said = self.corpus.text_of(text) if isinstance(text, str) else cell_text(text)
        speakers = (cell_text(one.get("speaker")) for one in (segment, audio))
        speaker = next((one for one in speakers if one and one.lower() not in _NOBODY), None)
        metadata = SourceMetadata(text=cell_text(said), language=self.language, speaker=speaker)
        return row(start_s=start_s, end_s=end_s, metadata=metadata, where=where)
