"""Find the files that lie one after another in one file: chained Ogg (RFC 3533, section 4), or MP3, FLAC, WAV … that
``cat`` joined. Decoders stop at the end of the first one without an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from llaso_data.audio.containers import PLACEHOLDER_BYTES, after_id3
from llaso_data.io.views import SeekableFile

_CHUNK_BYTES = 1 << 20
_OGG_FIRST_PAGE = re.compile(rb"OggS\x00[\x02\x03\x06\x07]", re.DOTALL)  # the flag 2: a stream begins
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)  # with the stream's information, which has 34 bytes
_AMR = re.compile(rb"#!AMR(?:-WB)?\n")
_EBML = re.compile(b"\x1a\x45\xdf\xa3")
_XING = re.compile(rb"Xing|Info")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_LONGEST_PATTERN = 16


def file_ranges(file: SeekableFile, size_bytes: int) -> list[tuple[int, int]]:
    """Find the files in a file; mostly there is one.

    Args:
        file: seekable.
        size_bytes: of all of it.

    Returns:
        For each file in it its first byte and the byte after its last, in order.
    """
    starts = [0, *(start for start in _later_starts(file, size_bytes) if 0 < start < size_bytes)]
    return list(zip(starts, [*starts[1:], size_bytes], strict=True))


def _later_starts(file: SeekableFile, size_bytes: int) -> Iterator[int]:
    begin = after_id3(file, 0)
    head = _read_at(file, begin, 32)
    if head[:4] == b"OggS":
        return _ogg(file, begin)
    if head[:4] == b"fLaC":
        return _matches(file, begin + 4, _FLAC)
    if head[:5] == b"#!AMR":
        return _matches(file, begin + 5, _AMR)
    if _mpeg_frame(head):
        return _mp3(file, size_bytes)
    length = next((length for begins, length in _SIZED if begins(head)), None)
    return iter(()) if length is None else _sized(file, size_bytes, length)


def _read_at(file: SeekableFile, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _matches(file: SeekableFile, position: int, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Where a pattern matches from ``position`` on."""
    while len(data := _read_at(file, position, _CHUNK_BYTES)) >= _LONGEST_PATTERN:
        last = len(data) < _CHUNK_BYTES
        limit = (
            len(data) if last else len(data) - _LONGEST_PATTERN
        )  # a later match may be cut; the next chunk has it whole
        for at in _match_offsets(data, pattern):
            if at < limit:
                yield position + at
        if last:
            return
        position += limit


def _match_offsets(data: bytes, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Where a pattern matches in ``data``. To look for its first four letters first is much faster."""
    if pattern is _XING:
        yield from (match.start() for match in pattern.finditer(data))
        return
    at = data.find(pattern.pattern[:4])
    while at >= 0:
        if pattern.match(data, at):
            yield at
        at = data.find(pattern.pattern[:4], at + 1)


# Ogg


def _ogg(file: SeekableFile, position: int) -> Iterator[int]:
    """Where a link begins: at a first page that does not follow another one, as those of parallel streams do."""
    expected: int | None = None
    for at in _matches(file, position, _OGG_FIRST_PAGE):
        page = _ogg_page(file, at)
        if page is None:
            continue
        if expected is not None and at != expected:
            yield at
        expected = at + len(page)


def _ogg_page(file: SeekableFile, position: int) -> bytes | None:
    """The page that begins at ``position``; None where its checksum does not match."""
    page = _read_at(file, position, 27 + 255 + 255 * 255)
    table = page[27 : 27 + page[26]] if len(page) > 26 else b""
    page = page[: 27 + len(table) + sum(table)]
    if len(page) < 27 or int.from_bytes(page[22:26], "little") != _ogg_crc(page[:22] + bytes(4) + page[26:]):
        return None
    return page


def _ogg_crc(data: bytes) -> int:
    """CRC-32 with the polynomial 0x04c11db7, from 0, bits not reflected (RFC 3533, section 6)."""
    table, crc = _crc_table(), 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


@lru_cache(maxsize=1)
def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        crc = number << 24
        for _ in range(8):
            crc = (crc << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        table.append(crc)
    return tuple(table)


# MP3

_KBIT = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)  # MPEG-1, layer III
_KBIT_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)  # MPEG-2 and 2.5
_FEW_BYTES = 4096  # three frames at most
_RATES_HZ = (44_100, 48_000, 32_000)


def _mpeg_frame(head: bytes) -> int:
    """The size in bytes of the layer III frame that ``head`` begins; 0 where it begins none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[1] & 0x18 == 0x08:
        return 0
    version = head[1] >> 3 & 3  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    kbit, rate = (_KBIT if version == 3 else _KBIT_LOW)[head[2] >> 4], head[2] >> 2 & 3
    if not kbit or rate == 3:
        return 0
    rate_hz = _RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return (144_000 if version == 3 else 72_000) * kbit // rate_hz + (head[2] >> 1 & 1)


def _xing_at(head: bytes) -> int:
    """Where the name of a tag stands in the frame that holds it: after the header and the side information."""
    mono, first = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    return 4 + ((17 if mono else 32) if first else (9 if mono else 17)) + (0 if head[1] & 1 else 2)


def _mp3(file: SeekableFile, size_bytes: int) -> Iterator[int]:
    at: int | None = 0
    while at is not None:
        at = _next_mp3(file, after_id3(file, at), size_bytes)
        if at is not None:
            yield _before_id3(file, at)


def _next_mp3(file: SeekableFile, frame: int, size_bytes: int) -> int | None:
    """Where the file that begins with this frame ends and another begins; None where no other begins.

    A decoder stops after as many frames as the tag in the first frame states. Tags may be wrong by a frame, or stale.
    """
    frames, stated_bytes = _tag_counts(file, frame)
    if stated_bytes:
        following = _after_tags(file, frame + stated_bytes)
        if _is_tag(file, following):
            return following
        if size_bytes - following < _FEW_BYTES:
            return None
    tag = _next_tag(file, frame)
    end = _after_frames(file, frame, frames + 1) if frames else None
    if end is not None and size_bytes - (end := _after_tags(file, end)) >= _FEW_BYTES and _two_frames(file, end):
        return end if tag is None else min(tag, end)
    return tag


def _tag_counts(file: SeekableFile, frame: int) -> tuple[int, int]:
    """The numbers of frames and of bytes that the tag in a first frame states; 0 where it states none."""
    if not _is_tag(file, frame):
        return 0, 0
    head = _read_at(file, frame, 64)
    tag = head[_xing_at(head) :]
    flags = int.from_bytes(tag[4:8], "big")
    numbers = [int.from_bytes(tag[at : at + 4], "big") for at in (8, 12)]
    frames = numbers.pop(0) if flags & 1 else 0
    return frames, numbers[0] if flags & 2 else 0


def _is_tag(file: SeekableFile, position: int) -> bool:
    head = _read_at(file, position, 64)
    return _mpeg_frame(head) > 0 and _XING.match(head, _xing_at(head)) is not None


def _two_frames(file: SeekableFile, position: int) -> bool:
    size = _mpeg_frame(_read_at(file, position, 4))
    return size > 0 and _mpeg_frame(_read_at(file, position + size, 4)) > 0


def _after_frames(file: SeekableFile, position: int, count: int) -> int | None:
    """The place after so many frames; None where there are fewer."""
    for _ in range(count):
        size = _mpeg_frame(_read_at(file, position, 4))
        if not size:
            return None
        position += size
    return position


def _after_tags(file: SeekableFile, position: int) -> int:
    """The place after the tags that end a file (ID3v1, APE) and those that begin the next (ID3v2)."""
    while True:
        head = _read_at(file, position, 32)
        if head[:3] == b"TAG":
            position += 128
        elif head[:8] == b"APETAGEX":
            position += int.from_bytes(head[12:16], "little") + (32 if head[23:24] >= b"\x80" else 0)
        elif head[:3] == b"ID3":
            position = after_id3(file, position)
        else:
            return position
        if len(head) < 32:
            return position


def _before_id3(file: SeekableFile, frame: int) -> int:
    """Where the ID3v2 tags begin that end at the frame: they belong to its file."""
    start = max(0, frame - _CHUNK_BYTES)
    before = _read_at(file, start, frame - start)
    tag = before.rfind(b"ID3")
    while tag >= 0 and after_id3(file, start + tag) != frame:
        tag = before.rfind(b"ID3", 0, tag)
    return frame if tag < 0 else start + tag


def _next_tag(file: SeekableFile, frame: int) -> int | None:
    """The first later frame that is a tag."""
    for at in _matches(file, frame, _XING):
        for back in (36, 21, 13, 38, 23, 15):
            if at - back > frame and _is_tag(file, at - back) and _xing_at(_read_at(file, at - back, 4)) == back:
                return at - back
    return None


# Containers that state their length

_Length = Callable[[bytes], "int | None"]


def _sized(file: SeekableFile, size_bytes: int, length_of: _Length) -> Iterator[int]:
    """Where another container begins after the parts of one, whose headers state their lengths."""
    at, first = 0, True
    while at < size_bytes:
        head = _read_at(file, at, 32)
        if not first and any(begins(head) for begins, _ in _SIZED):
            yield at
            length_of = next(length for begins, length in _SIZED if begins(head))
        length, first = length_of(head), False
        if length is None and length_of is _ebml_length:
            yield from (start for start in _matches(file, at + 4, _EBML) if _is_ebml(_read_at(file, start, 64)))
        if not length or length < 0:
            return
        at += length


def _riff_length(head: bytes) -> int | None:
    size = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RF64":
        size = int.from_bytes(head[20:28], "little")
    elif head[:4] != b"RIFF" or size >= PLACEHOLDER_BYTES:
        return None
    return 8 + size + size % 2


def _form_length(head: bytes) -> int | None:
    size = int.from_bytes(head[4:8], "big")
    return 8 + size + size % 2 if head[:4] == b"FORM" and size < PLACEHOLDER_BYTES else None


def _w64_length(head: bytes) -> int | None:
    return -(-int.from_bytes(head[16:24], "little") // 8) * 8 if head[:16] == _W64 else None


def _au_length(head: bytes) -> int | None:
    size = int.from_bytes(head[8:12], "big")
    return int.from_bytes(head[4:8], "big") + size if head[:4] == b".snd" and size < PLACEHOLDER_BYTES else None


def _caf_length(head: bytes) -> int | None:
    if head[:4] == b"caff":
        return 8
    return 12 + size if len(head) >= 12 and (size := int.from_bytes(head[4:12], "big", signed=True)) >= 0 else None


def _box_length(head: bytes) -> int | None:
    """The length of a box of MP4 (ISO/IEC 14496-12, section 4.2)."""
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:16], "big")
    return size if size >= 8 and head[4:8].isalnum() else None


def _asf_length(head: bytes) -> int | None:
    return size if (size := int.from_bytes(head[16:24], "little")) >= 24 else None


def _ebml_length(head: bytes) -> int | None:
    """The length of an element with an identity of four bytes (RFC 8794, section 4); None where it is not known."""
    if head[:4] not in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67") or len(head) < 12 or not head[4]:
        return None
    width = 9 - head[4].bit_length()
    size = int.from_bytes(head[4 : 4 + width], "big") & (1 << 7 * width) - 1
    return None if size == (1 << 7 * width) - 1 else 4 + width + size


def _is_ebml(head: bytes) -> bool:
    return head[:4] == b"\x1a\x45\xdf\xa3" and (b"\x42\x82" in head)  # the element DocType


_SIZED: tuple[tuple[Callable[[bytes], bool], _Length], ...] = (
    (lambda head: head[:4] in (b"RIFF", b"RF64") and head[8:12] in (b"WAVE", b"AVI "), _riff_length),
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), _form_length),
    (lambda head: head[:16] == _W64, _w64_length),
    (lambda head: head[:4] == b".snd", _au_length),
    (lambda head: head[:4] == b"caff" and head[4:6] == b"\x00\x01", _caf_length),
    (lambda head: head[4:8] == b"ftyp", _box_length),
    (lambda head: head[:16] == _ASF, _asf_length),
    (_is_ebml, _ebml_length),
)
