"""Files of corpora that are thrown at their readers: what each begins with, and whose layout it is."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

_LAYOUTS = {
    "validated.tsv": "common_voice",
    "GigaSpeech.json": "gigaspeech",
    "WenetSpeech.json": "wenetspeech",
    "asr_de.tsv.gz": "voxpopuli",
    "asr_de.tsv": "voxpopuli",
    "a.stm": "tedlium",
    "sb.csv": "speechbrain",
    "sb.json": "speechbrain",
    "1-2.trans.txt": "librispeech",
    "SPEAKERS.TXT": "librispeech",
}
_SEGMENTED = {
    "language": "EN",
    "audios": [
        {"aid": "A", "path": "a.wav", "speaker": "N/A", "segments": [
            {"sid": "A1", "begin_time": "0.1", "end_time": 0.5, "text_tn": "HI <COMMA> YOU", "text": "hi"},
            {"sid": "A2", "begin_time": 1, "end_time": 2, "text_tn": "<SIL>", "text": ""},
        ]},
        {"aid": "B", "path": "b.opus", "segments": []},
    ],
    "end": 1,
}  # fmt: skip
_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
2
<exists>
2
"IntervalTier"
"utterances"
0
2
2
0
1
"so ""it"" goes"
1
2
""
"IntervalTier"
"words"
0
2
1
0.1
0.4
"so"
"""


def layout_of(name: str) -> str:
    """The layout that a corpus has whose file of this name is replaced."""
    beside = name.startswith("a.") and name != "a.stm"
    return _LAYOUTS.get(name, "folder" if beside else "manifest")


def seeds() -> dict[str, tuple[bytes, ...]]:
    """Whole files, by their names."""
    row = {"audio": "a.wav", "text": "hi", "start": 0.5, "end": 1, "speaker": 7, "gender": "f", "language": "en"}
    line = json.dumps(row).encode() + b"\n"
    cells = [name.encode() for name in row], [str(value).encode() for value in row.values()]
    tables = {kind: b"\n".join(by.join(part) for part in cells) for kind, by in (("csv", b","), ("tsv", b"\t"))}
    parquet = io.BytesIO()
    pq.write_table(pa.table({name: [value] for name, value in row.items()}), parquet, compression="none")
    return {
        "m.jsonl": (
            line * 2,
            b"\xef\xbb\xbf" + line,
            b"[" + line + b"]",
            b'{"audio": {"path": "a.wav"}, "duration": 1}',
        ),
        "m.csv": (tables["csv"], b'audio,text\n"a.wav","two\nlines"\n', b'audio,text\na.wav,"open\na.wav,"" \na.wav,x'),
        "m.json": (b'[\n  {"audio": "a.wav", "end": 1},\n  {"audio": a.wav"},\n  {"audio": "a.wav"}\n]\n', line),
        "m.tsv": (tables["tsv"],),
        "m.parquet": (parquet.getvalue(),),
        "validated.tsv": (b"client_id\tpath\tsentence\tage\tgender\nab\ta.mp3\tHello.\ttwenties\tmale\n",),
        "1-2.trans.txt": (b"1-2-0000 HELLO WORLD\n1-2-0001 LOST\n",),
        "SPEAKERS.TXT": (b";ID |SEX| SUBSET\n1 | F | dev-clean | 8.0 | A Reader\n",),
        "a.txt": ("\ufeffGrüß dich.\n".encode(), b"0.5\t1.25\tand so\n0,1\t0,2\tone\n", b"0 46797 She had it\n"),
        **_timed_seeds(),
    }


def _timed_seeds() -> dict[str, tuple[bytes, ...]]:
    """Corpora with times: segments in JSON, STM, SpeechBrain, subtitles and labels."""
    nested = (json.dumps(_SEGMENTED).encode(), json.dumps(_SEGMENTED, indent=2).encode())
    table = (
        b"session_id|id_|original_text|speaker_id|gender|start_time|end_time|vad\ns|u|Hallo|7|male|0.1|0.5|[(1, 2)]\n"
    )
    return {
        "GigaSpeech.json": nested,
        "WenetSpeech.json": nested,
        "asr_de.tsv.gz": (gzip.compress(table, mtime=0),),
        "asr_de.tsv": (table, b"id\traw_text\tnormalized_text\nu\tHallo\thallo\n"),
        "a.stm": (b";; x\na 1 Al 0.5 1.0 <o,f0,male> that 's\na 1 Al 1 2 ignore_time_segment_in_scoring\n",),
        "sb.csv": (b"ID, duration, wav, start, stop, wrd\n1, 1.5, $data_folder/a.wav, 0, 8000, GO\n",),
        "sb.json": (
            b'{\n  "u": {"wav": {"file": "{root}/a.wav", "start": 1, "stop": 9}, "words": ["a"], "length": 1.5}\n}',
        ),
        "a.srt": (b"1\n00:00:00,000 --> 00:00:00,500\n<i>Good</i>\n\n2\n00:00:00,500 --> 00:00:01,250\nmorning\n",),
        "a.vtt": (b"WEBVTT\n\n00:00.000 --> 00:00.500 align:start\n<v Ann>Good <00:00.2>&amp;</v>\n",),
        "a.TextGrid": (_TEXTGRID.encode(), _TEXTGRID.encode("utf-16")),
        "a.lab": (b"0 1000000 sil\n1000000 4000000 hello -5.5\n4000000 6000000 world\n",),
        "a.wrd": (b"1600 6400 so\n6400 9600 it\n",),
    }
