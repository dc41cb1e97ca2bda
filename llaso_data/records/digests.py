"""Names of things: digests, ids, and the canonical form of a record that they are made of."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from json.encoder import encode_basestring_ascii
from typing import Any

from llaso_data.records.utterance import Attribute, Speaker
from llaso_data.records.versions import field_names


def digest(*parts: Any, length: int = 32) -> str:
    """BLAKE2b of the parts' text, each with its length, so that no two lists of parts collide.

    Args:
        parts: Bytes, or what ``str`` makes text of; None differs from every text.
        length: Of the result, hexadecimal digits.

    Returns:
        Lower-case hexadecimal digits; ``shards/SPEC.md``, section 5, has the bytes that are hashed.
    """
    state = hashlib.blake2b(digest_size=length // 2)
    for part in parts:
        data = part if isinstance(part, bytes) else ("" if part is None else str(part)).encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(data) if part is not None else b"-:")
        state.update(data)
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

    It needs no decoding, so even what cannot be decoded has one, and no library upgrade changes it. Without a selected
    channel there is no part for it in the digest, so that ids which were given before channels existed stay.

    Args:
        corpus: The corpus's name.
        path: Of the file, relative to the source's root.
        member: Of an archive.
        start_s: Where the span begins, seconds; None: at the file's start.
        end_s: Where it ends, seconds; None: at the file's end.
        channel: The selected channel, counted from 0, or those that are averaged; None: none was selected.

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
    """The names and values of what a record says, as JSON in ASCII with sorted keys: a digest of it is its name.

    Fields that are None are left out, so that a new field renames nothing. ASCII, because which characters are
    printable differs between versions of Python. Millions of these are made, hence not by way of ``json.dumps``.

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
    items = ((name, getattr(record, name)) for name in field_names(kind))
    return "{" + ",".join([f'"{name}":{canonical(inner)}' for name, inner in items if inner is not None]) + "}"


_canonical_again = functools.lru_cache(4096)(_canonical_record)
"""The same for what many records of a corpus share."""
