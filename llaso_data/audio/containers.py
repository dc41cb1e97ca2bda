"""Is a container all there? What the decoders pass over in silence, read from the headers themselves."""

from __future__ import annotations

from typing import Literal

from llaso_data.io.views import SeekableFile

PLACEHOLDER_BYTES = 0x7FFF0000  # 32-bit sizes from here on are what programs write that could not seek back
OGG_PAGE_BYTES = 65_307  # largest possible
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # GUID of the file properties object
ASF_HEADER_BYTES = 65_536


# What the first bytes of files say that are no raw stream of samples.
_NAMES = {
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
_PLAIN_SHARE = 0.85  # … or of ASCII's; of coded sound a third to a half of the bytes are


def cut_share(file: SeekableFile, size_bytes: int) -> float | None:
    """Which share of the audio data is there, in 0…1, of a file that ends before its header says; None: whole.

    0 means that something is missing, unknown how much. Knows RIFF and RF64 WAVE, AVI, W64, AIFF, AU, CAF, Ogg and ASF;
    of every other format it says None.
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


def _share(there: int, stated: int, placeholder: int) -> float | None:
    return there / stated if there < stated < placeholder else None


def _chunks_share(
    file: SeekableFile, size_bytes: int, position: int, endian: Literal["little", "big"], width: int
) -> float | None:
    """Of a file of chunks (name, size, content) the share of the chunk ``data`` that is there."""
    wide: int | None = None  # RF64 keeps the true size in its chunk ds64
    while position + 4 + width <= size_bytes:
        file.seek(position)
        head = file.read(4 + width)
        stated = int.from_bytes(head[4:], endian)
        position += 4 + width
        if head[:4] == b"ds64":
            wide = int.from_bytes(file.read(16)[8:], "little")
        if head[:4] == b"data":
            limit = 1 << 62 if wide is not None or width == 8 else PLACEHOLDER_BYTES
            return _share(size_bytes - position, stated if wide is None else wide, limit)
        position += stated + (stated % 2 if width == 4 else 0)
    return None


def _last_page_whole(file: SeekableFile, size_bytes: int) -> bool:
    """Whether the last Ogg page is all there (RFC 3533, section 6)."""
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


def no_raw_stream(file: SeekableFile) -> str | None:
    """What a file is that begins like a container, or is text; None for what may be a raw stream of samples."""
    file.seek(0)
    head = file.read(_TEXT_BYTES)
    named = next((name for magic, name in _NAMES.items() if head.startswith(magic)), None)
    if named is None and head[4:8] == b"ftyp":
        named = "MP4"
    if named is None and head[257:262] == b"ustar":
        named = "tar"
    return named or ("text" if _is_text(head) else None)


def _is_text(head: bytes) -> bool:
    """Text in UTF-8, or mostly of ASCII's letters."""
    text = head.decode("utf-8", "replace")
    printable = sum(character != "\ufffd" and (character.isprintable() or character.isspace()) for character in text)
    plain = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return printable >= _TEXT_SHARE * len(text) or plain >= _PLAIN_SHARE * len(head)


def wave_format(file: SeekableFile) -> str | None:
    """What a RIFF WAVE says that it is; None for another file."""
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
    """Whether an mp3's first frame is a Xing or Info tag with the number of frames.

    Without one libsndfile guesses the length from the first frame's bit rate and stops there. The file stays at
    its position: a decoder may be reading it.
    """
    before = file.tell()
    position = after_id3(file, 0)
    file.seek(position)
    first = file.read(2048)
    file.seek(before)
    at = max(first.find(b"Xing"), first.find(b"Info"))
    return at >= 0 and at + 8 <= len(first) and bool(first[at + 7] & 1)


def after_id3(file: SeekableFile, position: int) -> int:
    """The place after the ID3v2 tags that begin at a position; the position where there are none."""
    while True:
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return position
        syncsafe = head[6:10]
        position += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(syncsafe, (21, 14, 7, 0), strict=True))
