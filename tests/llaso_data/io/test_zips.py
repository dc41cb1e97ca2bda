"""What zips of strangers may hold: each trap is refused by name or read right, and nothing is ever written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from llaso_data import audio
from llaso_data.errors import AudioError
from llaso_data.io import storage, zip_end, zip_members
from llaso_data.io.archive import WHOLE_READ_BYTES, ArchiveError
from tests.conftest import Clip
from tests.support.object_stores import BUCKET, gateway, s3_server

ENTRY, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"
FLAGS, METHOD, CRC, STORED, SIZE, NAME_LENGTH, DISK, ATTRIBUTES, OFFSET = 8, 10, 16, 20, 24, 28, 34, 38, 42  # in ENTRY


def made(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytearray:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return bytearray(data.getvalue())


def put(data: bytearray, form: str, value: int, field: int, number: int = 0) -> None:
    """Change a field of an entry of the directory."""
    at = -1
    for _ in range(number + 1):
        at = data.index(ENTRY, at + 1)
    struct.pack_into(form, data, at + field, value)


@pytest.fixture
def zip_of(tmp_path: Path) -> Callable[[bytes], str]:
    def written(data: bytes) -> str:
        (tmp_path / "a.zip").write_bytes(data)
        return str(tmp_path / "a.zip")

    return written


def content(uri: str, member: str) -> bytes:
    with audio.open_audio(uri, member) as file:
        return file.read()


def refusal(uri: str, member: str) -> str:
    with pytest.raises(AudioError) as raised:
        content(uri, member)
    assert raised.value.reason == "unreadable"
    return str(raised.value)


ZipOf = Callable[[bytes], str]


@pytest.mark.parametrize(
    "name", ["../../up.wav", "/etc/root.wav", "C:\\x\\drive.wav", "a/../../b.wav", "dir\\back.wav"]
)
def test_a_name_leads_nowhere_but_to_its_member(zip_of: ZipOf, tmp_path: Path, name: str) -> None:
    uri = zip_of(made((name, b"sound")))
    assert content(uri, name) == b"sound"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    with pytest.raises(FileNotFoundError), zip_members.open_member(uri, name.replace("\\", "/") + "x"):
        pass


def test_links_and_devices_are_refused(zip_of: ZipOf) -> None:
    data = made(("link.wav", b"/etc/passwd"), ("pipe.wav", b""), ("file.wav", b"sound"))
    for number, kind in enumerate((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFREG)):
        put(data, "<I", (kind | 0o644) << 16, ATTRIBUTES, number)
    uri = zip_of(data)
    assert "a link or a device, which are not followed" in refusal(uri, "link.wav")
    assert "a link or a device" in refusal(uri, "pipe.wav")
    assert content(uri, "file.wav") == b"sound"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_first_of_equal_names_counts_even_where_it_is_broken(zip_of: ZipOf) -> None:
    data = made(("a", b"first"), ("b", b"b"), ("a", b"second"))
    assert content(zip_of(data), "a") == b"first"
    put(data, "<H", 1, FLAGS)
    uri = zip_of(data)
    assert "encrypted" in refusal(uri, "a")
    assert (list(zip_members.directory(uri).members), zip_members.directory(uri).repeated) == (["b"], ("a",))


def entry_with(raw: bytes, flags: int, extra: bytes = b"") -> bytes:
    """A zip of one member whose name is stored as these bytes."""
    header = struct.pack("<HHHHHIIIHH", 20, flags, 0, 0, 33, zlib.crc32(b"sound"), 5, 5, len(raw), len(extra))
    local = LOCAL + header + raw + extra + b"sound"
    entry = ENTRY + struct.pack("<H", 20) + header + struct.pack("<HHHII", 0, 0, 0, 0, 0) + raw + extra
    return local + entry + END + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)


def unicode_path(raw: bytes, name: str) -> bytes:
    field = b"\1" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


@pytest.mark.parametrize(
    ("raw", "flags", "extra", "name"),
    [
        ("größe.wav".encode(), 1 << 11, b"", "größe.wav"),
        ("größe.wav".encode(), 0, b"", "größe.wav"),  # as Info-ZIP and macOS store it
        ("größe.wav".encode("cp437"), 0, b"", "größe.wav"),
        (b"gr??e.wav", 0, unicode_path(b"gr??e.wav", "größe.wav"), "größe.wav"),
        (b"gr??e.wav", 0, unicode_path(b"another", "größe.wav"), "gr??e.wav"),  # of a name that was changed since
        (b"gr\xff.wav", 1 << 11, b"", "gr\udcff.wav"),
    ],
)
def test_a_name_is_found_however_it_is_stored(zip_of: ZipOf, raw: bytes, flags: int, extra: bytes, name: str) -> None:
    uri = zip_of(entry_with(raw, flags, extra))
    assert list(zip_members.directory(uri).members) == [name]
    assert content(uri, name) == b"sound"


def test_a_zip_over_4_gib_is_read_at_its_end(tmp_path: Path, clips: list[Clip]) -> None:
    """zip64, with a hole of 5 GiB that takes no room on the disk."""
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.seek(5 << 30)
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(clips[0].path, "clip")
    assert zip_members.directory(str(path)).members["clip"].offset == 5 << 30
    assert content(str(path), "clip") == clips[0].path.read_bytes()


class _Pipe(io.BytesIO):
    """What zipfile cannot seek in, so that sizes and sums follow the data."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("a pipe")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sums_that_follow_the_data(zip_of: ZipOf, method: int) -> None:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        archive.writestr("a", b"sound" * 9)
    assert pipe.getvalue()[6] & 8
    assert content(zip_of(pipe.getvalue()), "a") == b"sound" * 9


def test_bombs(zip_of: ZipOf) -> None:
    """By their ratio where the size matters; and where more comes out than is stated."""
    data = made(("bomb", bytes(1 << 20)), ("silence", bytes(1 << 20)), method=zipfile.ZIP_DEFLATED)
    put(data, "<I", 65 << 20, SIZE)
    put(data, "<I", 1 << 19, SIZE, 1)
    uri = zip_of(data)
    assert "as a bomb does" in refusal(uri, "bomb")
    assert "its size is another" in refusal(uri, "silence")
    put(data, "<I", 1 << 20, SIZE, 1)
    assert content(zip_of(data), "silence") == bytes(1 << 20)


def test_members_that_share_their_bytes_are_refused(zip_of: ZipOf) -> None:
    """The bomb without recursion: one kernel of data, and members that each hold the headers of the next."""
    data = made(("a", b"x" * 50), ("b", b"y" * 50), ("c", b"z" * 50))
    for field in (STORED, SIZE):
        put(data, "<I", 131, field)  # a: to the end of b
    uri = zip_of(data)
    assert "also another member's" in refusal(uri, "a")
    assert "also another member's" in refusal(uri, "b")
    assert content(uri, "c") == b"z" * 50
    aliases = made(("a", b"x" * 50), ("b", b"x" * 50))
    put(aliases, "<I", 0, OFFSET, 1)
    assert {*zip_members.directory(zip_of(aliases)).broken} == {"a", "b"}


def test_a_wrong_sum_costs_that_member_only(zip_of: ZipOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored members are compared, too: short ones in memory, long ones by reading them once."""
    data = made(("good", b"sound" * 20), ("bad", b"sound" * 20))
    data[data.index(b"bad") + 50] ^= 1
    uri = zip_of(data)
    for whole_read_bytes in (WHOLE_READ_BYTES, 50):
        monkeypatch.setattr(zip_members, "WHOLE_READ_BYTES", whole_read_bytes)
        assert "its checksum is another" in refusal(uri, "bad")
        assert content(uri, "good") == b"sound" * 20


def test_a_zip_that_is_cut_short_is_refused_whole(zip_of: ZipOf) -> None:
    data = made(("a", b"sound" * 20), ("b", b"sound" * 20))
    for until in (0, 10, len(data) // 2, len(data) - 30, len(data) - 1):
        with pytest.raises(ArchiveError, match=r"a\.zip: not a readable zip: .*; fetch it again"):
            zip_members.directory(zip_of(data[:until]))
    damaged = bytearray(data)
    damaged[data.index(ENTRY, data.index(ENTRY) + 1)] = 0
    with pytest.raises(ArchiveError, match="its directory is damaged at byte 47 of it"):
        zip_members.directory(zip_of(damaged))


def test_a_comment_that_looks_like_an_end_is_none(zip_of: ZipOf) -> None:
    data = made(("a", b"sound"))
    comment = END + bytes(18) + b"and more"
    struct.pack_into("<H", data, len(data) - 2, len(comment))
    assert content(zip_of(data + comment), "a") == b"sound"


def test_a_part_of_a_split_zip_is_refused(zip_of: ZipOf) -> None:
    data = made(("a", b"sound"), ("b", b"sound"))
    put(data, "<H", 1, DISK)
    uri = zip_of(data)
    assert "lies in another part" in refusal(uri, "a")
    assert content(uri, "b") == b"sound"
    struct.pack_into("<HH", data, len(data) - 18, 2, 1)
    with pytest.raises(ArchiveError, match=r"a part of a zip that was split; join the parts"):
        zip_members.directory(zip_of(data))


def test_what_macos_adds_and_folders_are_no_files(zip_of: ZipOf) -> None:
    data = made(
        ("x/", b""), ("y\\", b""), ("__MACOSX/x/._a.wav", b"fork"), ("x/._a.wav", b"fork"), ("x/a.wav", b"sound")
    )
    assert list(zip_members.directory(zip_of(data)).members) == ["x/a.wav"]


def test_a_zip_within_a_zip_is_a_member_and_is_not_opened(zip_of: ZipOf) -> None:
    inner = bytes(made(("a.wav", b"sound")))
    uri = zip_of(made(("inner.zip", inner)))
    assert content(uri, "inner.zip") == inner
    with pytest.raises(FileNotFoundError), zip_members.open_member(uri, "inner.zip/a.wav"):
        pass


def test_names_and_values_that_no_member_has(zip_of: ZipOf) -> None:
    data = made(("nul", b"sound"), ("elsewhere", b"sound"), ("other", b"sound"))
    for mark in (LOCAL, ENTRY):
        data[data.index(b"nul", data.index(mark)) + 1] = 0
    put(data, "<I", 0xFFFFFFFF, OFFSET, 1)  # and no zip64 field
    data[data.index(b"other")] = ord("O")  # the local header has another name than the directory
    uri = zip_of(data)
    assert "holds a NUL" in refusal(uri, "n\0l")
    for name in ("elsewhere", "other"):
        assert "damaged where a member should begin" in refusal(uri, name)


@pytest.mark.slow
def test_a_store_is_asked_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory: its size, the end, and the rest of a long one. A member: one request."""
    monkeypatch.setattr(zip_end, "TAIL_BYTES", 4 << 10)
    files = [(f"{number:04d}.wav", b"%d" % number * 100) for number in range(200)]
    with s3_server() as url:
        for name, some in (("short", files[:20]), ("long", files)):
            storage.write_bytes(f"{BUCKET}/{name}.zip", bytes(made(*some)))
        with gateway(url) as store:
            for name, count in (("short", 2), ("long", 3)):
                store.seen.clear()
                found = zip_members.directory(f"{BUCKET}/{name}.zip")
                assert (len(store.seen), len(found.members)) == (count, 20 if name == "short" else 200)
            store.seen.clear()
            assert len(zip_members.read(f"{BUCKET}/short.zip", len(made(*files[:20]))).members) == 20
            assert content(f"{BUCKET}/long.zip", "0150.wav") == b"150" * 100
            assert [method for method, _ in store.seen] == ["GET", "GET"]
