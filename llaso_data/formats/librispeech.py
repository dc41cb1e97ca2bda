"""A LibriSpeech tree: ``SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`` with lines "ID TEXT", and ID.flac beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG, lines, open_text
from llaso_data.formats.rows.source_row import (
    Entry,
    RowError,
    Said,
    Tree,
    bad_row,
    clean_text,
    extension,
    guarded,
    matcher,
)
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

TRANSCRIPTS = ".trans.txt"
SPEAKERS = "SPEAKERS.TXT"


def entries(spec: SourceSpec, tree: Tree) -> Iterator[Entry]:
    """Every audio file of the tree and every transcript line, whether or not its audio is there.

    The speaker is the first part of the file's name; SPEAKERS.TXT, in the root or above it, gives the gender.
    Raises LLaSOError where there is no transcript at all.
    """
    transcripts = [path for path, _, _ in tree.rows if path.endswith(TRANSCRIPTS)]
    if not transcripts:
        raise LLaSOError(f"{spec.path}: no *{TRANSCRIPTS} below it; is this the folder of a LibriSpeech set?")
    fits = matcher(spec.pattern).fullmatch
    audio = {
        path.rpartition(".")[0]: (path, size_bytes, version)
        for path, size_bytes, version in tree.rows
        if extension(path) in AUDIO_EXTENSIONS and fits(path)
    }
    found = sorted(_entries(tree, transcripts, audio, _genders(tree)), key=Entry.order)
    if not found:
        raise LLaSOError(f"{spec.path}: its *{TRANSCRIPTS} have no line, and there is no audio; fetch it again")
    return iter(found)


def _entries(
    tree: Tree, transcripts: list[str], audio: dict[str, tuple[str, int, str]], genders: dict[str, str]
) -> Iterator[Entry]:
    heard: set[str] = set()
    for transcript in transcripts:
        folder = transcript.rpartition("/")[0]
        for number, line in _lines(tree, transcript):
            where = f"{transcript}:{number}"
            if isinstance(line, Failure):
                yield bad_row(tree.root, tree.root, where, line.detail, reason=line.reason)
                continue
            name, _, rest = line.strip().partition(b" ")
            if not name:
                continue
            yield guarded(partial(_entry, tree, folder, name, rest, where, audio, genders), tree.root, tree.root, where)
            if name.isascii():
                heard.add("/".join(filter(None, (folder, name.decode("ascii")))))
    for stem, (path, size_bytes, version) in audio.items():
        if stem not in heard:
            yield Entry(
                path=path,
                uri=tree.uri(path),
                root=tree.root,
                container=tree.root,
                said=Said(speaker=_speaker(path), gender=genders.get(_speaker(path))),
                size_bytes=size_bytes,
                version=version,
            )


def _lines(tree: Tree, transcript: str) -> Iterator[tuple[int, bytes | Failure]]:
    number = 0
    try:
        with storage.open_read(tree.uri(transcript)) as file:
            for number, line in lines(open_text(file)):
                if line is None:
                    yield number, Failure("bad_text", f"a line {TOO_LONG}")
                else:
                    yield number, line.encode("utf-8", "surrogateescape")
    except (OSError, UnicodeDecodeError, LLaSOError) as error:
        said = getattr(error, "strerror", None) or error
        yield number + 1, Failure("bad_text", f"the transcripts cannot be read ({said})")


def _entry(
    tree: Tree,
    folder: str,
    name: bytes,
    text: bytes,
    where: str,
    audio: Mapping[str, tuple[str, int, str]],
    genders: Mapping[str, str],
) -> Entry:
    if not name.isascii():
        raise RowError(f"a line is `ID TEXT`, got {name[:20]!r}")
    id = name.decode("ascii")
    if "/" in id:
        raise RowError(f"{id!r} is not an id")
    stem = "/".join(filter(None, (folder, id)))
    said, failure = clean_text(text, tree.uri(where))
    path, size_bytes, version = audio.get(stem) or (f"{stem}.flac", 0, "")
    return Entry(
        path=path,
        uri=tree.uri(path),
        root=tree.root,
        container=tree.root,
        said=Said(text=said, speaker=_speaker(path), gender=genders.get(_speaker(path))),
        size_bytes=size_bytes,
        version=version,
        failure=failure,
        where=where,
    )


def _speaker(path: str) -> str:
    """``dev-clean/84/121123/84-121123-0000.flac`` → ``84``."""
    return path.rpartition("/")[2].rpartition(".")[0].split("-")[0]


def _genders(tree: Tree) -> dict[str, str]:
    """Speaker → M or F from SPEAKERS.TXT ("14 | F | train-clean-360 | 25.03 | Name"); empty where it is not there."""
    for folder in (tree.root, tree.root.rpartition("/")[0]):
        uri = storage.join(folder, SPEAKERS)
        if not storage.exists(uri):
            continue
        with storage.open_read(uri) as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise LLaSOError(f"{uri}: {TOO_LONG}; no list of speakers is, take it out")
        cells = [line.split("|") for line in data.decode("utf-8", "replace").splitlines() if not line.startswith(";")]
        return {row[0].strip(): row[1].strip() for row in cells if len(row) > 2}
    return {}
