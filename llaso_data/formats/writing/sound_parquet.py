"""Samples in Parquet with sound inside, as Hugging Face's datasets reads them: ``load_dataset("FOLDER")``.

A sample that is a transcription, asked for by one text at most, is a row with ``audio``, ``instruction`` and ``text``
in ``data/SPLIT-NNNNN.parquet``. Any other sample is a row with ``messages`` and ``audios`` in
``conversations/SPLIT-NNNNN.parquet``, and a configuration of its own where a set has both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, transcript_of
from llaso_data.io import storage
from llaso_data.records import UNKNOWN, Sample, Utterance

ROWS, TALKS = "data", "conversations"
"""The folders of transcriptions and of conversations."""
GROUP_ROWS = 100
"""Rows of a row group, as the hub's viewer wants it; fewer where they are long."""
_GROUP_BYTES = 64 << 20
_PAGE_ROWS = 4  # rows after which the length of a page is looked at
_SPLITS = ("train", "validation", "test")
_TEXTS = ("text", "language", "speaker", "gender", "age", "accent", "environment")
_HF = b"huggingface"
_README = "README.md"

_TEXT_FEATURE = {"dtype": "string", "_type": "Value"}
_AUDIO_FEATURE = {"sampling_rate": SAMPLE_RATE_HZ, "_type": "Audio"}
_FEATURES: dict[str, dict[str, Any]] = {
    ROWS: {
        "audio": _AUDIO_FEATURE,
        **dict.fromkeys(("instruction", *_TEXTS, "task", "kept"), _TEXT_FEATURE),
    },
    TALKS: {
        "messages": [
            {
                "role": _TEXT_FEATURE,
                "content": [
                    {"type": _TEXT_FEATURE, "text": _TEXT_FEATURE, "audio": {"dtype": "int64", "_type": "Value"}}
                ],
            }
        ],
        "audios": [_AUDIO_FEATURE],
        "audio_facts": [dict.fromkeys(_TEXTS, _TEXT_FEATURE)],
        **dict.fromkeys(("language", "task", "kept"), _TEXT_FEATURE),
    },
}
"""The columns of each folder, in the words of datasets; lists as all its versions read them."""


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write a Parquet file for each split and folder that the part has samples of; samples without a split train."""
    with ExitStack() as files:
        tables: dict[str, _Table] = {}
        for sounded in samples:
            folder = TALKS if _question(sounded.sample) is None else ROWS
            name = f"{folder}/{sounded.sample.split or _SPLITS[0]}-{part.number:05d}.parquet"
            if name not in tables:
                tables[name] = _Table(files.enter_context(part.file(name)), folder)
                files.callback(tables[name].close)
            row = _transcription(sounded) if folder == ROWS else _conversation(sounded)
            tables[name].add(row, sum(len(sound.data or b"") for sound in sounded.sounds))
        for table in tables.values():
            table.close()


class _Table:
    """A Parquet file that is being written, a row group at a time."""

    def __init__(self, path: str, folder: str) -> None:
        import pyarrow.parquet as pq

        self._schema = schema(folder)
        texts = [name for name in self._schema.names if name not in ("audio", "audios")]
        self._writer: Any = pq.ParquetWriter(
            path,
            self._schema,
            compression="snappy",
            use_dictionary=texts,
            write_batch_size=_PAGE_ROWS,
            write_page_checksum=True,
            write_page_index=True,
        )
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], size_bytes: int) -> None:
        """Add a row; a full row group is written."""
        self._rows.append(row)
        self._bytes += size_bytes
        if len(self._rows) == GROUP_ROWS or self._bytes > _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema), row_group_size=GROUP_ROWS)
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        """Write what is left, and the footer; once."""
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None


def schema(folder: str) -> Any:
    """The Arrow schema of :data:`ROWS` or :data:`TALKS`, with what datasets wants to know of it."""
    import pyarrow as pa

    features = _FEATURES[folder]
    fields = [pa.field(name, _arrow_type(feature)) for name, feature in features.items()]
    return pa.schema(fields, {_HF: json.dumps({"info": {"features": features}})})


def _arrow_type(feature: Any) -> Any:
    import pyarrow as pa

    if isinstance(feature, list):
        return pa.list_(_arrow_type(feature[0]))
    kind = feature.get("_type")
    if kind == "Audio":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if kind == "Value":
        return pa.string() if feature["dtype"] == "string" else pa.int64()
    return pa.struct([(name, _arrow_type(inner)) for name, inner in feature.items()])


def _question(sample: Sample) -> str | None:
    """What a transcription is asked for by, empty for the sound alone; None where the sample is no such sample."""
    if transcript_of(sample) is None or len(sample.messages) != 2 or sample.messages[0].role != "user":
        return None
    *texts, heard = sample.messages[0].content
    if heard.audio is None or len(texts) > 1 or any(part.text == "" for part in texts):
        return None
    return (texts[0].text or "") if texts else ""


def _transcription(sounded: SoundedSample) -> dict[str, Any]:
    sample = sounded.sample
    audio = sample.audios[0]
    return {
        "audio": _sound(sounded, 0),
        "instruction": _question(sample) or None,
        **_facts(audio),
        "language": sample.language or audio.language,
        "text": sample.messages[-1].content[0].text,
        "task": sample.task,
        "kept": _kept(sample),
    }


def _conversation(sounded: SoundedSample) -> dict[str, Any]:
    sample = sounded.sample
    return {
        "messages": [
            {
                "role": message.role,
                "content": [{"type": part.type, "text": part.text, "audio": part.audio} for part in message.content],
            }
            for message in sample.messages
        ],
        "audios": [_sound(sounded, number) for number in range(len(sample.audios))],
        "audio_facts": [_facts(audio) for audio in sample.audios],
        "language": sample.language,
        "task": sample.task,
        "kept": _kept(sample),
    }


def _sound(sounded: SoundedSample, number: int) -> dict[str, Any]:
    sound = sounded.sounds[number]
    stem = sounded.key if len(sounded.sounds) == 1 else f"{sounded.key}-{number}"
    return {"bytes": sound.data, "path": f"{stem}.{sound.extension}"}


def _facts(audio: Utterance) -> dict[str, str | None]:
    """What is known of an audio, by the names of columns that readers know."""
    speaker = audio.speaker
    stated = {
        "speaker": speaker.id,
        "gender": speaker.gender,
        "age": speaker.age_range,
        "accent": speaker.accent,
        "environment": audio.environment,
    }
    known = {name: None if attribute.value == UNKNOWN else attribute.value for name, attribute in stated.items()}
    return {"text": audio.text, "language": audio.language, **known}


def _kept(sample: Sample) -> str | None:
    kept = sample.provenance.kept if sample.provenance else None
    return None if kept is None else json.dumps(kept, ensure_ascii=False, sort_keys=True)


def write_readme(out: str, parts: int) -> None:
    """Write the README whose head says which files are which split, for ``load_dataset`` and the hub's viewer."""
    present = {file["path"].rpartition("-")[0] for file in storage.listing(out) if file["path"].endswith(".parquet")}
    lines = ["---", "configs:"]
    folders = [folder for folder in (ROWS, TALKS) if any(name.startswith(f"{folder}/") for name in present)]
    for number, folder in enumerate(folders):
        lines += [f"- config_name: {folder if number else 'default'}", "  data_files:"]
        for split in _SPLITS:
            if f"{folder}/{split}" in present:
                lines += [f"  - split: {split}", f"    path: {folder}/{split}-*.parquet"]
    lines += ["---", "", "Speech with its transcripts or conversations, written by `llaso-data convert`.", ""]
    lines += ["The audio is inside the Parquet files: `datasets.load_dataset` of this folder reads them.", ""]
    storage.write_bytes(storage.join(out, _README), "\n".join(lines).encode())


def refuses(sample: Sample) -> str | None:
    """Why a sample is no row of this layout."""
    return None if sample.audios else "it has no audio"


WRITER = LayoutWriter(
    write=write,
    holds=frozenset(
        (
            *("text", "language", "speaker", "gender", "age", "accent", "environment"),
            *("task", "split", "instruction", "kept", "conversation"),
        )
    ),
    refuses=refuses,
    inside=True,
    once=write_readme,
    made_once=(_README,),
)
