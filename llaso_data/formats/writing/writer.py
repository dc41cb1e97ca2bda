"""What a layout's writer is, and what it is given: one part of a set at a time.

A set is written in parts, each by whatever worker has it, and finished when all are there. A part may write files of
its own (a tar, a Parquet file, sounds), and lines of tables that all parts share (a manifest, Kaldi's ``text``). Lines
wait beside the set until it is finished; then each table is made of them, whole, in the order of the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.records import Sample, Utterance

Order = Literal["parts", "sorted", "json_list"]
"""How a table is made of its lines: as they come, sorted as bytes (as Kaldi wants it), or as the items of one list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The sound of one audio of a sample, as it is to be written.

    Attributes:
        data: The encoded sound; None where the layout is to point to the file where it is.
        extension: Of the sound, in small letters: ``flac``.
        uri: Address of the file that is pointed to; None where ``data`` is given.
        start_s: Start of the span in the file that is pointed to, seconds; None: the file's start.
        duration_s: Length of the sound, or of the span, seconds.
        sampling_rate_hz: Of the sound, or of the file that is pointed to.
        channel: The selected channel of the file that is pointed to, counted from 0; None: all, averaged.
        member: The member of the archive that is pointed to.
    """

    data: bytes | None
    extension: str
    duration_s: float
    sampling_rate_hz: int
    uri: str | None = None
    start_s: float | None = None
    channel: int | None = None
    member: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundedSample:
    """A sample and its sounds, in the order of its audios.

    Attributes:
        key: A name for its files, different for every sample of the set: ASCII letters, digits, ``-`` and ``_``.
        sample: Every audio has its ``duration_s``.
        sounds: One for each of ``sample.audios``.
    """

    key: str
    sample: Sample
    sounds: tuple[Sound, ...]


@dataclass(slots=True)
class Part:
    """One part of a set that is being written.

    Attributes:
        out: Folder or URI of the set.
        number: Of the part, counted from 0. Two parts write no file of the same name.
        tables: The lines of each table, by the table's name relative to ``out``.
        orders: How each table is made of its lines.
        headers: The first line of a table that has one.
        files: The files that the part has written, relative to ``out``.
    """

    out: str
    number: int
    tables: dict[str, list[str]] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def line(self, table: str, text: str, order: Order = "parts", header: str | None = None) -> None:
        """Add a line to a table that all parts share.

        Args:
            table: Name relative to ``out``; one that ends in ``.gz`` is compressed.
            text: The line without its end, or the JSON of an item.
            order: How the table is made of its lines; the same in every call.
            header: The table's first line; the same in every call.
        """
        self.orders.setdefault(table, order)
        if header is not None:
            self.headers.setdefault(table, header)
        self.tables.setdefault(table, []).append(text)

    @contextmanager
    def file(self, name: str) -> Iterator[str]:
        """A path to write a file of this part to; it appears under its name when it is whole.

        Args:
            name: Relative to ``out``. It holds the part's number or a sample's key.
        """
        with storage.whole(storage.join(self.out, name)) as path:
            yield path
        self.files.append(name)

    def sound(self, sounded: SoundedSample, number: int = 0) -> str:
        """Where audio ``number`` of a sample is: the file that is pointed to, or one that is written here.

        Returns:
            An absolute path or URI where the sound stays where it is; else a path relative to ``out``:
            ``audio/000012/KEY.flac``, of several audios ``KEY-1.flac``.
        """
        sound = sounded.sounds[number]
        if sound.data is None:
            return sound.uri or ""
        stem = sounded.key if len(sounded.sounds) == 1 else f"{sounded.key}-{number}"
        name = f"audio/{self.number:06d}/{stem}.{sound.extension}"
        with self.file(name) as path, open(path, "wb") as file:
            file.write(sound.data)
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutWriter:
    """How a layout is written.

    Attributes:
        write: Writes the samples of one part. It runs in a worker: it depends on its arguments alone, and raises
            LLaSOError for a sample that :attr:`refuses` lets pass and it cannot write.
        holds: The fields of samples and audios that the layout keeps (:data:`FIELDS`). What a sample says besides is
            counted as not carried over.
        refuses: Why the layout cannot hold a sample, or None: a layout of transcripts holds no conversation.
        inside: Whether sounds are written into archives of the layout, so that none is pointed to.
        spans: Whether a pointer may select a span of a file.
        channels: Whether a pointer may select a channel of a file.
        members: Whether a pointer may name a member of an archive.
        tars_only: Whether that archive must be a tar.
        durations: Whether the layout needs to know how long each sound is; without it no file is opened for pointers.
        once: Writes what stands once in a set (a README, a description); it gets ``out`` and the number of parts.
        made_once: Names of the files that only ``once`` writes, relative to ``out``.
    """

    write: Callable[[Part, Iterable[SoundedSample]], None]
    holds: frozenset[str]
    refuses: Callable[[Sample], str | None] = lambda sample: None
    inside: bool = False
    spans: bool = False
    channels: bool = False
    members: bool = False
    tars_only: bool = False
    durations: bool = True
    once: Callable[[str, int], None] | None = None
    made_once: tuple[str, ...] = ()


FIELDS = (
    *("text", "language", "speaker", "gender", "age", "accent", "environment", "license", "words", "source"),
    *("task", "split", "instruction", "kept", "conversation", "hypothesis", "scores", "origins"),
)
"""Names of what a layout may hold of a sample; the docs' table of layouts has them. ``origins``: whether a label is
given or a model's."""


def transcript_of(sample: Sample) -> tuple[Utterance, str] | None:
    """The one utterance and its text of a sample that says no more than what is spoken; None of any other sample.

    A sample of the task ``asr`` with one audio and one written answer is such a sample.
    """
    if sample.task != "asr" or len(sample.audios) != 1:
        return None
    *asking, answer = sample.messages
    if any(message.role == "assistant" for message in asking) or answer.role != "assistant":
        return None
    if len(answer.content) != 1 or answer.content[0].text is None:
        return None
    return sample.audios[0], answer.content[0].text


def no_transcript(sample: Sample) -> str | None:
    """``refuses`` of layouts that hold one audio with its transcript."""
    return None if transcript_of(sample) else "it is no transcription of one audio"


def spoken(sounded: SoundedSample) -> tuple[Utterance, str]:
    """The one utterance and its text of a sample that :func:`no_transcript` lets pass.

    Raises:
        LLaSOError: It is no transcription of one audio.
    """
    transcript = transcript_of(sounded.sample)
    if transcript is None:
        raise LLaSOError(f"{sounded.key}: it is no transcription of one audio")
    return transcript
