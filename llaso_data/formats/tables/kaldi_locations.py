"""Where ``wav.scp`` says that a recording is: a file, an entry of an ark, or a command whose file can be told.

No command is run. What ``sph2pipe``, ``flac``, ``ffmpeg``, ``sox`` and ``cat`` would read is read by our own decoder,
where the command does nothing to the sound but convert its format. Every other command is refused by its name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

from llaso_data.formats.rows.source_row import RowError

_ENTRY = re.compile(r"(.+\.ark):(\d{1,19})", re.IGNORECASE)
_SHELL = re.compile(r"[;&<>`()\n]|\$\(|\|\|")
_NO_COMMAND = "no command of a corpus is run"


class Location(NamedTuple):
    """A file, the entry of an ark, and the channel that a command selects, counted from 0."""

    path: str
    member: str | None = None
    channel: int | None = None


def location(value: str) -> Location:
    """What a line of ``wav.scp`` says after the recording's id.

    Raises:
        RowError: It is empty, standard input, or a command that is not known to keep the sound as it is.
    """
    said = value.strip()
    if said.endswith("|"):
        return _of_command(said[:-1])
    if said in ("", "-") or said.startswith("|"):
        raise RowError("a line is `ID PATH`, `ID PATH.ark:OFFSET` or `ID COMMAND |`")
    entry = _ENTRY.fullmatch(said)
    return Location(said) if entry is None else Location(entry[1], entry[2])


def _of_command(text: str) -> Location:
    if _SHELL.search(text):
        raise RowError(f"its command needs a shell ({_shown(text)}); {_NO_COMMAND}, {_REMEDY}")
    try:
        stages = [shlex.split(stage) for stage in text.split("|")]
    except ValueError as error:
        raise RowError(f"its command cannot be understood ({error}): {_shown(text)}") from None
    found: Location | None = None
    for stage in stages:
        program = stage[0].rpartition("/")[2] if stage else ""
        read = _PROGRAMS.get(program)
        if read is None:
            raise RowError(f"its command is {program or _shown(text)!r}, which is not known; {_NO_COMMAND}, {_REMEDY}")
        one = read(stage[1:])
        if found is None:
            if one.path == "-":
                raise RowError(f"its command names no file: {_shown(text)}")
            found = one
        elif one.path != "-":
            raise RowError(f"its command reads two files: {_shown(text)}")
        elif one.channel is not None:
            found = found._replace(channel=one.channel)
    if found is None or not found.path:
        raise RowError(f"its command names no file: {_shown(text)}")
    return found


_REMEDY = "convert the recordings to files, and name these"


def _shown(text: str) -> str:
    return " ".join(text.split())[:80]


def _changes(program: str, option: str) -> RowError:
    return RowError(
        f"its command is {program} with {option[:40]!r}, which may change the sound; {_NO_COMMAND}, {_REMEDY}"
    )


def _cat(arguments: list[str]) -> Location:
    if len(arguments) != 1 or (arguments[0].startswith("-") and arguments[0] != "-"):
        raise RowError(f"its command is cat of {len(arguments)} files; {_NO_COMMAND}, {_REMEDY}")
    return Location(arguments[0])


def _flac(arguments: list[str]) -> Location:
    plain = {"-c", "--stdout", "-d", "--decode", "-s", "--silent", "-cd", "-dc", "-cds", "-dcs", "-sdc", "-scd", "-F"}
    files = []
    for one in arguments:
        if not one.startswith("-") or one == "-":
            files.append(one)
        elif one not in plain:
            raise _changes("flac", one)
    return _only("flac", files)


def _sph2pipe(arguments: list[str]) -> Location:
    """Channels are counted from 1."""
    files, channel, rest = [], None, iter(arguments)
    for one in rest:
        if one == "-f":
            next(rest, "")
        elif one == "-c":
            channel = _channel("sph2pipe", next(rest, ""))
        elif one not in ("-p", "-u", "-a", "-") and one.startswith("-"):
            raise _changes("sph2pipe", one)
        elif one not in ("-p", "-u", "-a"):
            files.append(one)
    return _only("sph2pipe", files[:1], channel)


def _ffmpeg(arguments: list[str]) -> Location:
    with_value = {"-i", "-f", "-ar", "-ac", "-acodec", "-c:a", "-codec:a", "-loglevel", "-v", "-threads", "-sample_fmt"}
    plain = {"-vn", "-nostdin", "-hide_banner", "-y", "-nostats", "-sn", "-dn"}
    files, rest = [], iter(arguments)
    for one in rest:
        if one in with_value:
            value = next(rest, "")
            if one == "-i":
                files.append(value)
        elif one not in plain and one not in ("-", "pipe:1", "pipe:", "/dev/stdout"):
            raise _changes("ffmpeg", one)
    return _only("ffmpeg", ["-" if one in ("pipe:0", "pipe:", "/dev/stdin") else one for one in files])


def _sox(arguments: list[str]) -> Location:
    """``sox [options] FILE [options] OUTPUT [effects]``; effects that change no more than the format are known."""
    with_value = {"-t", "-r", "-b", "-c", "-e", "--type", "--rate", "--bits", "--channels", "--encoding"}
    plain = {"-q", "-G", "-D", "-R", "--no-dither", "-V0", "-V1", "-V2", "-s", "-2", "-S", "-L"}
    files: list[str] = []
    rest = iter(arguments)
    for one in rest:
        if len(files) == 2:
            return _only("sox", files[:1], _effects([one, *rest]))
        if one in with_value:
            next(rest, "")
        elif one.startswith("-") and one != "-":
            if one not in plain:
                raise _changes("sox", one)
        else:
            files.append(one)
    if len(files) != 2:
        raise RowError(f"its command is sox of {len(files)} files; {_NO_COMMAND}, {_REMEDY}")
    return _only("sox", files[:1])


def _effects(words: list[str]) -> int | None:
    channel, rest = None, iter(words)
    for effect in rest:
        if effect == "remix":
            channel = _channel("sox remix", next(rest, ""))
        elif effect in ("rate", "channels"):
            value = next(rest, "")
            while value.startswith("-"):
                value = next(rest, "")
        elif effect != "dither":
            raise _changes("sox", effect)
    return channel


def _channel(program: str, text: str) -> int | None:
    if text == "-":
        return None
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise RowError(f"its command is {program} of channel {text[:20]!r}; channels are counted from 1")
    return int(text) - 1


def _only(program: str, files: list[str], channel: int | None = None) -> Location:
    if len(files) != 1:
        raise RowError(f"its command is {program} of {len(files)} files; {_NO_COMMAND}, {_REMEDY}")
    return Location(files[0], None, channel)


_PROGRAMS: dict[str, Callable[[list[str]], Location]] = {
    "cat": _cat,
    "flac": _flac,
    "sph2pipe": _sph2pipe,
    "ffmpeg": _ffmpeg,
    "sox": _sox,
}
