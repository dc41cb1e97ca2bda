"""Small sets of the layouts that lie in more than one file, of which one is replaced by thrown bytes.

Every set is read as a conversion reads it: what its reader yields becomes samples, and the places of their sounds are
opened.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data import audio, records
from llaso_data.audio.encoding import encode
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats.samples import METADATA, VERSION
from llaso_data.instruct.tasks import all_tasks
from llaso_data.pipeline.check_messages import check_messages
from llaso_data.pipeline.convert import filtering
from llaso_data.pipeline.convert.samples import samples
from llaso_data.pipeline.instruct.rows import rows_of
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Failure, Message, Sample, Source, Utterance
from llaso_data.shards.removal import listed

WAV = encode(np.arange(160, dtype=np.int16), "wav")
TASKS = all_tasks()
_MOST = 300  # rows of a set that are looked at

Files = Mapping[str, bytes]


def converted(path: str, **spec: str) -> None:
    """Every sample of a source as it would be written; the sounds of the first are opened, and not decoded."""
    notes: Counter[str] = Counter()
    for one in islice(samples(SourceSpec(path=path, **spec), Convert(), notes), _MOST):
        if isinstance(one, Failure):
            one.detail.encode()
            continue
        records.canonical(one.sample)
        for uri, member, *_ in one.places[:4]:
            with suppress(AudioError, LLaSOError), audio.open_audio(uri, member) as file:
                file.read(64)
    json.dumps(notes).encode()


def instructed(path: str, **spec: Any) -> None:
    """Every row of a source as instruction data are built of it: it is pickled, and its fields are looked at."""
    notes: Counter[str] = Counter()
    for one in islice(rows_of(SourceSpec(path=path, **spec), TASKS, notes), _MOST):
        if isinstance(one, Failure):
            one.detail.encode()
            continue
        records.canonical(dict(one.labels)).encode()
        json.dumps(dict(one.labels), allow_nan=False, ensure_ascii=False).encode()
        assert pickle.loads(pickle.dumps(one)) == one
        one.fields()
    json.dumps(notes).encode()


def _set(layout: str, files: Files, name: str, source: str, data: bytes, folder: Path) -> None:
    for path, content in {**files, name: data}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    path = str(folder / source) if source else str(folder)
    for spec in ({"type": layout}, {}):
        for read in (converted, instructed):
            with suppress(LLaSOError):
                read(path, **spec)
    if layout == "messages":
        with suppress(LLaSOError):
            check_messages(path)


def targets() -> Iterator[tuple[str, Callable[[bytes, Path], None], tuple[bytes, ...]]]:
    """Name, what gets the bytes and an empty folder, and the files to start from."""
    for layout, files, replaced, source in _sets():
        for name in replaced:
            yield f"{layout}: {name}", partial(_set, layout, files, name, source), (files[name],)
    yield "condition", _condition, (b'duration_s < 20 and language in ("en",) or not text is None', b"((1 < turns))")
    yield (
        "map",
        _map,
        (
            b"text={a|trim|replace('x', 'y')}{{",
            b"start={a}\nend={b|default('1')}\nsplit=train",
            b"emotion=a\nword_scores={a}\ntarget_audio={b}",
        ),
    )
    yield "removal list", _removal_list, (b"# who\n\xef\xbb\xbf/data/a.wav\r\n" + b"a" * 32 + b"\n",)


def _condition(data: bytes, folder: Path) -> None:
    text = Message.of("user", "What?", 0), Message.of("assistant", "Yes.")
    audio_ = Utterance(id="a" * 32, recording="a" * 32, source=Source(corpus="c", uri="/c/a.wav"), text="yes")
    with suppress(LLaSOError):
        condition = filtering.parse(data.decode("utf-8", "replace"))
        filtering.mask(condition, filtering.table([Sample(task="asr", messages=text, audios=(audio_,))]))


def _map(data: bytes, folder: Path) -> None:
    """A map of a corpus and of texts, also with labels as targets."""
    (folder / "t.jsonl").write_text(json.dumps({"question": "what?", "answer": "that", "a": ["x"], "b": None}) + "\n")
    (folder / "m.jsonl").write_text(json.dumps({"audio": "a.wav", "a": "x 1", "b": None}) + "\n")
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines())
    spec = SourceSpec(path=str(folder / "m.jsonl"), map={name: template for name, _, template in pairs})
    with suppress(LLaSOError):
        list(samples(spec, Convert(), Counter()))
    for name in ("m.jsonl", "t.jsonl"):
        with suppress(LLaSOError):
            instructed(str(folder / name), map=spec.map)


def _removal_list(data: bytes, folder: Path) -> None:
    (folder / "list.txt").write_bytes(data)
    with suppress(LLaSOError):
        listed(str(folder / "list.txt"))


# Sets


def _sets() -> Iterator[tuple[str, Files, tuple[str, ...], str]]:
    """Layout, files, those that are replaced, and which of them is the source; empty: the folder."""
    yield from _lists()
    yield from _tables_with_sound()
    yield from _manifests()
    yield from _conversations()
    yield from _texts()


def _lists() -> Iterator[tuple[str, Files, tuple[str, ...], str]]:
    ljspeech = {"metadata.csv": b"a|Dr. A|Doctor A\nb|lost\n", "wavs/a.wav": WAV}
    yield "ljspeech", ljspeech, ("metadata.csv",), ""
    vctk = {
        "wav48/p225/p225_001.wav": WAV,
        "txt/p225/p225_001.txt": b"Please.",
        "speaker-info.txt": b"ID  AGE  GENDER  ACCENTS  REGION\np225  23  F    English    Southern  England\n",
    }
    yield "vctk", vctk, ("txt/p225/p225_001.txt", "speaker-info.txt"), ""
    mls = {
        "mls_german/train/audio/1/2/1_2_000001.flac": WAV,
        "mls_german/train/transcripts.txt": "1_2_000001\tgrün\n1_2_000002\tweg\n".encode(),
        "mls_german/metainfo.txt": b" SPEAKER | GENDER | PARTITION | MINUTES | BOOK ID\n 1 | F | train | 1.5 | 2\n",
    }
    yield "mls", mls, ("mls_german/train/transcripts.txt", "mls_german/metainfo.txt"), ""
    aishell = {
        "wav/train/S0002/A1.wav": WAV,
        "transcript/aishell_transcript_v0.8.txt": "A1 而 对\nA2 无\n".encode(),
        "resource_aishell/speaker.info": b"0002 F\n",
    }
    yield "aishell", aishell, ("transcript/aishell_transcript_v0.8.txt", "resource_aishell/speaker.info"), ""
    aishell3 = {
        "train/wav/SSB0005/SSB00050001.wav": WAV,
        "train/content.txt": "SSB00050001.wav\t广 guang3 州 zhou1\n".encode(),
        "spk-info.txt": b"# who\nSSB0005\tB\tfemale\tnorth\n",
    }
    yield "aishell3", aishell3, ("train/content.txt", "spk-info.txt"), ""
    fleurs = {
        "fr_fr/audio/train/1.wav": WAV,
        "fr_fr/train.tsv": b'1\t1.wav\tBonjour "toi\tbonjour\tb o\t9600\tMALE\n2\t2.wav\ta\tb\tc\t1\tFEMALE\n',
    }
    yield "fleurs", fleurs, ("fr_fr/train.tsv",), ""
    row = {"id": "x", "wav": "EN_B00000/x.mp3", "text": " hi", "duration": 0.6, "speaker": "s", "language": "en"}
    emilia = {"EN/EN_B00000/x.mp3": WAV, "EN/EN_B00000.jsonl": json.dumps(row).encode() + b"\n"}
    yield "emilia", emilia, ("EN/EN_B00000.jsonl",), ""
    timit = {
        "TRAIN/DR1/FCJF0/SA1.WAV": WAV,
        "TRAIN/DR1/FCJF0/SA1.TXT": b"0 16000 She had\n",
        "TRAIN/DR1/FCJF0/SA1.WRD": b"0 8000 she\n8000 16000 had\n",
        "DOC/SPKRINFO.TXT": b"; who\nCJF0  F  1  TRN  03/03/87  08/03/65  5'4\"  WHT  BS\n",
    }
    yield "timit", timit, ("TRAIN/DR1/FCJF0/SA1.TXT", "TRAIN/DR1/FCJF0/SA1.WRD", "DOC/SPKRINFO.TXT"), ""
    kaldi = {
        "wav.scp": b"r r.wav\nq sph2pipe -f wav -c 1 q.sph |\np w.ark:8\n",
        "r.wav": WAV,
        "w.ark": b"AUDIO\x01" + bytes([len(WAV) % 256]) + b"\0" + WAV,
        "segments": b"u1 r 0 0.005\nu2 q 0.1 -1\nu3 p 0 -1\n",
        "text": b"u1 <eng><asr><0.00> one<0.01>\nu2 two\nu3 three\n",
        "utt2spk": b"u1 s\nu2 s\nu3 t\n",
        "spk2gender": b"s f\nt m\n",
        "utt2lang": b"u1 eng\n",
    }
    yield "kaldi", kaldi, ("wav.scp", "w.ark", "segments", "text", "utt2spk"), ""


def _manifests() -> Iterator[tuple[str, Files, tuple[str, ...], str]]:
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": "r.wav"}],
        "sampling_rate": 16000,
        "num_samples": 160,
        "duration": 0.01,
        "channel_ids": [0],
    }
    segment = {
        "id": "s",
        "recording_id": "r",
        "start": 0.001,
        "duration": 0.005,
        "channel": 0,
        "text": "hi",
        "language": "English",
        "speaker": "a",
        "alignment": {"word": [["hi", 0.002, 0.001, 0.9]]},
    }
    cut = {
        "id": "c",
        "start": 0.001,
        "duration": 0.008,
        "channel": 0,
        "type": "MonoCut",
        "supervisions": [segment],
        "recording": recording,
    }
    line, said, heard = (json.dumps(one).encode() + b"\n" for one in (cut, segment, recording))
    yield "lhotse", {"cuts.jsonl": line * 2, "r.wav": WAV}, ("cuts.jsonl",), "cuts.jsonl"
    pair = {"recordings.jsonl": heard, "supervisions.jsonl": said, "r.wav": WAV}
    yield "lhotse", pair, ("recordings.jsonl", "supervisions.jsonl"), ""
    shard = {
        **cut,
        "start": 0,
        "recording": {**recording, "sources": [{"type": "shar", "channels": [0], "source": ""}]},
    }
    shar = {
        "cuts.000000.jsonl.gz": gzip.compress(json.dumps(shard).encode() + b"\n", mtime=0),
        "recording.000000.tar": _tar({"c.wav": WAV, "c.json": heard}),
    }
    yield "shar", shar, ("cuts.000000.jsonl.gz", "recording.000000.tar"), ""
    row = {"audio_filepath": "a.wav", "duration": 0.01, "offset": 0.001, "text": "hi", "lang": "en", "pnc": "yes"}
    yield "nemo", {"m.json": json.dumps(row).encode() + b"\n", "a.wav": WAV}, ("m.json",), "m.json"
    rows = [{**row, "shard_id": 0}, {**row, "audio_filepath": "a-sub1.wav", "shard_id": 0}]
    tarred = {
        "manifest_0.json": b"".join(json.dumps(one).encode() + b"\n" for one in rows),
        "audio_0.tar": _tar({"a.wav": WAV, "b.wav": WAV}),
    }
    yield "nemo_tarred", tarred, ("manifest_0.json", "audio_0.tar"), ""
    folder = {
        "train/metadata.csv": b'file_name,transcription\na.wav,"Hi, ""you"""\n../test/b.wav,x\n',
        "test/metadata.jsonl": b'{"file_name": "b.wav", "text": "see"}\n{"file_names": ["b.wav"]}\n',
        "train/a.wav": WAV,
        "test/b.wav": WAV,
    }
    yield "audiofolder", folder, ("train/metadata.csv", "test/metadata.jsonl"), ""


def _tables_with_sound() -> Iterator[tuple[str, Files, tuple[str, ...], str]]:
    sounds = [{"bytes": WAV, "path": "a.wav"}, {"bytes": None, "path": "b.wav"}, None]
    corpus = pa.table({"audio": sounds, "text": ["hi", "there", None], "speaker_id": [1, 2, 3]})
    talks = pa.table(
        {
            "messages": [[{"role": "user", "content": "<audio>what"}, {"role": "assistant", "content": "hi"}]],
            "audios": [[sounds[0]]],
        }
    )
    for table, name in ((corpus, "corpus.parquet"), (talks, "talks.parquet")):
        yield "hf_parquet", {name: _parquet(table), "b.wav": WAV}, (name,), ""
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    features = {"features": {"audio": {"_type": "Audio"}, "text": {"dtype": "string", "_type": "Value"}}}
    disk = {
        "train/data-00000-of-00001.arrow": _arrow_stream(corpus),
        "train/state.json": json.dumps(state).encode(),
        "train/dataset_info.json": json.dumps(features).encode(),
        "dataset_dict.json": b'{"splits": ["train"]}',
    }
    replaced = ("train/data-00000-of-00001.arrow", "train/state.json", "train/dataset_info.json", "dataset_dict.json")
    yield "hf_disk", disk, replaced, ""
    utterance = Utterance(id="a" * 32, recording="a" * 32, source=Source(corpus="c", uri="/c/a.wav"), text="hi")
    said = Message.of("user", "What?", 0), Message.of("assistant", "hi")
    own = records.to_table([Sample(task="asr", messages=said, audios=(utterance,), language="en")], Sample)
    own = own.replace_schema_metadata({**(own.schema.metadata or {}), METADATA: VERSION})
    yield "samples", {"samples-000000.parquet": _parquet(own)}, ("samples-000000.parquet",), ""


def _conversations() -> Iterator[tuple[str, Files, tuple[str, ...], str]]:
    said = [{"role": "user", "content": "<audio>what"}, {"role": "assistant", "content": "hi"}]
    parts = [{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}, {"type": "text", "text": "q"}]}, said[1]]
    turns = [{"from": "human", "value": "<audio>q"}, {"from": "gpt", "value": "a"}]
    rows = [
        {"messages": said, "audios": ["a.wav"], "audio_info": [{"speaker": 7, "start": 0, "end": 0.01}], "kept": "{}"},
        {"messages": parts, "task": "asr", "language": "en", "split": "train"},
        {"conversations": turns, "audios": ["a.wav"], "system": "s"},
        {"query": "q", "response": "r", "history": [["a", "b"]], "audios": ["a.wav"]},
    ]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    described = {
        "a": {"file_name": "x.jsonl", "formatting": "sharegpt", "columns": {"messages": "conversations"}},
        "b": {
            "file_name": "y.json",
            "columns": {"prompt": "query", "response": "response"},
            "tags": {"role_tag": "by"},
        },
    }
    yield "messages", {"x.jsonl": lines, "a.wav": WAV}, ("x.jsonl",), "x.jsonl"
    info = {
        "dataset_info.json": json.dumps(described).encode(),
        "x.jsonl": lines,
        "y.json": json.dumps(rows, indent=2).encode(),
        "a.wav": WAV,
    }
    yield "messages", info, ("dataset_info.json", "y.json"), ""
    llaso = [
        {"voice": ["d/e\\a.wav"], "conversations": turns, "id": 1, "metadata": {"label": "happy"}},
        {"voice": "d\\lost.wav", "conversations": turns},
    ]
    yield (
        "llaso_json",
        {
            "text_audio/ASR_train.json": json.dumps(llaso, indent=2).encode(),
            "d/e/a.wav": WAV,
        },
        ("text_audio/ASR_train.json",),
        "",
    )
    talk = [
        {"value": "a.wav", "from": "User", "type": "audio", "duration": 0.01},
        {"value": "hi", "from": "Assistant", "type": "text"},
    ]
    talks = json.dumps({"id": "1", "conversations": talk}).encode() + b"\n"
    yield "nemo_conversations", {"c.jsonl": talks, "a.wav": WAV}, ("c.jsonl",), "c.jsonl"
    tarred = {"manifest_0.jsonl": talks, "audio_0.tar": _tar({"a.wav": WAV})}
    yield "nemo_conversations", tarred, ("manifest_0.jsonl", "audio_0.tar"), ""


def _tar(members: Files) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="none")
    return file.getvalue()


def _arrow_stream(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _texts() -> Iterator[tuple[str, Files, tuple[str, ...], str]]:
    """Texts without audio, in every form and in every kind of table; and a corpus with labels."""
    talk = [{"from": "gpt", "value": "Hi"}, {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    rows = [
        {"instruction": "Say it.", "input": "Hi", "output": "Hi!"},
        {"question": "Who?", "answers": {"text": ["Ann"], "answer_start": [0]}, "context": "Ann came."},
        {"id": 1, "translation": {"en": "Hello", "fr": "Bonjour"}, "split": "dev"},
        {"source": "Hallo", "target": "Hello", "source_language": "de", "target_language": "English"},
        {"document": "Long.", "summary": "Short.", "language": "en"},
        {"conversations": talk},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "bot", "content": "b"}]},
        {"en": "Hello", "zh": "\u4f60\u597d"},
    ]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    yield "texts", {"a.jsonl": lines, "b.json": json.dumps(rows, indent=1).encode()}, ("a.jsonl", "b.json"), ""
    table = b'id;question;answer\n1;Who?;"Ann; and\nBob"\n2;;\n'
    yield "texts", {"train.csv": table}, ("train.csv",), "train.csv"
    pairs = pa.table({"translation": [{"en": "Hello", "de": "Hallo"}, None], "emotion": ["happy", None]})
    yield "texts", {"t.parquet": _parquet(pairs)}, ("t.parquet",), "t.parquet"
    scores = [{"word": "hi", "accuracy": 9, "stress": 10, "total": 9.5}]
    labels = {"audio": "a.wav", "text": "hi", "emotion": "happy", "pitch": 60.0, "word_scores": scores}
    line = json.dumps({**labels, "target_audio": "a.wav", "audio_2": "b.wav"}).encode()
    yield "manifest", {"labels.jsonl": line, "a.wav": WAV}, ("labels.jsonl",), "labels.jsonl"
