"""Tables and JSON are read in the encoding that they say, or refused by name; NIST files are audio."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from llaso_data import audio, formats
from llaso_data.errors import LLaSOError
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from llaso_data.shards import foreign, reader
from llaso_data.shards.validate import validate
from tests.support.tars import packed

WAV = audio.encode(np.full(800, 50, np.int16), "wav")


def read(path: Path, **said: str) -> list[Utterance]:
    return [item.utterance for item in formats.read(SourceSpec(path=str(path), **said))]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_a_table_is_read_by_its_byte_order_mark(tmp_path: Path, encoding: str, kind: str) -> None:
    row = {"audio": "ä.wav", "text": "Grüße, 世界"}
    text = {
        "csv": 'audio,text\nä.wav,"Grüße, 世界"\n',
        "tsv": "audio\ttext\nä.wav\tGrüße, 世界\n",
        "jsonl": json.dumps(row, ensure_ascii=False) + "\n",
        "json": "\n[" + json.dumps(row, ensure_ascii=False) + "]",
    }[kind]
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / f"m.{kind}").write_bytes((mark + text).encode(encoding))
    (found,) = read(tmp_path / f"m.{kind}")
    assert (found.text, Path(found.source.uri).name) == ("Grüße, 世界", "ä.wav")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_one_without_a_mark_is_refused_in_plain_words(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"m.{kind}").write_bytes('audio,text\na.wav,"ä"\n'.encode("utf-16-le"))
    with pytest.raises(LLaSOError, match=rf"m\.{kind}: it holds NUL characters, as UTF-16 does; save it as UTF-8"):
        read(tmp_path / f"m.{kind}")
    (tmp_path / f"m.{kind}").write_bytes(b"\xff\xfe" + "audio\na.wav\n".encode("utf-16-le") + b"\x00\xd8a")
    with pytest.raises(LLaSOError, match="not UTF-16-LE, as its byte-order mark says"):
        read(tmp_path / f"m.{kind}")


def test_transcripts_say_their_encoding_too(tmp_path: Path) -> None:
    (tmp_path / "a.WAV").write_bytes(WAV)
    (tmp_path / "a.TXT").write_bytes("Grüße".encode("utf-16"))
    assert [u.text for u in read(tmp_path)] == ["Grüße"]


@pytest.mark.parametrize("ending", ["sph", "nist", "SPH", "wv1"])
def test_nist_files_in_a_folder_are_read(tmp_path: Path, ending: str) -> None:
    pcm = np.arange(1600, dtype=np.int16)
    soundfile.write(str(tmp_path / f"a.{ending}"), pcm, 16_000, format="NIST", subtype="PCM_16")
    (tmp_path / "a.txt").write_text("one")
    (found,) = read(tmp_path)
    assert found.text == "one" and np.array_equal(audio.decode(found.source.uri)[0], pcm)


@pytest.mark.parametrize(
    "said",
    [
        b'{"text": NaN}',
        b'{"a": [-Infinity]}',
        b'{"text": "a"} x',
        b'["a"]',
        b'{"text": "\xff"}',
        b"{'text': 1}",
        b"",
        '{"text": "a"}'.encode("utf-16"),
    ],
)
def test_json_that_is_no_json_is_named_by_index_and_validate(tmp_path: Path, said: bytes) -> None:
    good = [("a.wav", WAV), ("b.json", b'{"text":"b"}'), ("b.wav", WAV)]
    (tmp_path / "x.tar").write_bytes(packed([("a.json", said), *good]))
    summary = foreign.index_foreign(str(tmp_path))
    assert len(summary.problems) == 1 and "a.json: not readable JSON" in summary.problems[0]
    assert summary.samples == 2 and [p.what for p in validate(str(tmp_path)).problems if "a.json" in p.what]


def test_an_index_has_languages_by_their_names(tmp_path: Path) -> None:
    said = [b'{"language":"German"}', b'{"language":"nan-tw"}', b'{"language":"en,fr"}', b'{"language":"und"}']
    entries = [(f"{n}.{kind}", data) for n, one in enumerate(said) for kind, data in (("json", one), ("wav", WAV))]
    (tmp_path / "x.tar").write_bytes(packed(entries))
    summary = foreign.index_foreign(str(tmp_path), language="Upper Sorbian")
    assert reader.open_index(str(tmp_path)).table["language"].to_pylist() == ["de", "nan-TW", None, "hsb"]
    assert len(summary.problems) == 1 and "'en,fr' is no language" in summary.problems[0]
    with pytest.raises(LLaSOError, match="is no language"):
        foreign.index_foreign(str(tmp_path), language="klingonish")
