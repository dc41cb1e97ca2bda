"""VoxPopuli: a packed table with sessions, or tables with utterances that were cut."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llaso_data import formats, records
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.formats.files import gzipped
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip

HEADER = "session_id|id_|original_text|normed_text|speaker_id|split|gender|start_time|end_time"
SESSION = "20180212-0900-PLENARY"


def read(path: Path, **spec: Any) -> tuple[list[Utterance], Counter[str]]:
    notes: Counter[str] = Counter()
    return [item.utterance for item in formats.read(SourceSpec(path=str(path), **spec), notes)], notes


def packed(root: Path, *rows: str | bytes, header: str = HEADER) -> Path:
    lines = [row if isinstance(row, bytes) else row.encode() for row in (header, *rows)]
    (root / "transcribed_data" / "de").mkdir(parents=True, exist_ok=True)
    (root / "transcribed_data" / "de" / "asr_de.tsv.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return root


def session(root: Path, clip: Clip, name: str = f"raw_audios/original/2018/{SESSION}_original.wav") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(clip.path, root / name)
    return root


def test_sessions_and_cut_utterances(tmp_path: Path, clips: list[Clip]) -> None:
    session(tmp_path, clips[0])
    session(tmp_path, clips[1], f"transcribed_data/de/2018/{SESSION}-u3.wav")
    packed(
        tmp_path,
        f'{SESSION}|u2|"Guten | Tag"|guten tag|111|train|male|0.5|1.0',
        f"{SESSION}|u1||danke|None|dev|female|0.0|0.5",
        f'{SESSION}|u3|Ja, 5" lang|ja|112|test|male|0.0|0.5',
        "20200101|u4|fehlt|fehlt|112|test|male|0.0|0.5",
    )
    assert formats.recognise(SourceSpec(path=str(tmp_path))).layout.name == "voxpopuli"
    found, notes = read(tmp_path)
    assert [(u.text, u.source.start_s, u.source.end_s, u.speaker.id.value, u.speaker.gender.value) for u in found] == [
        ("danke", 0.0, 0.5, "unknown", "female"),
        ("Guten | Tag", 0.5, 1.0, "111", "male"),
        ("fehlt", 0.0, 0.5, "112", "male"),
        ('Ja, 5" lang', None, None, "112", "male"),
    ]
    assert {u.language for u in found} == {"de"} and not any(u.failure for u in found)
    path = f"raw_audios/original/2018/{SESSION}_original.wav"
    assert found[1].id == records.utterance_id(tmp_path.name, path, None, 0.5, 1.0)
    assert len(limited.decode_source(found[1].source)) == 8000
    assert notes == {"columns not used of transcribed_data/de/asr_de.tsv.gz: normed_text, split": 2}
    assert [u.text for u in read(tmp_path, pattern="transcribed_data/**")[0]] == ['Ja, 5" lang']


def test_spans_of_vad(tmp_path: Path, clips: list[Clip]) -> None:
    session(tmp_path, clips[0])
    rows = (f"{SESSION}|u1|a|a|1|[(0.1, 0.4), (0.5, 0.9)]", f"{SESSION}|u2|b|b|1|[]", f"{SESSION}|u3|c|c|1|[[[")
    packed(tmp_path, *rows, header="session_id|id_|original_text|normed_text|speaker_id|vad")
    found, _ = read(tmp_path)
    assert [(u.source.start_s, u.source.end_s) for u in found if not u.failure] == [(0.1, 0.9)]
    assert ["no start_time and end_time" in u.failure.detail for u in found if u.failure] == [True, True]


def test_tables_of_cut_utterances(tmp_path: Path, clips: list[Clip]) -> None:
    root = session(tmp_path, clips[0], "transcribed_data/fr/2018/a-1.wav") / "transcribed_data" / "fr"
    header = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\n"
    (root / "asr_train.tsv").write_text(
        header + 'a-1\tDit "oui\tdit oui\t7\ttrain\tfemale\nb-1\tnon\tnon\t7\ttrain\tm\n'
    )
    found, _ = read(tmp_path)
    assert [(u.text, u.language, u.source.uri.rpartition("/")[2]) for u in found] == [
        ("non", "fr", "b-1.ogg"),
        ('Dit "oui', "fr", "a-1.wav"),
    ]
    assert formats.recognise(SourceSpec(path=str(root / "asr_train.tsv"))).layout.name == "voxpopuli"
    assert len(read(root / "asr_train.tsv")[0]) == 2


def test_broken_rows_are_counted_with_their_lines(tmp_path: Path, clips: list[Clip]) -> None:
    session(tmp_path, clips[0])
    good = f"{SESSION}|u1|gut|gut|1|train|male|0|1"
    bad: list[str | bytes] = ["too|few", f"{SESSION}|u2|x|x|1|train|m|soon|1", f"{SESSION}|u3|x|x|1|train|m|2|1"]
    bad += [f"{SESSION}|../u|x|x|1|train|m|0|1", good, f"{SESSION}||x|x|1|train|m|0|1"]
    packed(tmp_path, good, *bad, f"{SESSION}|u7|caf\xe9|x|1|train|m|0|0.7".encode("latin-1"))
    found, _ = read(tmp_path)
    failures = [u.failure for u in found if u.failure]
    lines = sorted((failure.reason, failure.detail.partition(".tsv.gz:")[2].partition(":")[0]) for failure in failures)
    assert lines == [*(("bad_row", str(line)) for line in range(3, 9)), ("bad_text", "9")]
    assert [u.text for u in found if not u.failure] == ["gut"]


def test_a_table_that_is_cut_short_gives_the_rows_before_it(tmp_path: Path, clips: list[Clip]) -> None:
    rows = [f"{SESSION}|u{n}|{n * 7919 % 10007} {n * n % 9973}|x|1|train|male|{n}|{n + 1}" for n in range(20_000)]
    packed(session(tmp_path, clips[0]), *rows)
    table = tmp_path / "transcribed_data/de/asr_de.tsv.gz"
    table.write_bytes(table.read_bytes()[:-1000])
    found, _ = read(tmp_path)
    assert [u.failure.reason for u in found if u.failure] == ["bad_row"]
    assert "breaks off or is damaged" in found[-1].failure.detail if found[-1].failure else len(found) > 15_000
    assert len(found) > 15_000


def test_what_unpacks_without_end_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzipped, "_ALWAYS_BYTES", 1 << 20)  # so that the test takes no minute
    packed(tmp_path, f"{SESSION}|u1|gut|gut|1|train|male|0|1", b"\n" * (40 << 20))
    found, _ = read(tmp_path)
    assert [u.text for u in found if not u.failure] == ["gut"]
    (failure,) = (u.failure for u in found if u.failure)
    assert "it unpacks to more than" in failure.detail


def test_what_is_no_such_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "asr_de.tsv.gz").write_bytes(b"no gzip")
    with pytest.raises(LLaSOError, match="no audio"):
        read(tmp_path)
    with pytest.raises(LLaSOError, match=r"no asr_….tsv or asr_….tsv.gz with the columns"):
        read(tmp_path, type="voxpopuli")
    packed(tmp_path)
    with pytest.raises(LLaSOError, match="hold no row"):
        read(tmp_path)
