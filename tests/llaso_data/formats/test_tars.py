"""Tars of other programs as a corpus: links, names with dots, joined archives."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.errors import AudioError
from llaso_data.formats import read
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.support.tars import packed, sparse

FLAC = audio.encode(np.full(1600, 50, np.int16), "flac")


def utterances(path: Path) -> list[Utterance]:
    return [item.utterance for item in read(SourceSpec(path=str(path)))]


def failures(found: list[Utterance]) -> list[tuple[str, str]]:
    return [(u.failure.reason, u.failure.detail) for u in found if u.failure]


def test_names_with_dots_pair_with_their_own_texts(tmp_path: Path) -> None:
    stems = ["talk_11.708_13.970", "talk_11.990_15.2", "utt.0001", "utt.0002", "utt.0003", "one.5", "n.0", "n.1"]
    members = {f"{stem}.{kind}": data for stem in stems for kind, data in (("flac", FLAC), ("txt", stem.encode()))}
    tar = tmp_path / "a.tar"
    tar.write_bytes(packed([*members.items(), (".DS_Store", b""), ("__meta__", b""), ("README", b"")]))
    notes: Counter[str] = Counter()
    found = [item.utterance for item in read(SourceSpec(path=str(tar)), notes)]
    assert [(u.source.member, u.text) for u in found] == [(f"{stem}.flac", stem) for stem in sorted(stems)]
    assert notes == {"samples whose key ends at the last dot": 5, "members that belong to no sample": 3}


def test_links_in_tars_are_read_and_those_that_lead_nowhere_are_counted(tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    tar.write_bytes(
        packed(
            [
                ("c.flac", "-> x/b.flac"),
                ("./a.flac", FLAC),
                ("x/b.flac", "=> ./a.flac"),
                ("x/b.txt", b"two"),
                ("c.txt", "-> ./x/b.txt"),
                ("d.flac", "-> /etc/passwd"),
                ("e.flac", "-> e.flac"),
                ("f.flac", "=> away.flac"),
                ("x/g.flac", "-> ../../a.flac"),
                ("h.flac", FLAC),
                ("h.txt", "-> no.txt"),
            ]
        )
    )
    found = utterances(tar)
    fine = [u for u in found if not u.failure]
    assert [(u.source.member, u.text) for u in fine] == [
        ("./a.flac", None),
        ("c.flac", "two"),
        ("x/b.flac", "two"),
    ]
    assert [(reason, detail.split("!")[1].split(":")[0]) for reason, detail in failures(found)] == [
        *(("unreadable", name) for name in ("d.flac", "e.flac", "f.flac")),
        ("bad_text", "h.txt"),
        ("unreadable", "x/g.flac"),
    ]
    assert len({audio.audio_id(audio.decode(str(tar), u.source.member)[0]) for u in fine}) == 1
    rows = [{"audio": "a.tar", "member": name} for name in ("c.flac", "e.flac")]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    linked, lost = utterances(tmp_path / "m.jsonl")
    assert len(audio.decode(linked.source.uri, linked.source.member)[0]) == 1600
    with pytest.raises(AudioError, match=r"a\.tar!e\.flac: a link that leads back to itself"):
        audio.decode(lost.source.uri, lost.source.member)


def test_joined_tars_are_read_to_the_last_end(tmp_path: Path) -> None:
    tars = [packed([(f"{n}.flac", FLAC)]) for n in range(3)]
    (tmp_path / "a.tar").write_bytes(b"".join(tars))
    (tmp_path / "b.tar").write_bytes(tars[0] + b"no tar" * 100)
    found = utterances(tmp_path)
    assert [u.source.member for u in found if not u.failure] == ["0.flac", "1.flac", "2.flac", "0.flac"]
    assert [(reason, "comes what is no tar" in detail) for reason, detail in failures(found)] == [("truncated", True)]


def test_a_sparse_member_fails_alone(tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    tar.write_bytes(packed([("a.flac", FLAC)])[: 512 + len(FLAC) + -len(FLAC) % 512] + sparse("b.flac", FLAC))
    found = utterances(tar)
    assert [u.source.member for u in found if not u.failure] == ["a.flac"]
    assert [(reason, "b.flac: it is stored sparse" in detail) for reason, detail in failures(found)] == [
        ("unreadable", True)
    ]
