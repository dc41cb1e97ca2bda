"""A LibriSpeech tree: ``SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`` with lines "ID TEXT", and ID.flac beside it."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data import storage
from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.recipe import SourceSpec
from llaso_data.sources.entry import Entry, Said, Tree, bad_row, clean_text, extension, matcher

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
    return iter(sorted(_entries(tree, transcripts, audio, _genders(tree)), key=Entry.order))


def _entries(
    tree: Tree, transcripts: list[str], audio: dict[str, tuple[str, int, str]], genders: dict[str, str]
) -> Iterator[Entry]:
    heard: set[str] = set()
    for transcript in transcripts:
        folder = transcript.rpartition("/")[0]
        for number, line in enumerate(storage.read_bytes(tree.uri(transcript)).splitlines(), 1):
            where = f"{transcript}:{number}"
            name, _, rest = line.strip().partition(b" ")
            if not name:
                continue
            try:
                stem = "/".join(filter(None, (folder, name.decode("ascii"))))
            except UnicodeDecodeError:
                yield bad_row(tree.root, tree.root, where, f"a line is `ID TEXT`, got {name[:20]!r}")
                continue
            if "/" in name.decode("ascii"):
                yield bad_row(tree.root, tree.root, where, f"{name.decode('ascii')!r} is not an id")
                continue
            text, failure = clean_text(rest, tree.uri(where))
            found = audio.get(stem)
            heard.add(stem)
            path, size_bytes, version = found or (f"{stem}.flac", 0, "")
            yield Entry(
                path=path,
                uri=tree.uri(path),
                root=tree.root,
                container=tree.root,
                said=Said(text=text, speaker=_speaker(path), gender=genders.get(_speaker(path))),
                size_bytes=size_bytes,
                version=version,
                failure=failure,
                where=where,
            )
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


def _speaker(path: str) -> str:
    """``dev-clean/84/121123/84-121123-0000.flac`` → ``84``."""
    return path.rpartition("/")[2].rpartition(".")[0].split("-")[0]


def _genders(tree: Tree) -> dict[str, str]:
    """Speaker → M or F from SPEAKERS.TXT ("14 | F | train-clean-360 | 25.03 | Name"); empty where it is not there."""
    for folder in (tree.root, tree.root.rpartition("/")[0]):
        uri = storage.join(folder, SPEAKERS)
        if not storage.exists(uri):
            continue
        lines = storage.read_bytes(uri).decode("utf-8", "replace").splitlines()
        cells = [line.split("|") for line in lines if not line.startswith(";")]
        return {row[0].strip(): row[1].strip() for row in cells if len(row) > 2}
    return {}
