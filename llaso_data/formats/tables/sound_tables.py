"""Parquet and Arrow tables with sound inside, as Hugging Face's datasets have them: what they hold, and their rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.files.splits import split_of
from llaso_data.formats.rows.source_row import describe_error
from llaso_data.formats.tables.arrow import arrow_rows
from llaso_data.formats.tables.columns import COLUMN_NAMES
from llaso_data.formats.tables.parquet import message_of, parquet_rows
from llaso_data.io import storage
from llaso_data.io.table_cells import arrow_batches, is_sound, sound_places
from llaso_data.uris import extension

HF_METADATA = b"huggingface"
"""The key of a schema's metadata under which datasets says what its columns are."""
TALK_COLUMNS = ("messages", "conversations", "conversation")
SOUND_COLUMNS = (*COLUMN_NAMES["audio"], "speech", "sound", "flac", "mp3", "opus")
_ROWS_AT_ONCE = 1024
_ROWS_WITH_SOUND = 16
_LOOKED_AT = 3  # tables of a source by which it is recognised


@dataclass(frozen=True)
class SoundTable:
    """One table with sound inside.

    Attributes:
        file: Its path below the source's root, its size and version.
        uri: The same.
        root: URI that the path is relative to.
        columns: All columns, with their types in Arrow's words.
        sound: The column that holds one sound a row; None: none does.
        sounds: The column that holds several sounds a row; None: none does.
        talk: The column of conversations; None: the table is a corpus.
        labels: Of a column of numbers that stand for words, the words.
        split: As the path says.
    """

    file: ListedFile
    uri: str
    root: str
    columns: Mapping[str, Any]
    sound: str | None
    sounds: str | None
    talk: str | None
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    split: str | None = None

    @property
    def other_sounds(self) -> list[str]:
        """Columns of sounds that are not read."""
        return [name for name, kind in self.columns.items() if is_sound(kind) and name not in (self.sound, self.sounds)]

    def rows(self, columns: Collection[str], sounds: bool = False) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """The rows with their numbers, from 1.

        Args:
            columns: Those to read.
            sounds: Whether the bytes of sounds are read, too.

        Raises:
            LLaSOError: The table cannot be opened any more.
        """
        at_once = _ROWS_WITH_SOUND if sounds else _ROWS_AT_ONCE
        try:
            with storage.open_read(self.uri) as file:
                if extension(self.uri) == "parquet":
                    wanted = {name.lower() for name in columns}
                    rows = parquet_rows(file, self.uri, wanted, at_once, sounds)
                else:
                    at_once = _ROWS_WITH_SOUND if self.talk in columns else at_once
                    rows = arrow_rows(file, self.uri, columns, at_once, sounds)
                for number, row in rows:
                    yield number, row if isinstance(row, str) else self._named(row)
        except OSError as error:
            raise LLaSOError(f"{self.uri}: cannot be read ({error.strerror or error})") from error

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with words where numbers stand for them."""
        for column, words in self.labels.items():
            number = row.get(column)
            if isinstance(number, int) and not isinstance(number, bool):
                row[column] = words[number] if 0 <= number < len(words) else None
        return row

    def count(self) -> int:
        """The number of rows; 0 where it is not known without reading all of the table."""
        try:
            with storage.open_read(self.uri) as file:
                if extension(self.uri) == "parquet":
                    return int(_parquet(file).metadata.num_rows)
                return (
                    sum(batch.num_rows for batch in arrow_batches(self.uri, file)[1])
                    if storage.is_local(self.uri)
                    else 0
                )
        except Exception as error:
            describe_error(error)  # raises what is not the table's fault; reading says what is
            return 0

    def names_files(self) -> bool:
        """Whether the first row with sounds holds none, but the path of one: then all rows are taken to name files."""
        column = self.sounds or self.sound or self.talk or ""
        for _, row in islice(self.rows((column,), sounds=True), _ROWS_WITH_SOUND):
            places = [] if isinstance(row, str) else list(sound_places(self.columns[column], row.get(column)))
            if any(isinstance(one, bytes) or (isinstance(one, dict) and one.get("bytes")) for one in places):
                return False
            if any(isinstance(one, dict) and one.get("path") for one in places):
                return True
        return False


def open_sound_table(tree: FileTree, file: ListedFile) -> SoundTable | None:
    """A table of a source, by its schema; None where it has no sound inside.

    Args:
        tree: The source: a folder, or the table itself.
        file: The table. Of a single file the path is its name.

    Raises:
        LLaSOError: It is no readable table.
    """
    root = tree.root.rpartition("/")[0] if tree.is_file else tree.root
    uri = storage.join(root, file.path)
    schema = _schema(uri)
    try:
        return _described(schema, file, uri, root)
    except (ValueError, RecursionError) as error:  # names that are not UTF-8, types within types
        raise LLaSOError(f"{uri}: its columns cannot be read ({message_of(error)}); write it again") from error


def _described(schema: Any, file: ListedFile, uri: str, root: str) -> SoundTable | None:
    columns = {name: schema.field(number).type for number, name in enumerate(schema.names)}
    features = _features(schema)
    talk = next((name for name in TALK_COLUMNS if name in columns and _is_talk(columns[name])), None)
    sound, sounds = _sound_column(columns, features), _sounds_column(columns)
    if sound is None and sounds is None and (talk is None or sound_path(columns[talk]) is None):
        return None
    if sound is None and talk is None:
        return None
    labels = {name: words for name, feature in features.items() if (words := _words(feature))}
    return SoundTable(file, uri, root, columns, sound, sounds, talk, labels, split_of(file.path))


def listed_file(tree: FileTree) -> ListedFile:
    """A source that is one file, as its folder would list it."""
    stat = storage.stat(tree.root)
    return ListedFile(tree.root.rpartition("/")[2], stat["size"], stat["version"])


def sound_path(kind: Any) -> tuple[str, ...] | None:
    """The names of the fields that lead from a message to the one place for a sound in it; None: it has none.

    Args:
        kind: The type of a column of conversations.
    """
    import pyarrow.types as types

    if is_sound(kind):
        return ()
    if _is_list(kind):
        return sound_path(kind.value_type)
    if not types.is_struct(kind):
        return None
    found = [(one.name, *rest) for one in kind if (rest := sound_path(one.type)) is not None]
    return found[0] if len(found) == 1 else None


def _schema(uri: str) -> Any:
    import pyarrow as pa

    try:
        with storage.open_read(uri) as file:
            if extension(uri) == "parquet":
                return _parquet(file).schema_arrow
            return arrow_batches(uri, file)[0]
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise LLaSOError(f"{uri}: not a readable table ({message_of(error)}); fetch it again") from error


def _parquet(file: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file)


def _features(schema: Any) -> dict[str, Any]:
    """What datasets says of the columns; empty where it says nothing that can be understood."""
    try:
        features = json.loads((schema.metadata or {}).get(HF_METADATA, b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _words(feature: Any) -> list[str]:
    words = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else []


def _sound_column(columns: Mapping[str, Any], features: Mapping[str, Any]) -> str | None:
    """The column of one sound a row: that which datasets calls so, else a struct, else bytes under a known name."""
    import pyarrow.types as types

    held = [name for name, kind in columns.items() if is_sound(kind) and _feature_type(features, name) != "Image"]
    rank = {name: number for number, name in enumerate(SOUND_COLUMNS)}
    held.sort(key=lambda name: (_feature_type(features, name) != "Audio", rank.get(name.lower(), len(rank))))
    for name in held:
        if types.is_struct(columns[name]) or name.lower() in rank:
            return name
    return None


def _sounds_column(columns: Mapping[str, Any]) -> str | None:
    lists = [name for name, kind in columns.items() if _is_list(kind) and is_sound(kind.value_type)]
    return next((name for name in ("audios", "audio") if name in lists), lists[0] if lists else None)


def _feature_type(features: Mapping[str, Any], name: str) -> Any:
    feature = features.get(name)
    return feature.get("_type") if isinstance(feature, dict) else None


def _is_talk(kind: Any) -> bool:
    names = _field_names(kind.value_type) if _is_list(kind) else ()
    return bool({"role", "from"} & set(names)) and bool({"content", "value"} & set(names))


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind))


def _field_names(kind: Any) -> tuple[str, ...]:
    import pyarrow.types as types

    return tuple(one.name for one in kind) if types.is_struct(kind) else ()


def recognised_table(tree: FileTree, ending: str) -> str | None:
    """Why a source is one of tables with sound inside: by its first tables; None where it is none.

    Args:
        tree: The source.
        ending: The extension of tables.
    """
    if tree.is_file:
        files = [listed_file(tree)] if extension(tree.root) == ending else []
    else:
        files = [file for file in tree.files if extension(file.path) == ending][:_LOOKED_AT]
    for file in files:
        try:
            table = open_sound_table(tree, file)
        except LLaSOError:
            continue
        if table is not None:
            return f"{file.path} holds sound in its column {table.sound or table.sounds or table.talk}"
    return None
