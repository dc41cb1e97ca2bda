"""A folder of audio at any depth; a transcript, where there is one, is ``NAME.txt`` or ``NAME.lab`` beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.unread import holds_times, note_unread
from llaso_data.formats.files.text import MAX_TEXT_BYTES, encoding_of
from llaso_data.formats.rows.source_row import Entry, Said, Tree, clean_text, extension, matcher, too_long
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

TRANSCRIPT_EXTENSIONS = ("txt", "lab")
TIMES = Failure("times")  # of a label file: not one of the audio's
_LOOKED_AT = 1 << 16
BATCH = 256  # transcripts of a remote folder that are fetched at once


def entries(spec: SourceSpec, tree: Tree) -> Iterator[Entry]:
    """Every audio file that ``spec.pattern`` matches; raises LLaSOError where there is none."""
    if tree.is_file:
        tree, chosen = _single(tree)
    else:
        fits = matcher(spec.pattern).fullmatch
        chosen = [row for row in tree.rows if extension(row[0]) in AUDIO_EXTENSIONS and fits(row[0])]
    if not chosen:
        looked = ", ".join(sorted(AUDIO_EXTENSIONS))
        raise LLaSOError(f"{spec.path}: no audio that matches {spec.pattern!r} in it; looked for {looked}")
    return _entries(tree, chosen)


def _single(tree: Tree) -> tuple[Tree, list[tuple[str, int, str]]]:
    """One audio file as the folder that holds it."""
    root, _, name = tree.root.rpartition("/")
    found = storage.stat(tree.root)
    row = (name, found["size"], found["version"])
    stem = name.rpartition(".")[0]
    beside = [f"{stem}.{kind}" for kind in TRANSCRIPT_EXTENSIONS]
    uris = {path: storage.join(root, path) for path in beside}
    rows = [row, *((path, storage.stat(uri)["size"], "") for path, uri in uris.items() if storage.exists(uri))]
    return Tree(root, rows=tuple(rows)), [row]


def _entries(tree: Tree, chosen: list[tuple[str, int, str]]) -> Iterator[Entry]:
    texts = {_small(path): (path, size) for path, size, _ in tree.rows if extension(path) in TRANSCRIPT_EXTENSIONS}
    heard = [path for path, _, _ in chosen]
    note_unread(tree, heard, {found[0] for path in heard if (found := _transcript(path, texts))})
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        beside = [_transcript(path, texts) for path, _, _ in batch]
        read = read_texts(tree, dict(found for found in beside if found))
        for (path, size_bytes, version), transcript in zip(batch, beside, strict=True):
            text, failure = read[transcript[0]] if transcript else (None, None)
            if failure is TIMES and transcript:
                tree.note_first("not read: labels with times", transcript[0])
                failure = None
            yield Entry(
                path=path,
                uri=tree.uri(path),
                root=tree.root,
                container=tree.root,
                said=Said(text=text),
                size_bytes=size_bytes,
                version=version,
                failure=failure,
            )


def _small(path: str) -> str:
    """The path with its extension in small letters."""
    stem, dot, _ = path.rpartition(".")
    return f"{stem}{dot}{extension(path)}"


def _transcript(path: str, texts: Mapping[str, tuple[str, int]]) -> tuple[str, int] | None:
    """(path, bytes) of the transcript beside an audio."""
    stem = path.rpartition(".")[0]
    return next((texts[name] for kind in TRANSCRIPT_EXTENSIONS if (name := f"{stem}.{kind}") in texts), None)


def read_texts(tree: Tree, sizes: Mapping[str, int]) -> dict[str, tuple[str | None, Failure | None]]:
    """Path → (text, failure) of transcript files, given with their bytes; of a remote folder they come concurrently."""
    if storage.is_local(tree.root):
        return {path: _read_text(tree.uri(path)) for path in sizes}
    found: dict[str, tuple[str | None, Failure | None]] = {
        path: (None, too_long(tree.uri(path))) for path, size in sizes.items() if size > MAX_TEXT_BYTES
    }
    left = [path for path in sizes if path not in found]
    data = storage.read_many([tree.uri(path) for path in left])
    return found | {path: _fetched(one, tree.uri(path)) for path, one in zip(left, data, strict=True)}


def _fetched(data: bytes | None, uri: str) -> tuple[str | None, Failure | None]:
    if data is None:
        return None, Failure("bad_text", f"{uri}: the transcript is not there any more")
    return _cleaned(data, uri)


def _cleaned(data: bytes, uri: str) -> tuple[str | None, Failure | None]:
    head = data[:_LOOKED_AT].decode(encoding_of(data[:4]), "replace")
    if holds_times(head if len(data) <= _LOOKED_AT else head.rpartition("\n")[0]):
        return None, TIMES
    return clean_text(data, uri)


def _read_text(name: str) -> tuple[str | None, Failure | None]:
    try:
        with storage.open_read(name) as file:
            return _cleaned(file.read(MAX_TEXT_BYTES + 1), name)
    except OSError as error:
        return None, Failure("bad_text", f"{name}: the transcript cannot be read ({error.strerror})")
