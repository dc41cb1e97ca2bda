"""LLaSO's corpora with their clips still in archives: the same samples as unpacked, and every broken thing counted."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from llaso_data import formats
from llaso_data.formats.files.file_tree import open_tree
from llaso_data.formats.files.zipped_names import ZippedNames
from llaso_data.io import zip_members
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Sample
from tests.conftest import Clip
from tests.support.conversions import run, shards_of
from tests.support.fake_hub import fake_hub
from tests.support.object_stores import BUCKET, gateway, s3_server, upload

pytest.importorskip("msgspec")

VOICES = ("mls/en\\a.wav", "mls/en\\b.wav", "cv/data\\d.wav", "gone\\c.wav")
PARTS = {
    "LLaSO-Align-audio.part1.zip": ("audio/mls/en/a.wav", "audio\\mls\\en\\b.wav"),
    "LLaSO-Align-audio.part10.zip": ("cv/data/d.wav", "cv/data/spare.wav"),
}


@pytest.fixture
def archived(tmp_path: Path, clips: Sequence[Clip]) -> Path:
    """The published tree: JSON in a folder, zips beside it."""
    root = tmp_path / "archived" / "LLaSO-Align"
    (root / "text_audio").mkdir(parents=True)
    rows = [
        {
            "voice": [voice],
            "conversations": [{"from": "human", "value": "Transcribe.<audio>"}, {"from": "gpt", "value": f"{n}"}],
        }
        for n, voice in enumerate(VOICES)
    ]
    (root / "text_audio" / "ASR_stage1_train.json").write_text(json.dumps(rows, indent=2))
    sounds = iter(clip.path.read_bytes() for clip in clips)
    for method, (part, names) in zip((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), PARTS.items(), strict=True):
        with zipfile.ZipFile(root / part, "w", method) as archive:
            for name in names:
                archive.writestr(name, next(sounds))
    return root


def unpacked(archived: Path) -> Path:
    """The same corpus with its zips unpacked where they lay."""
    root = archived.parent.parent / "unpacked" / archived.name
    for path in archived.rglob("*.json"):
        (root / path.relative_to(archived)).parent.mkdir(parents=True)
        (root / path.relative_to(archived)).write_bytes(path.read_bytes())
    for path in archived.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                target = root / name.replace("\\", "/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return root


def read(path: Path | str, notes: Counter[str] | None = None, **spec: Any) -> list[Sample | Failure]:
    found = formats.read_samples(SourceSpec(path=str(path), **spec), notes)
    return [one if isinstance(one, Failure) else one.sample for one in found]


def failures(path: Path) -> list[tuple[str, str]]:
    found = [(one.reason, one.detail.replace(f"{path}/", "")) for one in read(path) if isinstance(one, Failure)]
    return found[:-1]  # the last one is of the row whose clip is nowhere


def test_a_corpus_in_its_archives_gives_the_samples_that_it_gives_unpacked(archived: Path) -> None:
    notes: Counter[str] = Counter()
    packed, plain = read(archived, notes), read(unpacked(archived))
    assert isinstance(packed[3], Failure) and isinstance(plain[3], Failure)
    assert (packed[3].reason, packed[3].detail.partition(" below ")[0]) == (
        "missing",
        f"{archived}/text_audio/ASR_stage1_train.json:4: voice 'gone/c.wav': no such audio",
    )
    for one, other in zip(packed[:3], plain[:3], strict=True):
        assert isinstance(one, Sample) and isinstance(other, Sample)
        assert (one.id, one.messages, one.provenance) == (other.id, other.messages, other.provenance)
        assert [audio.id for audio in one.audios] == [audio.id for audio in other.audios]
    sources = [one.audios[0].source for one in packed[:3] if isinstance(one, Sample)]
    assert [(source.uri.rpartition("/")[2], source.member) for source in sources] == [
        ("LLaSO-Align-audio.part1.zip", "audio/mls/en/a.wav"),
        ("LLaSO-Align-audio.part1.zip", "audio\\mls\\en\\b.wav"),
        ("LLaSO-Align-audio.part10.zip", "cv/data/d.wav"),
    ]
    assert {source.corpus for source in sources} == {"LLaSO-Align"}
    assert notes == {"members of zips that no row names: LLaSO-Align-audio.part10.zip!cv/data/spare.wav": 1}


def test_shards_of_a_corpus_in_its_archives_hold_the_same_sound(archived: Path, tmp_path: Path) -> None:
    sets = []
    for name, corpus in (("packed", archived), ("plain", unpacked(archived))):
        summary = run(tmp_path / name, corpus, samples_per_part=2)
        assert (summary.rows, summary.samples, summary.problems) == (4, 3, {"missing": 1})
        sets.append({one.id: (one.audios[0].audio_id, sounds) for one, sounds in shards_of(tmp_path / name)})
    assert sets[0] == sets[1]


def test_files_and_members_compete_by_one_rule(archived: Path, clips: Sequence[Clip]) -> None:
    """The longest common end, then the shortest path; of the same path the file, then the first zip."""
    for name in ("elsewhere/en/a.wav", "cv/data/d.wav", "x/audio/mls/en/b.wav"):
        (archived / name).parent.mkdir(parents=True, exist_ok=True)
        (archived / name).write_bytes(clips[0].path.read_bytes())
    with zipfile.ZipFile(archived / "LLaSO-Align-audio.part2.zip", "w") as archive:
        archive.writestr("mls/en/b.wav", clips[0].path.read_bytes())
        archive.writestr("audio/mls/en/a.wav", clips[0].path.read_bytes())
        archive.writestr("away/c.wav", clips[0].path.read_bytes())
    notes: Counter[str] = Counter()
    sources = [one.audios[0].source for one in read(archived, notes) if isinstance(one, Sample)]
    assert [(source.uri.removeprefix(f"{archived}/"), source.member) for source in sources] == [
        ("LLaSO-Align-audio.part1.zip", "audio/mls/en/a.wav"),
        ("LLaSO-Align-audio.part2.zip", "mls/en/b.wav"),
        ("cv/data/d.wav", None),
        ("LLaSO-Align-audio.part2.zip", "away/c.wav"),
    ]
    assert notes["audio found by its name alone, in another folder: gone/c.wav is taken for away/c.wav"] == 1


def test_a_zip_that_cannot_be_read_is_counted_and_the_others_go_on(archived: Path) -> None:
    part = archived / "LLaSO-Align-audio.part1.zip"
    part.write_bytes(part.read_bytes()[:-40])
    (reason, detail), *rows = failures(archived)
    assert (reason, detail) == (
        "unreadable",
        "LLaSO-Align-audio.part1.zip: not a readable zip: its end is missing; fetch it again, whole",
    )
    assert [reason for reason, _ in rows] == ["missing", "missing"]


def changed(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def test_rows_of_a_member_that_cannot_be_had_say_why(archived: Path) -> None:
    part = archived / "LLaSO-Align-audio.part1.zip"
    changed(part, lambda data: data.__setitem__(data.index(b"PK\1\2") + 8, 1))
    ((reason, detail),) = failures(archived)
    assert reason == "unreadable"
    assert detail.partition(": ")[2] == (
        "voice 'mls/en/a.wav': LLaSO-Align-audio.part1.zip!audio/mls/en/a.wav: "
        "it is encrypted; unpack the zip with its password first"
    )


def test_a_wrong_sum_is_found_when_the_sound_is_read_and_costs_its_rows_only(archived: Path, tmp_path: Path) -> None:
    changed(archived / "LLaSO-Align-audio.part1.zip", lambda data: data.__setitem__(5000, data[5000] ^ 1))
    summary = run(tmp_path / "out", archived)
    assert (summary.samples, summary.problems) == (2, {"missing": 1, "unreadable": 1})
    assert "LLaSO-Align-audio.part1.zip!audio/mls/en/a.wav" in summary.examples["unreadable"][0]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_of_strangers(archived: Path) -> None:
    """Names lead nowhere, what macOS adds is no audio, a zip within a zip is not opened, and repeats are noted."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("gone/c.wav", b"")
    for part in archived.glob("*.zip"):
        part.unlink()
    with zipfile.ZipFile(archived / "p.zip", "w") as archive:
        for name in ("../../mls/en/a.wav", "__MACOSX/mls/en/._b.wav", "__MACOSX/cv/data/d.wav", "C:\\mls\\en\\b.wav"):
            archive.writestr(name, b"sound")
        archive.writestr("../../mls/en/a.wav", b"again")
        archive.writestr("inner.zip", inner.getvalue())
    notes: Counter[str] = Counter()
    found = read(archived, notes)
    assert [one.audios[0].source.member if isinstance(one, Sample) else one.reason for one in found] == [
        "../../mls/en/a.wav",
        "C:\\mls\\en\\b.wav",
        "missing",
        "missing",
    ]
    assert notes == {
        "members of zips whose name came before: p.zip!../../mls/en/a.wav": 1,
        "members of zips that no row names: p.zip!inner.zip": 1,
    }


def test_members_take_their_names_and_eight_bytes(tmp_path: Path) -> None:
    """With the 12 to 24 bytes a member of the index, a million of 45 letters take 77 to 89 MB; here 2,000 do."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number:045d}", b"")
    (file,) = open_tree(str(tmp_path), ()).files
    names = ZippedNames()
    names.add(file, zip_members.directory(str(tmp_path / "a.zip")))
    (one,) = names._zips
    assert len(names) == 2000
    assert len(one.names) + one.ends.nbytes + one.sizes.nbytes == 2000 * (45 + 8)
    assert struct.calcsize("I") == 4  # of the machine that says so


@pytest.mark.slow
def test_on_a_store_a_zip_is_one_request(archived: Path) -> None:
    """The list of the bucket says how long each is; clips are read when they are decoded."""
    here = read(archived)
    with s3_server() as url:
        upload(archived, f"{BUCKET}/LLaSO-Align")
        with gateway(url) as store:
            there = read(f"{BUCKET}/LLaSO-Align")
            zips = [path for method, path in store.seen if path.endswith(".zip")]
    assert len(zips) == len(PARTS)
    assert [one.id for one in here if isinstance(one, Sample)] == [one.id for one in there if isinstance(one, Sample)]


@pytest.mark.slow
def test_on_the_hub_a_folder_is_read_where_it_lies(archived: Path) -> None:
    here = read(archived)
    (archived.parent / "hub" / "me").mkdir(parents=True)
    archived.rename(archived.parent / "hub" / "me" / archived.name)
    with fake_hub(archived.parent / "hub") as hub:
        there = read(f"hf://datasets/me/{archived.name}")
        zips = [request for request in hub.seen if ".zip" in request.path]
    assert [one.id for one in here if isinstance(one, Sample)] == [one.id for one in there if isinstance(one, Sample)]
    assert len(zips) == 2 * len(PARTS)  # the file's address, and its last bytes from there
