"""TED-LIUM: lines of STM are spans of NIST files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import soundfile

from llaso_data import formats, records
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip


def read(path: Path, **spec: Any) -> tuple[list[Utterance], Counter[str]]:
    notes: Counter[str] = Counter()
    return [item.utterance for item in formats.read(SourceSpec(path=str(path), **spec), notes)], notes


def talk(root: Path, clip: Clip, stm: str | bytes, name: str = "AlGore_2009") -> Path:
    for folder in ("sph", "stm"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    samples, rate_hz = soundfile.read(str(clip.path), dtype="int16")
    soundfile.write(str(root / "sph" / f"{name}.sph"), samples, rate_hz, format="NIST")
    (root / "stm" / f"{name}.stm").write_bytes(stm if isinstance(stm, bytes) else stm.encode())
    return root


def test_tedlium(tmp_path: Path, clips: list[Clip]) -> None:
    stm = (
        ";; a comment\n"
        "AlGore_2009 1 inter_segment_gap 0 0.1 <o,,unknown> ignore_time_segment_in_scoring\n"
        "AlGore_2009 1 AlGore 0.5 1.0 <o,f0,male> that 's  good(2) <unk>\n"
        "AlGore_2009 1 AlGore 0.1 0.5 <NA> thank you\n"
        "Lost_2009 1 Lost 0 2 <o,f0,female> hello\n"
    )
    talk(tmp_path / "dev", clips[0], stm)
    assert formats.recognise(SourceSpec(path=str(tmp_path))).layout.name == "tedlium"
    found, notes = read(tmp_path, language="en")
    assert [(u.text, u.source.start_s, u.source.end_s, u.speaker.id.value, u.speaker.gender.value) for u in found] == [
        ("thank you", 0.1, 0.5, "AlGore", "unknown"),
        ("that 's good(2) <unk>", 0.5, 1.0, "AlGore", "male"),
        ("hello", 0.0, 2.0, "Lost", "female"),
    ]
    assert found[1].id == records.utterance_id(tmp_path.name, "dev/sph/AlGore_2009.sph", None, 0.5, 1.0, channel=0)
    assert len(limited.decode_source(found[1].source)) == 8000
    assert not any(u.failure for u in found)
    assert notes == {"lines that are not to be scored: dev/stm/AlGore_2009.stm:2": 1}
    assert [u.text for u in read(tmp_path, pattern="**/Al*")[0]] == ["thank you", "that 's good(2) <unk>"]


def test_broken_lines_are_counted(tmp_path: Path, clips: list[Clip]) -> None:
    lines = [
        b"AlGore_2009 1 AlGore 0.1 0.5 <NA> fine",
        b"AlGore_2009 1 AlGore",
        b"AlGore_2009 1 AlGore soon 0.5 <NA> x",
        b"AlGore_2009 1 AlGore 0.9 0.5 <NA> x",
        b"AlGore_2009 1 AlGore -1 0.5 <NA> x",
        b"AlGore_2009 9 AlGore 0 0.5 <NA> x",
        b"../AlGore_2009 1 AlGore 0 0.5 <NA> x",
        b"AlGore_2009 1 AlGore 0.1 0.5 <NA> again",
        b"",
        b"AlGore_2009 1 AlGore 0 0.7 <NA> caf\xe9",
        b"AlGore_2009 1 AlGore 0 0.8",
    ]
    found, _ = read(talk(tmp_path, clips[0], b"\r\n".join(lines)))
    assert [(u.text, u.source.end_s) for u in found if not u.failure] == [(None, 0.8), ("fine", 0.5)]
    failures = [u.failure for u in found if u.failure]
    places = sorted(
        (failure.reason, int(failure.detail.partition(".stm:")[2].partition(":")[0])) for failure in failures
    )
    assert places == [*(("bad_row", line) for line in range(2, 9)), ("bad_text", 10)]


def test_the_third_release_is_not_read_twice(tmp_path: Path, clips: list[Clip]) -> None:
    line = "AlGore_2009 1 AlGore 0.1 0.5 <NA> fine\n"
    for folder in ("data", "legacy/train"):
        talk(tmp_path / folder, clips[0], line)
    found, notes = read(tmp_path)
    assert [u.source.uri.removeprefix(str(tmp_path)) for u in found] == ["/legacy/train/sph/AlGore_2009.sph"]
    assert notes == {
        "not read: .stm of `data`, which `legacy` has too: data/stm/AlGore_2009.stm": 1,
        "not read: audio that no row names: data/sph/AlGore_2009.sph": 1,
    }
    assert len(read(tmp_path / "data")[0]) == 1


def test_stm_without_lines_or_of_nothing(tmp_path: Path, clips: list[Clip]) -> None:
    talk(tmp_path, clips[0], ";; nothing\n")
    with pytest.raises(LLaSOError, match=r"its \.stm files have no line"):
        read(tmp_path)
    with pytest.raises(LLaSOError, match=r"no \.stm below it"):
        read(tmp_path / "sph", type="tedlium")
