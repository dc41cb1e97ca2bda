"""More of tests/support/bad_inputs.py: corpora whose tables, transcripts and archives are broken."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from tests.support.bad_inputs import WORDS, Expected, Speech

BAD_ROW = ("failed.bad_row",)
BAD_TEXT = ("failed.bad_text",)


def manifest(folder: Path, speech: Speech) -> list[Expected]:
    """JSON lines with a byte order mark and, here and there, Windows line ends."""
    speech.write(folder / "a.wav")
    speech.write(folder / "b b.wav")
    huge = "9" * 400
    lines: list[tuple[bytes, Expected | None]] = [
        (_row(audio="a.wav", text=WORDS), Expected("/a.wav")),
        (_row(audio="b b.wav", text=None, start=0.0, end=60.0), Expected("/b b.wav 0-60 s", ("failed.span_outside",))),
        (_row(audio="nowhere.wav"), Expected("/nowhere.wav", ("failed.missing",))),
        (_row(audio="a.wav", start=90, end=91), Expected("/a.wav 90-91 s", ("failed.span_outside",))),
        (_row(audio="a.wav", text=WORDS), Expected("", BAD_ROW, ":5: the same audio and span")),
        (b'{"audio": "a.wav", "text": ', Expected("", BAD_ROW, ":6: not JSON")),
        (b"[1, 2]", Expected("", BAD_ROW, ":7: not a JSON object")),
        (_row(text="no audio"), Expected("", BAD_ROW, ":8: `audio` is missing")),
        (_row(audio=7), Expected("", BAD_ROW, ":9: `audio` is missing")),
        (_row(audio="b b.wav", text=["The", "quick"]), Expected("", BAD_ROW, ":10: ")),
        (_row(audio="a.wav", start="soon"), Expected("", BAD_ROW, ":11: start is not a number")),
        (_row(audio="a.wav", start=2, end=1), Expected("", BAD_ROW, ":12: it ends at 1 s")),
        (f'{{"audio": "a.wav", "end": {huge}}}'.encode(), Expected("", BAD_ROW, ":13: end is not")),
        (f'{{"audio": "a.wav", "end": {huge * 12}}}'.encode(), Expected("", BAD_ROW, ":14: not JSON")),
        (b'{"audio": "a.wav", "start": 0.001, "end": 1e305}', Expected("", BAD_ROW, ":15: end is not")),
        (b'{"audio": "a.wav", "start": NaN, "end": Infinity}', Expected("", BAD_ROW, ":16: end is not")),
        (_row(audio="a\0.wav"), Expected("", BAD_ROW, ":17: `audio` is not a path")),
        (b'{"audio": "b b.wav", "text": "\xff\xfe"}', Expected("/b b.wav", BAD_TEXT, ":18: text is not")),
        (b'{"audio": "b b.wav", "end": 0.9, "text": "\\ud83c"}', Expected("/b b.wav 0-0.9 s", BAD_TEXT)),
        (b"[" * 100_000, Expected("", BAD_ROW, ":20: not JSON")),
        (b"  \t ", None),
        (b'{"audio": "caf\xe9.wav"}', Expected("/caf\\udce9.wav", ("failed.bad_name",))),
        (_row(audio=f"{'x' * 5000}.wav"), Expected(f"/{'x' * 5000}.wav", ("failed.missing", "failed.unreadable"))),
        (_row(audio="bucket://x.wav"), Expected("", BAD_ROW, ":24: bucket://x.wav: begins with bucket://")),
    ]
    data = b"".join(line + (b"\r\n" if number % 3 else b"\n") for number, (line, _) in enumerate(lines))
    (folder / "manifest.jsonl").write_bytes(b"\xef\xbb\xbf" + data)
    return [expected for _, expected in lines if expected is not None]


def _row(**values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode()


def quoted(folder: Path, speech: Speech) -> list[Expected]:
    """A CSV with quotes that nothing closes, or something else does."""
    speech.write(folder / "a.wav").with_suffix(".txt").unlink()
    speech.write(folder / "b.wav").with_suffix(".txt").unlink()
    rows = (
        "audio,text,start",
        'nowhere.wav,"never closed,0',
        'a.wav,"The quick brown fox\r\njumps over the ""lazy"" dog.",0',
        'nowhere.wav,"closed ""by"" the next,1',
        'nowhere.wav,"The" quick,2',
        f"b.wav,{WORDS},0",
        'nowhere.wav,"open at the end,3',
    )
    (folder / "quoted.csv").write_bytes("\r\n".join(rows).encode())
    unclosed = "a quote opens a cell and is not closed"
    return [
        Expected("", BAD_ROW, f"quoted.csv:2: {unclosed}"),
        Expected("/a.wav"),
        Expected("", BAD_ROW, f"quoted.csv:5: {unclosed}"),
        Expected("", BAD_ROW, "quoted.csv:6: not a row (a cell goes on after its closing quote"),
        Expected("/b.wav"),
        Expected("", BAD_ROW, f"quoted.csv:8: {unclosed}"),
    ]


def common_voice(folder: Path, speech: Speech) -> list[Expected]:
    speech.write(folder / "clips" / "cv_1.wav").with_suffix(".txt").unlink()
    speech.write(folder / "clips" / "cv_2.wav").with_suffix(".txt").unlink()
    rows = (
        b"client_id\tpath\tsentence\tage\tgender\taccents\tlocale",
        b'ab\tcv_1.wav\t"The quick brown fox jumps over the lazy dog.\ttwenties\tmale\t\ten',
        b"ab\tcv_2.wav",
        b"ab\tcv_9.mp3\tLost.\t\t\t\ten",
        b"ab\t\tNo clip.\t\t\t\ten",
        b"ab\tcv_2.wav\tThe\0 quick\t\t\t\ten",
        b"ab\tcv_2.wav\tCaf\xe9.\t\t\t\ten",
        b"a\0b\tcv_\0.wav\tx\t\t\t\ten",
    )
    (folder / "validated.tsv").write_bytes(b"\r\n".join(rows))
    table = "/validated.tsv"
    return [
        Expected("/cv_1.wav"),
        Expected("", BAD_ROW, f"{table}:3: 2 cells where the header has 7"),
        Expected("/cv_9.mp3", ("failed.missing",)),
        Expected("", BAD_ROW, f"{table}:5: `path` is empty"),
        Expected("/cv_2.wav", BAD_TEXT, f"{table}:6: text is not"),
        Expected("", BAD_ROW, f"{table}:7: the same audio"),
        Expected("/cv_\\x00.wav", ("failed.bad_name",)),
    ]


def librispeech(folder: Path, speech: Speech) -> list[Expected]:
    chapter = folder / "84" / "121"
    for number in range(2):
        speech.write(chapter / f"84-121-000{number}.flac").with_suffix(".txt").unlink()
    first = f"84-121-0000 {WORDS.upper()}\n".encode()
    others = b"84-121-0001 CAF\xe9\n\xff\xfe NO ID\n../84-121-0000 HELLO\n84-121-0009 LOST\n"
    (chapter / "84-121.trans.txt").write_bytes(first + others)
    (folder / "SPEAKERS.TXT").write_bytes(b";x\n84|F\n84 | \xff | a | b | c\n")
    table = "/84-121.trans.txt"
    return [
        Expected("/84-121-0000.flac"),
        Expected("/84-121-0001.flac", BAD_TEXT, f"{table}:2: not UTF-8"),
        Expected("", BAD_ROW, f"{table}:3: a line is `ID TEXT`"),
        Expected("", BAD_ROW, f"{table}:4: "),
        Expected("/84-121-0009.flac", ("failed.missing",)),
    ]


def tars(folder: Path, speech: Speech) -> list[Expected]:
    """Archives: of no bytes, of no tar, cut short, and with members that mean ill or nothing."""
    heard = speech.write(folder / "made" / "one.wav")
    (folder / "empty.tar").write_bytes(b"")
    (folder / "zeros.tar").write_bytes(bytes(10_240))
    (folder / "text.tar").write_text("I am not a tar. " * 100)
    with tarfile.open(folder / "good.tar", "w") as tar:
        tar.add(heard, "../../one.wav")
        tar.add(heard.with_suffix(".txt"), "../../one.txt")
        tar.add(heard, "../../one.wav")
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.add(heard.with_suffix(".txt"), "alone.txt")
    whole = (folder / "good.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[:20_000])
    shutil.rmtree(folder / "made")
    return [
        Expected("/empty.tar", ("failed.unreadable",)),
        Expected("/zeros.tar", ("failed.empty",)),
        Expected("/text.tar", ("failed.unreadable",)),
        Expected("/good.tar!../../one.wav"),
        Expected("/good.tar", BAD_ROW, "good.tar!../../one.wav (repeat 1)"),
        Expected("/good.tar", BAD_ROW, "good.tar!alone: no audio"),
        Expected("/good.tar", ("failed.unreadable",), "good.tar!link.wav: a link to /etc/passwd, out of the archive"),
        Expected("/cut.tar", ("failed.truncated",)),
    ]
