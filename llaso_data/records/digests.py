"""Digests and ids, and the canonical form of a record that they are computed from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from json.encoder import encode_basestring_ascii
from typing import Any

from llaso_data.records.utterance import NO_SCORES, Attribute, Speaker
from llaso_data.records.versions import field_names

_LARGE_BYTES = 1 << 16  # above, a copy costs more than a call


def digest(*parts: Any, length: int = 32) -> str:
    """BLAKE2b of the parts' text. Each part is hashed with its length, so that no two lists of parts collide.

    Args:
        parts: Bytes, or objects whose ``str`` is hashed; None differs from every text.
        length: Hexadecimal digits of the result.

    Returns:
        Lower-case hexadecimal digits; ``shards/SPEC.md``, section 5, defines the bytes that are hashed.
    """
    state = hashlib.blake2b(digest_size=length // 2)
    pieces: list[bytes | memoryview] = []
    for part in parts:
        if part is None:
            pieces.append(b"-:")
            continue
        data = part if isinstance(part, (bytes, memoryview)) else str(part).encode("utf-8", "surrogatepass")
        pieces += (b"%d:" % len(data), data)
        if len(data) > _LARGE_BYTES:
            state.update(b"".join(pieces[:-1]))
            state.update(data)
            pieces = []
    state.update(b"".join(pieces))  # one call for many small parts takes a third of the time
    return state.hexdigest()


def utterance_id(
    corpus: str,
    path: str,
    member: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    channel: int | tuple[int, ...] | None = None,
) -> str:
    """The id of (corpus, path, member, span), and of the channel where one is selected.

    It needs no decoding: a file that cannot be decoded has an id too, and no library upgrade changes an id. Without a
    selected channel the digest has no part for it, so that ids from before channels were supported stay valid.

    Args:
        corpus: The corpus's name.
        path: The file, relative to the source's root.
        member: The member of an archive; None where the file is no archive.
        start_s: Start of the span in seconds; None: the file's start.
        end_s: End of the span in seconds; None: the file's end.
        channel: The selected channel, counted from 0, or the channels that are averaged; None: none is selected.

    Returns:
        32 hexadecimal digits.
    """
    span = None
    if start_s is not None or end_s is not None:
        span = f"{start_s or 0.0:.3f}-" + ("" if end_s is None else f"{end_s:.3f}")
    if channel is None:
        return digest(corpus, path, member, span)
    chosen = (channel,) if isinstance(channel, int) else channel
    return digest(corpus, path, member, span, f"channel {'+'.join(map(str, chosen))}")


def canonical(value: Any) -> str:
    """The canonical text of a value, which digests are computed from: JSON in ASCII with sorted keys.

    A record's fields that are None are left out, so that a new field changes no digest. The text is ASCII because
    versions of Python differ in which characters are printable. It is not made by ``json.dumps``, which is too slow for
    millions of records.

    Raises:
        TypeError: A value is neither text, number, record, sequence nor mapping.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is int or kind is float or kind is bool:
        return json.dumps(value)
    if kind is Speaker or kind is Attribute:
        return _canonical_again(value)
    if value is NO_SCORES:
        return _no_scores()
    if dataclasses.is_dataclass(kind):
        return _canonical_record(value)
    if kind is tuple or kind is list:
        return "[" + ",".join([canonical(item) for item in value]) + "]"
    if kind is dict:
        pairs = [f"{encode_basestring_ascii(name)}:{canonical(inner)}" for name, inner in sorted(value.items())]
        return "{" + ",".join(pairs) + "}"
    if value is None:  # in a sequence or mapping
        return "null"
    raise TypeError(f"{kind.__name__} has no canonical form")


def _canonical_record(record: Any) -> str:
    kind: type = type(record)
    pieces = []
    for name, prefix in _prefixes(kind):
        inner = getattr(record, name)
        if inner is not None:
            text = encode_basestring_ascii(inner) if type(inner) is str else canonical(inner)
            pieces.append(prefix + text)
    return "{" + ",".join(pieces) + "}"


@functools.cache
def _prefixes(kind: type) -> tuple[tuple[str, str], ...]:
    return tuple((name, f'"{name}":') for name in field_names(kind))


@functools.cache
def _no_scores() -> str:
    return _canonical_record(NO_SCORES)


_canonical_again = functools.lru_cache(4096)(_canonical_record)
"""As :func:`_canonical_record`, cached for values that many records of a corpus share."""
