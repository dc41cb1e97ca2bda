"""Checks a user's own JSON of messages and audios, and lists every problem with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from llaso_data import formats
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats import messages
from llaso_data.formats.conversations.dataset_info import MESSAGES as MESSAGES_FORM
from llaso_data.formats.conversations.dataset_info import RowForm, form_of
from llaso_data.formats.conversations.json_files import ENDINGS, first_row
from llaso_data.formats.conversations.schema import MESSAGES
from llaso_data.formats.files.file_tree import open_tree
from llaso_data.formats.rows.conversation import UNNAMED_TASK, to_sample
from llaso_data.formats.rows.source_row import is_empty
from llaso_data.formats.tables.columns import canonical_values
from llaso_data.formats.tables.table_rows import table_rows
from llaso_data.instruct.tasks import Tasks, all_tasks
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Sample, Source
from llaso_data.shards import layout
from llaso_data.uris import extension

_ANY_JSON, _TARS_AND_FOLDERS = "manifest", ("webdataset", "folder")
"""Layouts that others fall back to, so that what shall be shards or messages, and is broken, may look like them."""
_FOLDERS_OF_SHARDS = (layout.MANIFEST, layout.INDEX)


@dataclass(slots=True)
class MessagesReport:
    """What a check found.

    Attributes:
        uri: The file or folder.
        files: Files that were read.
        rows: Rows that were read.
        audios: Sounds that were decoded; one that several rows name counts once.
        hours: Their length.
        problems: What is wrong: the file and line, and the words for it.
    """

    uri: str
    files: int = 0
    rows: int = 0
    audios: int = 0
    hours: float = 0.0
    problems: list[dict[str, str | None]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {**asdict(self), "ok": self.ok}


def holds_messages(uri: str) -> bool:
    """Whether a path is a JSON file, or a folder of messages and no shards; others are checked as shards.

    Raises:
        LLaSOError: It is a corpus or conversations of another layout.
    """
    root = storage.absolute(uri)
    is_json = extension(root) in ENDINGS and storage.is_file(root)
    if any(storage.exists(storage.join(root, name)) for name in _FOLDERS_OF_SHARDS) or not storage.exists(root):
        return False
    layout = formats.recognise(SourceSpec(path=uri)).layout
    if layout.name == messages.LAYOUT.name or (is_json and layout.name == _ANY_JSON and not _names_audio(root)):
        return True
    if layout.name in _TARS_AND_FOLDERS:
        return False
    raise LLaSOError(
        f"{uri} is read as {layout.name} ({layout.title}); `validate` is for shards, and for messages with audios: "
        f"`llaso-data convert {uri} --check` looks through other layouts"
    )


def _names_audio(uri: str) -> bool:
    """Whether the first row of a table is a manifest's."""
    row = first_row(uri)
    return row is not None and not is_empty(canonical_values(row)["audio"])


def check_messages(uri: str) -> MessagesReport:
    """Read every row and decode every sound.

    Each row is compared with the schema (``shards/messages.schema.json``). Its tags and audios are counted, its files
    looked for, its language and task looked up. Each sound is decoded by a process with limits.

    Args:
        uri: A JSON file, or a folder of such files.

    Raises:
        LLaSOError: There is nothing to read.
    """
    tree = open_tree(uri, formats.LAYOUTS.endings())
    spec = SourceSpec(path=uri, type=messages.LAYOUT.name)
    report = MessagesReport(uri)
    check = _Check(spec, report)
    for root, path, form in messages.files_of(spec, tree):
        report.files += 1
        before = report.rows
        for number, row in table_rows(storage.join(root, path)):
            report.rows += 1
            for what in check.row(row, form, root, path, number):
                place = f"{path}:{number}"
                what = what.removeprefix(f"{storage.join(root, path)}:{number}: ")
                report.problems.append({"shard": place, "key": None, "what": what})
        if report.rows == before:
            report.problems.append({"shard": path, "key": None, "what": "it has no row"})
    report.hours = round(check.seconds / 3600, 6)
    return report


class _Check:
    """Checks rows, one after another; a sound is decoded once."""

    def __init__(self, spec: SourceSpec, report: MessagesReport) -> None:
        import jsonschema

        self._spec, self._report = spec, report
        self._schema = jsonschema.Draft202012Validator(MESSAGES)
        self._decoded: dict[Source, str | None] = {}
        self.seconds = 0.0

    def row(self, row: dict[str, Any] | str, form: RowForm | None, root: str, path: str, number: int) -> Iterator[str]:
        """What is wrong with a row."""
        read = messages.conversation_of(row, form, root, path, number)
        sample = read if isinstance(read, Failure) else to_sample(read, self._spec, "check", messages.LAYOUT.name)
        if isinstance(sample, Failure):
            yield sample.detail
            return
        if isinstance(row, dict) and (form or form_of(row)) == MESSAGES_FORM:
            for error in self._schema.iter_errors(row):
                yield f"{error.json_path}: {error.message[:500]}"
        yield from self._sample(sample.sample)

    def _sample(self, sample: Sample) -> Iterator[str]:
        tasks = _tasks()
        if sample.task != UNNAMED_TASK and sample.task not in tasks.tasks and sample.task not in tasks.sets:
            yield f"there is no task {sample.task!r:.80}; there are {', '.join(sorted(tasks.tasks))}"
        for audio in sample.audios:
            if audio.source not in self._decoded:
                self._decoded[audio.source] = self._decode(audio.source)
            if (wrong := self._decoded[audio.source]) is not None:
                yield wrong

    def _decode(self, source: Source) -> str | None:
        from llaso_data import audio
        from llaso_data.audio import limited

        try:
            pcm = limited.decode_source(source, limited.MAX_DURATION_S)
        except AudioError as error:
            return str(error)
        self._report.audios += 1
        self.seconds += len(pcm) / audio.SAMPLE_RATE_HZ
        return None


@lru_cache(maxsize=1)
def _tasks() -> Tasks:
    return all_tasks()
