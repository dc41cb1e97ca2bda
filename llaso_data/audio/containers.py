"""What the headers of containers say that decoders do not report: a missing end, a codec, a stated length."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from llaso_data.io.views import SeekableFile

PLACEHOLDER_BYTES = 0x7FFF0000  # from here on a 32-bit size is a placeholder of a program that could not seek back
OGG_PAGE_BYTES = 65_307  # largest possible
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # GUID of the file properties object
ASF_HEADER_BYTES = 65_536


# The first bytes of files that are no raw streams of samples.
_CONTAINER_NAMES = {
    b"RIFF": "RIFF (wav, avi)", b"RF64": "RF64", b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"FORM": "AIFF",
    b".snd": "AU", b"caff": "CAF", b"#!AMR": "AMR", b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF (wma)", b"riff.\x91\xcf\x11": "W64", b"PK\x03\x04": "zip",
    b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"PAR1": "Parquet", b"%PDF-": "PDF", b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"\x7fELF": "a program", b"SQLite format 3\0": "SQLite",
    b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text",
}  # fmt: skip
_WAVE_KINDS = {1: "integers", 3: "floats"}
_TEXT_BYTES = 4096
_TEXT_SHARE = 0.95  # of printable characters …
_PLAIN_SHARE = 0.85  # … or of ASCII's; of coded audio, a third to a half of the bytes are in ASCII


def present_share(file: SeekableFile, size_bytes: int) -> float | None:
    """Compare the length of a file with what its header states.

    Knows RIFF and RF64 WAVE, AVI, W64, AIFF, AU, CAF, Ogg and ASF.

    Args:
        file: seekable.
        size_bytes: of all of it.

    Returns:
        The share of the audio data that is present, from 0 to 1, of a file that ends too early; 0 where that share is
        not known. None for a whole file, and for every other format.
    """
    file.seek(0)
    head = file.read(28)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _chunks_share(file, size_bytes, 12, "little", 4)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _share(size_bytes, int.from_bytes(head[4:8], "little") + 8, PLACEHOLDER_BYTES)
    if head[:4] == b"caff":
        return _chunks_share(file, size_bytes, 8, "big", 8)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _share(size_bytes, int.from_bytes(head[4:8], "big") + 8, PLACEHOLDER_BYTES)
    if head[:4] == b"riff":
        return _share(size_bytes, int.from_bytes(head[16:24], "little"), 1 << 62)
    if head[:4] == b".snd":
        offset, stated = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        return _share(max(0, size_bytes - offset), stated, PLACEHOLDER_BYTES)
    if head[:4] == b"OggS":
        return None if _last_page_whole(file, size_bytes) else 0
    if head[:4] == b"\x30\x26\xb2\x75":
        return _asf_share(file, size_bytes)
    return None


def _share(present: int, stated: int, placeholder: int) -> float | None:
    return present / stated if present < stated < placeholder else None


def _chunks_share(
    file: SeekableFile, size_bytes: int, position: int, endian: Literal["little", "big"], width: int
) -> float | None:
    """Of a file of chunks (name, size, content) the share of the chunk ``data`` that is present."""
    data_bytes: int | None = None  # RF64 keeps the true size in its chunk ds64
    while position + 4 + width <= size_bytes:
        file.seek(position)
        head = file.read(4 + width)
        stated = int.from_bytes(head[4:], endian)
        position += 4 + width
        if head[:4] == b"ds64":
            data_bytes = int.from_bytes(file.read(16)[8:], "little")
        if head[:4] == b"data":
            limit = 1 << 62 if data_bytes is not None or width == 8 else PLACEHOLDER_BYTES
            return _share(size_bytes - position, stated if data_bytes is None else data_bytes, limit)
        position += stated + (stated % 2 if width == 4 else 0)
    return None


def _last_page_whole(file: SeekableFile, size_bytes: int) -> bool:
    """Whether the last Ogg page is whole (RFC 3533, section 6)."""
    file.seek(max(0, size_bytes - OGG_PAGE_BYTES))
    tail = file.read(OGG_PAGE_BYTES)
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return False
    segments = tail[at + 26]
    table = tail[at + 27 : at + 27 + segments]
    return len(table) == segments and at + 27 + segments + sum(table) <= len(tail)


def _asf_share(file: SeekableFile, size_bytes: int) -> float | None:
    file.seek(0)
    head = file.read(ASF_HEADER_BYTES)
    at = head.find(ASF_PROPERTIES)
    if at < 0 or at + 48 > len(head):
        return None
    return _share(size_bytes, int.from_bytes(head[at + 40 : at + 48], "little"), 1 << 62)


def container_name(file: SeekableFile) -> str | None:
    """The name of the format of a file that begins like a container or is text; None for a possible raw stream."""
    file.seek(0)
    head = file.read(_TEXT_BYTES)
    known = next((name for magic, name in _CONTAINER_NAMES.items() if head.startswith(magic)), None)
    if known is None and head[4:8] == b"ftyp":
        known = "MP4"
    if known is None and head[257:262] == b"ustar":
        known = "tar"
    return known or ("text" if _is_text(head) else None)


def _is_text(head: bytes) -> bool:
    """Whether the bytes are text in UTF-8, or mostly ASCII."""
    text = head.decode("utf-8", "replace")
    printable = sum(
        count
        for character, count in Counter(text).items()
        if character != "\ufffd" and (character.isprintable() or character.isspace())
    )
    plain = sum(count for byte, count in Counter(head).items() if 32 <= byte < 127 or byte in b"\t\r\n")
    return printable >= _TEXT_SHARE * len(text) or plain >= _PLAIN_SHARE * len(head)


def wave_format(file: SeekableFile) -> str | None:
    """The sample format that a RIFF WAVE states, in words; None for another file."""
    file.seek(0)
    head = file.read(4096)
    at = head.find(b"fmt ", 12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE" or at < 0 or at + 24 > len(head):
        return None
    tag, bits = (int.from_bytes(head[at + place : at + place + 2], "little") for place in (8, 22))
    if tag == 0xFFFE and at + 34 <= len(head):
        tag = int.from_bytes(head[at + 32 : at + 34], "little")
    return f"WAVE with {bits}-bit {_WAVE_KINDS.get(tag, f'samples of format 0x{tag:04x}')}"


def mp3_states_length(file: SeekableFile) -> bool:
    """Whether the first frame of an mp3 is a Xing or Info tag with the number of frames.

    Without such a tag libsndfile estimates the length from the bit rate of the first frame, and stops there.
    The position of the file does not change, because a decoder may be reading it.
    """
    before = file.tell()
    position = after_id3(file, 0)
    file.seek(position)
    first = file.read(2048)
    file.seek(before)
    at = max(first.find(b"Xing"), first.find(b"Info"))
    return at >= 0 and at + 8 <= len(first) and bool(first[at + 7] & 1)


def after_id3(file: SeekableFile, position: int) -> int:
    """The position after the ID3v2 tags that begin at ``position``; ``position`` where there are none."""
    while True:
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return position
        syncsafe = head[6:10]
        position += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(syncsafe, (21, 14, 7, 0), strict=True))
