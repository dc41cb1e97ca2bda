"""WebDataset tars: members that share a key are one sample; audio, with ``.txt`` or ``.json`` beside it.

Which members share one, :mod:`llaso_data.io.sample_names` says. A text or JSON whose name is the audio's own but for
the ending is that audio's, one whose name is the key alone is the whole sample's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES
from llaso_data.formats.manifest import by_our_names, described
from llaso_data.formats.rows.source_row import (
    Entry,
    RowError,
    Said,
    Tree,
    bad_row,
    clean_text,
    extension,
    matcher,
    too_long,
)
from llaso_data.io import archive, sample_names, storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

MAX_TARS = 1_000_000
_SILENT: tuple[Said, Failure | None] = (Said(), None)


def entries(spec: SourceSpec, tree: Tree) -> Iterator[Entry]:
    """Every audio member of every tar; each tar is a container. Raises LLaSOError where there is no tar."""
    if not tree.is_file:
        fits = matcher(spec.pattern).fullmatch
        names = [path for path, _, _ in tree.rows if fits(path)]
        # Compressed ones beside plain tars are counted as unreadable.
        tars = [(tree.root, path) for path in names if extension(path) == "tar" or path.endswith(archive.COMPRESSED)]
    else:
        uris = expand(tree.root)
        root = tree.root.partition("{")[0].rpartition("/")[0]
        tars = [(root, uri[len(root) + 1 :]) for uri in uris]
        missing = [uri for uri in uris if not storage.exists(uri)]
        if missing:
            raise LLaSOError(
                f"{spec.path}: {len(missing)} of {len(uris)} tars are not there, the first is {missing[0]}"
            )
    if not tars:
        raise LLaSOError(f"{spec.path}: no .tar below it")
    return (entry for root, path in sorted(tars) for entry in _tar(tree, root, path))


def expand(pattern: str) -> list[str]:
    """``a-{000..002}.tar`` and ``{x,y}.tar`` as the names that they stand for. Raises LLaSOError beyond a million."""
    names, open_at = [""], re.compile(r"\{([^{}]*)\}")
    position = 0
    for match in open_at.finditer(pattern):
        literal, choices = pattern[position : match.start()], _choices(match[1])
        if len(names) * len(choices) > MAX_TARS:
            raise LLaSOError(f"{pattern}: stands for more than {MAX_TARS:,} tars")
        names = [name + literal + choice for name in names for choice in choices]
        position = match.end()
    return [name + pattern[position:] for name in names]


def _choices(inside: str) -> list[str]:
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if numbers is None:
        return inside.split(",")
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= MAX_TARS:
        raise LLaSOError(f"{{{inside}}}: stands for more than {MAX_TARS:,} tars")
    width = len(numbers[1]) if numbers[1].startswith("0") or len(numbers[1]) == len(numbers[2]) else 0
    step = 1 if last >= first else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def _tar(tree: Tree, root: str, path: str) -> Iterator[Entry]:
    uri = storage.join(root, path)
    try:
        found = archive.directory(uri)
        version = storage.stat(uri)["version"]
    except LLaSOError as error:
        yield bad_row(root, uri, path, str(error).removeprefix(f"{uri}: "), reason="unreadable")
        return
    grouped = sample_names.group((*found.members, *found.broken))
    tree.note("samples whose key ends at the last dot", grouped.at_last_dot)
    tree.note("members that belong to no sample", sum(map(len, grouped.left_out.values())))
    with storage.open_read(uri) as file:
        for key, members in sorted(grouped.samples.items(), key=lambda sample: min(sample[1])):
            yield from _sample(root, path, key, sorted(members), found, version, file)
    for number, member in enumerate(found.repeated, 1):
        yield bad_row(root, uri, f"{path}!{member} (repeat {number})", "the name stands in the archive more than once")
    if found.problem:
        yield bad_row(root, uri, path, f"{found.problem}; fetch it again", reason="truncated")
    elif not grouped.samples and not found.repeated:
        yield bad_row(root, uri, path, "the archive holds no sample", reason="empty")


def _sample(
    root: str, path: str, key: str, members: list[str], found: archive.Directory, version: str, file: Any
) -> Iterator[Entry]:
    uri = storage.join(root, path)
    audio = [member for member in members if extension(member) in AUDIO_EXTENSIONS]
    if not audio:
        yield bad_row(root, uri, f"{path}!{key}", f"no audio among {', '.join(members)}")
        return
    said = _described(uri, members, found, file)
    of_all, failure = said.get(key, _SILENT)
    if len(audio) > 1:
        of_all = replace(of_all, text=None)  # whose it is, nobody says
    for member in audio:
        if member in found.broken:
            yield bad_row(root, uri, f"{path}!{member}", found.broken[member], reason="unreadable")
            continue
        own, wrong = said.get(_stem(member), _SILENT) if _stem(member) != key else _SILENT
        yield Entry(
            path=path,
            uri=uri,
            root=root,
            container=uri,
            member=member,
            said=_merged(of_all, own),
            size_bytes=found.members[member][1],
            version=version,
            failure=failure or wrong,
            where=f"{path}!{member}",
        )


def _described(
    uri: str, members: list[str], found: archive.Directory, file: Any
) -> dict[str, tuple[Said, Failure | None]]:
    """What the ``.txt`` and ``.json`` of a sample say, and what is wrong there, by their names without the ending."""
    said: dict[str, tuple[Said, Failure | None]] = {}
    for member in members:
        if extension(member) not in ("txt", "json"):
            continue
        place = f"{uri}!{member}"
        offset, size_bytes = found.members.get(member, (0, 0))
        if member in found.broken:
            more, wrong = _broken(place, found.broken[member])
        elif size_bytes > MAX_TEXT_BYTES:
            more, wrong = Said(), too_long(place)
        else:
            file.seek(offset)
            more, wrong = _said(file.read(size_bytes), extension(member), place)
        before, failure = said.get(_stem(member), _SILENT)
        said[_stem(member)] = _merged(before, more), failure or wrong
    return said


def _broken(place: str, why: str) -> tuple[Said, Failure | None]:
    return Said(), Failure("bad_text", f"{place}: {why}")


def _stem(member: str) -> str:
    return member.rpartition(".")[0]


def _said(data: bytes, kind: str, place: str) -> tuple[Said, Failure | None]:
    """What a ``.txt`` or ``.json`` member says of its sample."""
    if kind == "txt":
        text, failure = clean_text(data, place)
        return Said(text=text), failure
    try:
        row = json.loads(data.decode("utf-8-sig"))
        if not isinstance(row, dict):
            return Said(), None
        # What is nested is some other program's and no error.
        flat = {
            name: value for name, value in row.items() if isinstance(value, (str, int, float)) or _lists(name, value)
        }
        return described(by_our_names(flat)), None
    except UnicodeDecodeError as error:
        return Said(), Failure("bad_text", f"{place}: not UTF-8 (byte at {error.start}); save it as UTF-8")
    except (ValueError, RecursionError, RowError) as error:
        return Said(), Failure("bad_text", f"{place}: {error}")


def _lists(name: str, value: Any) -> bool:
    return isinstance(value, list) and name.strip().lower() in ("channel", "channels")


def _merged(first: Said, more: Said) -> Said:
    """``more`` over ``first``, where it says something."""
    if first == _SILENT[0] or more == _SILENT[0]:
        return first if more == _SILENT[0] else more
    return replace(first, **{f.name: value for f in fields(Said) if (value := getattr(more, f.name)) is not None})
