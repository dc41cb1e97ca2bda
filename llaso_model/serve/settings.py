"""What a server is told: who may ask, and how much of everything a stranger may use."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """What a server accepts.

    Attributes:
        body_bytes: Of one request; more is refused (413).
        held_bytes: Of all bodies of requests that are being answered; more are refused (429).
        audio_s: Of all recordings of one request together, in seconds; more is refused (413).
        timeout_s: Seconds for one request; then it is ended (504).
        upload_s: Seconds in which a body has to come (408).
        idle_s: Seconds without a byte of a body after which it is given up (408).
        per_key: Requests of one key at once; more are refused (429).
        open_requests: Of all keys at once; more are refused (429).
        waiting: Prompts that wait for a slot of the engine; more are refused (429).
        drain_s: Seconds that requests have to end after SIGTERM.
        decoders: Recordings that are decoded at once, each in a process of its own.
        stall_s: Seconds without progress after which a decoder is ended.
        decoder_mb: MiB that a decoder may take.
        session_s: Seconds that a realtime session may last.
    """

    body_bytes: int = 64 << 20
    held_bytes: int = 1 << 30
    audio_s: float = 2 * 3600.0
    timeout_s: float = 3600.0
    upload_s: float = 300.0
    idle_s: float = 30.0
    per_key: int = 64
    open_requests: int = 512
    waiting: int = 256
    drain_s: float = 60.0
    decoders: int = 2
    stall_s: float = 30.0
    decoder_mb: int = 1024
    session_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that may ask, by the name that limits and metrics count them under.

    Attributes:
        tokens: Token by name.
    """

    tokens: Mapping[str, str] = field(repr=False)

    def name_of(self, token: str) -> str | None:
        """The name of a token's key; None: nobody's. All are compared, each in constant time."""
        found = None
        for name, own in self.tokens.items():
            if secrets.compare_digest(own.encode(), token.encode("utf-8", "surrogateescape")):
                found = name
        return found
