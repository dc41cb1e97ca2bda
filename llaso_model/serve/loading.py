"""The model and what belongs to it, and the whole server as an ASGI application for other programs that run such."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_model.engine.backends import BACKENDS
from llaso_model.engine.engine import Engine, Limits
from llaso_model.serve.service import Served

TOKEN_VARIABLE = "LLASO_TOKEN"
SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What is loaded, and how.

    Attributes:
        names: What requests call the model; empty: the last part of its path.
        whisper: Times words; None: the one in the model's configuration.
        voice: See :class:`~llaso_model.voice.speaking.Speaker`; None: hibari where it is installed.
        voices: File of voices.
        slots: Answers that are decoded at once.
        waiting: Prompts that wait for a slot.
        max_new_tokens: The most tokens of an answer, where a request names none.
        live: Policy of realtime deltas.
        precision: Of the model.
        backend: What computes.
    """

    names: Sequence[str] = ()
    whisper: str | None = None
    voice: str | None = None
    voices: str | None = None
    slots: int = 32
    waiting: int = 256
    max_new_tokens: int = 512
    live: str = "attention"
    precision: str | None = None
    backend: str = "torch"


def load(model: str, options: ModelOptions) -> Served:
    """The model and what belongs to it.

    Args:
        model: A folder, or an id on the hub.
        options: See there.

    Raises:
        LLaSOError: There is no such model, Whisper or voice.
    """
    backend = BACKENDS[options.backend].open(model, "MODEL", options.precision)
    config = getattr(backend, "config", None) or getattr(getattr(backend, "model", None), "config", None)
    aligner, no_words = _aligner(options.whisper, getattr(config, "whisper", None))
    speaker = _speaker(options.voice, options.voices)
    if options.live == "attention" and aligner is not None and speaker is not None:
        _find_heads(backend, aligner, speaker)
    return Served(
        engine=Engine(backend, Limits(slots=options.slots, waiting=options.waiting)),
        processor=backend.processor,
        names=tuple(options.names) or (_name_of(model),),
        context=getattr(getattr(config, "text_config", None), "max_position_embeddings", None),
        aligner=aligner,
        no_words=no_words,
        speaker=speaker,
        max_new_tokens=options.max_new_tokens,
        live=options.live,
    )


def asgi_application(model: str, keys: Mapping[str, str] | None = None, **options: Any) -> Any:
    """The whole server as an ASGI application, for what runs such applications.

    Args:
        model: A folder, or an id on the hub.
        keys: Who may ask: key by name; None: the key of the variable LLASO_TOKEN.
        options: Those of :class:`ModelOptions`.

    Raises:
        LLaSOError: There is no key, or no such model, Whisper or voice.
    """
    from llaso_model.serve.app import application
    from llaso_model.serve.metrics import Metrics
    from llaso_model.serve.service import Service
    from llaso_model.serve.settings import Keys, ServeLimits

    keys = keys or {"default": os.environ.get(TOKEN_VARIABLE, "")}
    if not all(len(key) >= SHORTEST_TOKEN for key in keys.values()):
        raise LLaSOError(f"a key of at least {SHORTEST_TOKEN} characters is needed: set the variable {TOKEN_VARIABLE}")
    chosen = ModelOptions(**options)
    service = Service(load(model, chosen), ServeLimits(waiting=chosen.waiting), Metrics())
    return application(service, Keys(dict(keys)))


def _aligner(asked: str | None, recorded: str | None) -> tuple[Any, str]:
    """What times words, or None and why there is none.

    Args:
        asked: Whisper that the user names. It has to be there.
        recorded: The one in the model's configuration. A model may be served on another machine than trained it.

    Raises:
        LLaSOError: There is no such Whisper as the user names.
    """
    from llaso_model.answer.words import WordAligner

    if asked is not None:
        return WordAligner(asked, "--whisper"), ""
    if recorded is None:
        return None, "the model names no Whisper, and --whisper names none"
    try:
        return WordAligner(recorded, "the model's whisper"), ""
    except LLaSOError as error:
        return None, f"{error}; --whisper names another"


def _find_heads(backend: Any, aligner: Any, speaker: Any) -> None:
    """Finds the heads that follow the speech, where the configuration does not name them."""
    from llaso_model.serve.live.heads import alignment_heads, spoken_clips

    model = getattr(backend, "model", None)
    if model is None or model.config.alignment_heads is not None:
        return
    model.config.alignment_heads = alignment_heads(model, backend.processor, aligner.words, spoken_clips(speaker))


def _name_of(model: str) -> str:
    """What the model is called where no name is given: the last part of its path that says something."""
    if "://" in model:
        return "llaso"
    parts = [part for part in os.path.abspath(model).split(os.sep) if part] if os.path.isdir(model) else [model]
    return next((part for part in reversed(parts) if part != "model"), "llaso")


def _speaker(voice: str | None, voices: str | None) -> Any:
    """What speaks; None where no voice is installed and none was asked for."""
    from llaso_model.voice.speaking import DEFAULT, speaker_of

    if voice is None and voices is None and importlib.util.find_spec(DEFAULT) is None:
        return None
    return speaker_of(voice, voices)
