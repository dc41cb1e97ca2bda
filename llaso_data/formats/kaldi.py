"""Kaldi's and ESPnet's data folders: ``wav.scp``, with ``segments``, ``text``, ``utt2spk`` and more where they are.

Every folder with a ``wav.scp`` is one set. Without ``segments`` an utterance is a recording. Commands in it are never
run (:mod:`~llaso_data.formats.tables.kaldi_locations`). ``x.ark:42`` is an entry of an ark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.bases import base_of
from llaso_data.formats.files.file_tree import FileTree, compile_glob, open_tree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, failed_row, row_or_failure
from llaso_data.formats.tables.columns import audio_location, audio_stat, time_span
from llaso_data.formats.tables.kaldi_locations import Location, location
from llaso_data.formats.tables.keyed_lines import BrokenLine, Joined, KeyedLine, keyed_lines, sorted_lines
from llaso_data.formats.tables.owsm import spoken_text
from llaso_data.formats.writing.kaldi_tables import KALDI_WRITER
from llaso_data.recipe import SourceSpec

RECORDINGS, SEGMENTS, TEXT = "wav.scp", "segments", "text"
JOINED = (TEXT, "utt2spk", "utt2lang", "utt2gender", "utt2dur")
"""Tables that are joined to the utterances by their ids."""
_KNOWN = frozenset((*JOINED, RECORDINGS, SEGMENTS, "spk2gender", "spk2utt", "reco2dur", "utt2num_samples"))
_ENTRIES_FOR_BASE = 20
_PCM_BYTES_PER_S = 32_000
_REPEATED = "the id {!r} stands there more than once; take one line out"


def recognises(tree: FileTree) -> str | None:
    """A folder with a ``wav.scp`` at any depth, or that file."""
    if tree.is_file:
        return f"it is a {RECORDINGS}" if tree.root.endswith(f"/{RECORDINGS}") else None
    first = next((path for path, _, _ in tree.files if f"/{path}".endswith(f"/{RECORDINGS}")), None)
    return None if first is None else f"it has {first}"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every utterance of every set, in the order of (audio, start, end).

    In memory are, besides what is sorted, the recordings of a set with ``segments``: about 200 bytes each.

    Raises:
        LLaSOError: There is no ``wav.scp``, or none with a line; a table is neither sorted nor small.
    """
    if tree.is_file:
        around = open_tree(tree.root.rpartition("/")[0], ())
        files = tuple(file for file in around.files if "/" not in file.path)
        tree = FileTree(around.root, files=files, notes=tree.notes, labels=tree.labels)
    matches = compile_glob(spec.pattern).fullmatch
    folders = [
        path[: -len(RECORDINGS)] for path, _, _ in tree.files if f"/{path}".endswith(f"/{RECORDINGS}") and matches(path)
    ]
    if not folders:
        raise LLaSOError(f"{spec.path}: no {RECORDINGS} below it; is this a data folder of Kaldi's?")
    rows = (row for folder in folders for row in _rows(tree, folder))
    if_none = f"{spec.path}: its {RECORDINGS} has no line; take it out of the sources, or fetch it again"
    return sorted_rows(rows, if_none=if_none)


@dataclass(slots=True)
class _Set:
    """One folder with a ``wav.scp``, its paths relative to the tree's root."""

    tree: FileTree
    folder: str
    base: str
    broken: list[BrokenLine] = field(default_factory=list)
    unasked: list[KeyedLine] = field(default_factory=list)
    genders: dict[str, str] = field(default_factory=dict)
    stat: Callable[[str], tuple[int, str]] = field(default_factory=lambda: lru_cache(maxsize=4096)(audio_stat))

    def has(self, name: str) -> bool:
        return any(path == self.folder + name for path, _, _ in self.tree.files)

    def lines(self, name: str) -> Iterator[KeyedLine]:
        return sorted_lines(self.tree, self.folder + name, self.broken) if self.has(name) else iter(())


def _rows(tree: FileTree, folder: str) -> Iterator[SourceRow]:
    one = _Set(tree, folder, _base(tree, folder))
    container = tree.uri(folder).rstrip("/")
    one.genders = {line.key: line.value for line in one.lines("spk2gender")}
    tables = {name: Joined(one.lines(name)) for name in JOINED}
    with_segments = one.has(SEGMENTS)
    recordings: dict[str, KeyedLine] = {}
    for line in one.lines(RECORDINGS) if with_segments else ():
        if recordings.setdefault(line.key, line) is not line:
            yield failed_row(tree.root, container, line.where, _REPEATED.format(line.key))
    named: set[str] = set()
    last = ""
    for line in one.lines(SEGMENTS if with_segments else RECORDINGS):
        if line.key == last:
            yield failed_row(tree.root, container, line.where, _REPEATED.format(line.key))
            continue
        last = line.key
        joined = {name: table.line(line.order, one.unasked) for name, table in tables.items()}
        make = partial(_whole, one, line, joined)
        if with_segments:
            make = partial(_segment, one, line, joined, recordings, named)
        yield row_or_failure(make, tree.root, container, line.where)
        yield from _problems(one, container)
    for table in tables.values():
        for line in table.rest():
            one.unasked.append(line)
            yield from _problems(one, container)
    yield from _problems(one, container)
    tree.note(f"recordings of {folder}{RECORDINGS} that no segment names", len(recordings.keys() - named))
    _note_unread(one)


def _problems(one: _Set, container: str) -> Iterator[SourceRow]:
    """What was found broken since the last call; of tables other than the texts it is noted."""
    for where, wrong in one.broken:
        yield failed_row(one.tree.root, container, where, wrong)
    for line in one.unasked:
        if line.where.rpartition(":")[0] == one.folder + TEXT:
            detail = f"no utterance has the id {line.key[:80]!r}, or an earlier line has it; take it out"
            yield failed_row(one.tree.root, container, line.where, detail)
        else:
            one.tree.note_example("not used: a line of no utterance", line.where)
    one.broken.clear()
    one.unasked.clear()


Lines = dict[str, KeyedLine | None]


def _whole(one: _Set, line: KeyedLine, joined: Lines) -> SourceRow:
    """Raises RowError that says what is wrong with the recording."""
    return _row(one, location(line.value), line, None, None, joined)


def _segment(one: _Set, line: KeyedLine, joined: Lines, recordings: dict[str, KeyedLine], named: set[str]) -> SourceRow:
    """Raises RowError that says what is wrong with the segment or its recording."""
    cells = line.value.split()
    if len(cells) not in (3, 4):
        raise RowError(f"a line is `UTTERANCE RECORDING START END`; it has {len(cells) + 1} cells")
    recording = recordings.get(cells[0])
    if recording is None:
        raise RowError(f"{one.folder}{RECORDINGS} has no recording {cells[0][:80]!r}")
    named.add(cells[0])
    end = None if cells[2] in ("-1", "-1.0") else cells[2]
    start_s, end_s = time_span({"start": cells[1], "end": end, "duration": None})
    place = location(recording.value)
    if len(cells) == 4 and place.channel is None:
        if not cells[3].isdigit():
            raise RowError(f"the channel is counted from 0; got {cells[3][:40]!r}")
        place = place._replace(channel=int(cells[3]))
    return _row(one, place, line, start_s, end_s, joined)


def _row(
    one: _Set, place: Location, line: KeyedLine, start_s: float | None, end_s: float | None, joined: Lines
) -> SourceRow:
    tree = one.tree
    if "\0" in place.path:
        raise RowError("a path without NUL characters is expected")
    path, uri = audio_location(place.path, one.base)
    if uri.startswith(f"{tree.root}/"):
        path = uri[len(tree.root) + 1 :]
    size_bytes, version = one.stat(uri)
    said = {name: found.value for name, found in joined.items() if found is not None and found.value}
    text, language = spoken_text(tree, said.get(TEXT))
    if place.member is not None:
        duration_s = _duration_s(said.get("utt2dur")) if end_s is None else end_s - (start_s or 0.0)
        size_bytes = round(duration_s * _PCM_BYTES_PER_S)  # of an entry the ark's own size says nothing
    speaker = said.get("utt2spk")
    if speaker == line.key:  # so Kaldi says that nobody knows
        speaker = None
    return SourceRow(
        path=path,
        uri=uri,
        root=tree.root,
        container=tree.uri(one.folder).rstrip("/"),
        member=place.member,
        start_s=start_s,
        end_s=end_s,
        metadata=SourceMetadata(
            text=text,
            language=said.get("utt2lang") or language,
            speaker=speaker,
            gender=said.get("utt2gender") or (one.genders.get(speaker) if speaker else None),
            channels=None if place.channel is None else (place.channel,),
        ),
        size_bytes=size_bytes,
        version=version,
        where=line.where,
    )


def _duration_s(text: str | None) -> float:
    try:
        value = float(text or 0.0)
    except ValueError:
        return 0.0
    return value if 0.0 < value < 1e6 else 0.0


def _base(tree: FileTree, folder: str) -> str:
    """The folder that the relative paths of a ``wav.scp`` begin in."""
    names: list[str] = []
    for line in islice(keyed_lines(tree, folder + RECORDINGS), _ENTRIES_FOR_BASE):
        with suppress(RowError):
            names += [location(line.value).path] if isinstance(line, KeyedLine) else []
    return base_of(tree.uri(folder).rstrip("/"), names)


def _note_unread(one: _Set) -> None:
    for path, _, _ in one.tree.files:
        inside = path.startswith(one.folder) and "/" not in path[len(one.folder) :]
        if inside and path[len(one.folder) :] not in _KNOWN and path[len(one.folder) :].startswith(f"{TEXT}."):
            one.tree.note_example("not read: another table of texts", path)


LAYOUT = Layout(
    name="kaldi",
    title="data folders of Kaldi and ESPnet",
    recognised_by="`wav.scp` below the folder, or that file",
    unit="a line of `segments`, else of `wav.scp`",
    container="the data folder",
    before=("librispeech", "webdataset", "folder"),
    endings=frozenset(("scp",)),
    recognises=recognises,
    read=read,
    writer=KALDI_WRITER,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
