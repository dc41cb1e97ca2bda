"""WebDataset tars: members that share a key are one sample; audio, with ``.txt`` or ``.json`` beside it.

Which members share a key, :mod:`llaso_data.io.sample_names` says. A text or JSON whose name is the audio's own but for
the extension is that audio's, one whose name is the key alone is the whole sample's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.braces import expand_braces
from llaso_data.formats.files.file_tree import FileTree, compile_glob
from llaso_data.formats.files.text import MAX_TEXT_BYTES, decode_transcript, transcript_too_long
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, failed_row
from llaso_data.formats.tables.columns import canonical_values, metadata_of
from llaso_data.formats.writing.attributes import ATTRIBUTES, attributes_of, json_line, seconds
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, no_transcript, spoken
from llaso_data.io import archive, sample_names, storage, tar_headers
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure
from llaso_data.uris import extension

Stated = dict[str, tuple[SourceMetadata, Failure | None]]
"""What is said of members, and what is wrong there, by their names without extension."""
_NOTHING: tuple[SourceMetadata, Failure | None] = (SourceMetadata(), None)


def recognises(tree: FileTree) -> str | None:
    """A tar, a pattern of tars, or a folder that has tars and no audio outside them."""
    if tree.is_file:
        if "{" in tree.root:
            return "it is a pattern of tars"
        return "its name ends in .tar" if extension(tree.root) == "tar" else None
    if tree.extensions["tar"] and not tree.extensions.keys() & AUDIO_EXTENSIONS:
        return f"it has {tree.extensions['tar']:,} tars and no audio outside them"
    return None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every audio member of every tar; each tar is a container.

    Raises:
        LLaSOError: There is no tar, or one that is named is not there.
    """
    tars = _tars_of_folder(spec, tree) if not tree.is_file else _tars_of_pattern(spec, tree)
    if not tars:
        raise LLaSOError(f"{spec.path}: no .tar below it")
    return (row for root, path in sorted(tars) for row in _tar_rows(tree, root, path))


def _tars_of_folder(spec: SourceSpec, tree: FileTree) -> list[tuple[str, str]]:
    """Root and path of the tars that match the pattern. Compressed ones are counted as unreadable later."""
    matches = compile_glob(spec.pattern).fullmatch
    paths = [file.path for file in tree.files if matches(file.path)]
    return [(tree.root, path) for path in paths if extension(path) == "tar" or path.endswith(archive.COMPRESSED)]


def _tars_of_pattern(spec: SourceSpec, tree: FileTree) -> list[tuple[str, str]]:
    uris = expand_braces(tree.root)
    missing = [uri for uri in uris if not storage.exists(uri)]
    if missing:
        raise LLaSOError(f"{spec.path}: {len(missing)} of {len(uris)} tars are not there, the first is {missing[0]}")
    root = tree.root.partition("{")[0].rpartition("/")[0]
    return [(root, uri[len(root) + 1 :]) for uri in uris]


def _tar_rows(tree: FileTree, root: str, path: str) -> Iterator[SourceRow]:
    uri = storage.join(root, path)
    try:
        directory = archive.directory(uri)
        version = storage.stat(uri)["version"]
    except LLaSOError as error:
        yield failed_row(root, uri, path, str(error).removeprefix(f"{uri}: "), reason="unreadable")
        return
    grouped = sample_names.group((*directory.members, *directory.broken))
    tree.note("samples whose key ends at the last dot", grouped.at_last_dot)
    tree.note("members that belong to no sample", sum(map(len, grouped.left_out.values())))
    with storage.open_read(uri) as file:
        for key, members in sorted(grouped.samples.items(), key=lambda sample: min(sample[1])):
            by_stem = _metadata_by_stem(uri, sorted(members), directory, file, bool(tree.labels))
            yield from _sample_rows(root, path, key, sorted(members), directory, version, by_stem)
    for number, member in enumerate(directory.repeated, 1):
        where = f"{path}!{member} (repeat {number})"
        yield failed_row(root, uri, where, "the name stands in the archive more than once")
    if directory.problem:
        yield failed_row(root, uri, path, f"{directory.problem}; fetch it again", reason="truncated")
    elif not grouped.samples and not directory.repeated:
        yield failed_row(root, uri, path, "the archive holds no sample", reason="empty")


def _sample_rows(
    root: str, path: str, key: str, members: list[str], directory: archive.Directory, version: str, by_stem: Stated
) -> Iterator[SourceRow]:
    uri = storage.join(root, path)
    audio_members = [member for member in members if extension(member) in AUDIO_EXTENSIONS]
    if not audio_members:
        yield failed_row(root, uri, f"{path}!{key}", f"no audio among {', '.join(members)}")
        return
    of_sample, sample_failure = by_stem.get(key, _NOTHING)
    if len(audio_members) > 1:
        of_sample = replace(of_sample, text=None, more=None)  # which of them says it, nobody knows
    for member in audio_members:
        if member in directory.broken:
            yield failed_row(root, uri, f"{path}!{member}", directory.broken[member], reason="unreadable")
            continue
        of_member, member_failure = by_stem.get(_stem(member), _NOTHING) if _stem(member) != key else _NOTHING
        yield SourceRow(
            path=path,
            uri=uri,
            root=root,
            container=uri,
            member=member,
            metadata=_merged(of_sample, of_member),
            size_bytes=directory.members[member][1],
            version=version,
            failure=sample_failure or member_failure,
            where=f"{path}!{member}",
        )


def _metadata_by_stem(uri: str, members: list[str], directory: archive.Directory, file: Any, with_more: bool) -> Stated:
    """What the ``.txt`` and ``.json`` of a sample say, and what is wrong there, by their names without extension."""
    by_stem: Stated = {}
    stated: tuple[SourceMetadata, Failure | None]
    for member in members:
        if extension(member) not in ("txt", "json"):
            continue
        place = f"{uri}!{member}"
        offset, size_bytes = directory.members.get(member, (0, 0))
        if member in directory.broken:
            stated = SourceMetadata(), Failure("bad_text", f"{place}: {directory.broken[member]}")
        elif size_bytes > MAX_TEXT_BYTES:
            stated = SourceMetadata(), transcript_too_long(place)
        else:
            file.seek(offset)
            stated = _member_metadata(file.read(size_bytes), extension(member), place, with_more)
        earlier, failure = by_stem.get(_stem(member), _NOTHING)
        by_stem[_stem(member)] = _merged(earlier, stated[0]), failure or stated[1]
    return by_stem


def _stem(member: str) -> str:
    return member.rpartition(".")[0]


def _member_metadata(data: bytes, kind: str, place: str, with_more: bool) -> tuple[SourceMetadata, Failure | None]:
    """What a ``.txt`` or ``.json`` member says of its sample."""
    if kind == "txt":
        text, failure = decode_transcript(data, place)
        return SourceMetadata(text=text), failure
    try:
        row = json.loads(data.decode("utf-8-sig"))
        if not isinstance(row, dict):
            return _NOTHING
        # Nested values are another program's, and no error.
        flat = {
            name: value
            for name, value in row.items()
            if isinstance(value, (str, int, float)) or _is_channel_list(name, value)
        }
        metadata = metadata_of(canonical_values(flat))
        return replace(metadata, more=row) if with_more else metadata, None
    except UnicodeDecodeError as error:
        detail = f"{place}: not UTF-8 (byte at {error.start}); save it as UTF-8"
        return SourceMetadata(), Failure("bad_text", detail)
    except (ValueError, RecursionError, RowError) as error:
        return SourceMetadata(), Failure("bad_text", f"{place}: {error}")


def _is_channel_list(name: str, value: Any) -> bool:
    return isinstance(value, list) and name.strip().lower() in ("channel", "channels")


def _merged(under: SourceMetadata, over: SourceMetadata) -> SourceMetadata:
    """``over`` where it says something, else ``under``."""
    if under == _NOTHING[0] or over == _NOTHING[0]:
        return under if over == _NOTHING[0] else over
    values = {field.name: getattr(over, field.name) for field in fields(SourceMetadata)}
    return replace(under, **{name: value for name, value in values.items() if value is not None})


def _write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write one tar: of each sample its sound, and a JSON with its text and what is known of it."""
    with part.file(f"{part.number:06d}.tar") as path, open(path, "wb") as tar:
        for sounded in samples:
            utterance, text = spoken(sounded)
            (sound,) = sounded.sounds
            row = {"text": text, "duration": seconds(sound.duration_s), **attributes_of(sounded.sample, utterance)}
            row |= {name: value for name in ("license", "consent") if (value := getattr(utterance.source, name))}
            tar_headers.write_member(tar, f"{sounded.key}.{sound.extension}", sound.data or b"")
            tar_headers.write_member(tar, f"{sounded.key}.json", json_line(row).encode())
        tar.write(tar_headers.END)


LAYOUT = Layout(
    name="webdataset",
    title="WebDataset tars",
    recognised_by="a `.tar`, a pattern `a-{000..099}.tar`, a folder of tars without other audio",
    unit="an audio member",
    container="each tar",
    endings=frozenset(("tar",)),
    before=("manifest", "folder"),  # a pattern may end in anything
    recognises=recognises,
    read=read,
    writer=LayoutWriter(
        write=_write, holds=frozenset(("text", *ATTRIBUTES, "license")), refuses=no_transcript, inside=True
    ),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
