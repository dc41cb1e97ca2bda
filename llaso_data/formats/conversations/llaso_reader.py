"""Rows of LLaSO's JSON as conversations, wherever their sound lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from llaso_data import audio
from llaso_data.formats.conversations.kept import DERIVED
from llaso_data.formats.conversations.llaso_files import AUDIO_TEXT, PURE_AUDIO, LlasoFile
from llaso_data.formats.conversations.tags import TAG, assembled, tagged
from llaso_data.formats.rows.conversation import SourceConversation, bad_conversation
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, describe_error
from llaso_data.formats.tables.columns import audio_location, cell_text
from llaso_data.records import Failure, Message

if TYPE_CHECKING:
    from llaso_data.formats.conversations.llaso_rows import LlasoRow

TAGGED = re.compile(re.escape(TAG))
"""An audio in a text."""
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_SPEAKERS = ("usrid", "spk_id", "Name", "speaker")
_TEXTS = ("sentence", "utt")
_AGES = ("age", "speaker_age")
_ACCENTS = ("accents", "accent")
_HINT = "fetch it there, and name that folder as the source"


class FoundAudio(NamedTuple):
    """Where the audio of a path lies.

    Attributes:
        uri: The file; with ``member`` the archive.
        size_bytes: Of the audio; 0 where it is not known.
        version: Changes with the bytes of the audio; empty where it is not known.
        member: The member of the archive, as stored; None: the file is the audio.
        broken: Why the audio cannot be had though it is there; None: it can.
    """

    uri: str
    size_bytes: int = 0
    version: str = ""
    member: str | None = None
    broken: str | None = None


Find = Callable[[str], FoundAudio | None]
"""Gives the audio of a path in ``voice``, which has ``/`` for its backslash; None: it is not there.

It may raise RowError for a path that data may not name. Who calls it may call it again for the same path.
"""


def voices(row: LlasoRow) -> list[str]:
    """The paths in a row's ``voice``, with ``/`` for the backslash: what is asked of :data:`Find`."""
    paths = [row.voice] if isinstance(row.voice, str) else row.voice
    return [path.replace("\\", "/") for path in paths]


class LlasoReader:
    """Reads the rows of one file.

    Args:
        root: URI of the folder that ``voice`` and the places in failures are relative to.
        path: The file, relative to ``root``.
        uri: The file.
        file: What its name and folder say.
        find: Finds the audio of a path.
        license: The licence of the audios; None: unknown.
    """

    def __init__(self, root: str, path: str, uri: str, file: LlasoFile, find: Find, license: str | None) -> None:
        self._root, self._path, self._uri, self._file, self._find = root, path, uri, file, find
        self._license = license

    def conversation(self, row: LlasoRow | str, number: int) -> SourceConversation | Failure:
        """The conversation of a row, or why there is none.

        Args:
            row: The typed row, or what is wrong with it.
            number: Its place in the file, counted from 1.

        Returns:
            A failure is ``bad_row``, ``missing`` where an audio is not there, or ``unreadable`` where it is broken.
        """
        where = f"{self._path}:{number}"
        if isinstance(row, str):
            return bad_conversation(self._root, where, row)
        try:
            return self._conversation(row, number, where)
        except Exception as error:
            return bad_conversation(self._root, where, describe_error(error))

    def _conversation(self, row: LlasoRow, number: int, where: str) -> SourceConversation | Failure:
        paths = voices(row)
        turns = [tagged(_role(turn.speaker), turn.value, TAGGED) for turn in row.conversations]
        messages, _ = assembled(turns, paths)
        answers = [turn.text or "" for turn in turns if turn.role == "assistant"]
        audios = []
        for place, path in enumerate(paths):
            found = self._find(path) if path.strip() else None
            if found is None:
                detail = f"voice {path!r:.500}: no such audio below {self._root}, as a file or in a zip; {_HINT}"
                return bad_conversation(self._root, where, detail, reason="missing")
            if found.broken is not None:
                detail = f"voice {path!r:.500}: {audio.name_of(found.uri, found.member)}: {found.broken}"
                return bad_conversation(self._root, where, detail, reason="unreadable")
            spoken = answers[0] if self._file.task == "asr" and len(paths) == len(answers) == 1 else None
            audios.append(self._audio(row, place, path, found, spoken, where))
        return SourceConversation(
            root=self._root,
            where=where,
            messages=messages,
            audios=tuple(audios),
            task=row.task or self._file.task,
            language=row.language,
            split=self._file.split,
            file=self._path,
            row=number,
            kept=self._kept(row, messages, answers, audios),
        )

    def _audio(
        self, row: LlasoRow, place: int, path: str, found: FoundAudio, spoken: str | None, where: str
    ) -> SourceRow:
        metadata = row.metadata or row.meta_data
        about: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
        in_path = self._file.declared.speaker_in(path) if self._file.declared else None
        return SourceRow(
            path=audio_location(path, self._root)[0],
            uri=found.uri,
            root=self._root,
            container=self._uri,
            member=found.member,
            member_in_id=False,
            size_bytes=found.size_bytes,
            version=found.version,
            metadata=SourceMetadata(
                text=spoken or _first(about, _TEXTS),
                language=row.language,
                speaker=in_path or _text(_at(row.speaker_id, place)) or _first(about, _SPEAKERS),
                gender=_text(_at(row.gender, place)) or _first(about, ("gender",)),
                age=_text(_at(row.age, place)) or _first(about, _AGES),
                accent=_text(_at(row.accent, place)) or _first(about, _ACCENTS),
                license=self._license,
            ),
            where=where,
        )

    def _kept(
        self, row: LlasoRow, messages: tuple[Message, ...], answers: list[str], audios: list[SourceRow]
    ) -> dict[str, Any]:
        from llaso_data.formats.conversations.llaso_rows import KEPT

        kept = {name: value for name, attribute in KEPT if (value := getattr(row, attribute)) is not None}
        kept.update(row.other or {})
        if row.speaker_id is not None and [_text(row.speaker_id)] != [audio.metadata.speaker for audio in audios]:
            kept.setdefault("speaker_id", row.speaker_id)
        first = next((message for message in messages if message.role == "user"), None)
        modality = self._file.modality
        if modality is None and first is not None and first.content[0].audio is not None:
            modality = AUDIO_TEXT
        derived: dict[str, Any] = {} if modality is None else {"modality": modality}
        if modality == PURE_AUDIO and first is not None and any(part.text for part in first.content):
            derived["carrier"] = True
        if self._file.labels and len(answers) == 1 and (label := self._file.label_of(answers[0])) is not None:
            derived["label"] = label
        return {**kept, DERIVED: derived} if derived else kept


def _role(speaker: str) -> str:
    role = _ROLES.get(speaker)
    if role is None:
        raise RowError(f"a turn is by {speaker[:80]!r}; turns are by human, gpt or system")
    return role


def _at(value: Any, place: int) -> Any:
    if not isinstance(value, list):
        return value
    return value[place] if place < len(value) else None


def _text(value: Any) -> str | None:
    return cell_text(value) if isinstance(value, (str, int, float)) else None


def _first(about: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next(filter(None, (_text(about.get(name)) for name in names)), None)
