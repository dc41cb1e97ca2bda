"""Models in Hugging Face format: a local folder or an id on the hub, and what they weigh."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llaso_data.errors import OF_THE_MACHINE, LLaSOError
from llaso_data.io import checksums, storage
from llaso_data.io.cache import cache_folder

_OF_DEVICES = frozenset(("OutOfMemoryError", "AcceleratorError"))  # torch's
_MESSAGE_CHARACTERS = 300
DAMAGED = "is damaged"
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_DECIDING = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"),
)  # beside the weights: what decides the text
_OURS = "llaso"
_unchecked: set[str] = set()  # folders of which that was said


def checkpoint(
    key: str, model: str, revision: str | None, kind: str | Sequence[str] | None = None, name_it: str = "name"
) -> str:
    """Find a model of safetensors; one of the hub is downloaded. Files that it has checksums of are compared.

    Args:
        key: the recipe's key that names the model, for messages.
        model: a local folder in Hugging Face format, or an id on the hub.
        revision: of a model on the hub; None for its main branch.
        kind: the ``model_type`` that it must have, or several of which it must have one; None for any.
        name_it: how the user names a folder, for messages.

    Returns:
        The model's local folder.

    Raises:
        LLaSOError: where there is no such model, it is of another kind, or its weights are no safetensors.
        DamagedError: where a file has another checksum than its folder states.
    """
    folder = model if os.path.isdir(model) else _download(key, model, revision, name_it)
    if wrong := checksums.faults(folder):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise checksums.DamagedError(
            f"{key}: {model} {DAMAGED} ({wrong[0]}{more}); fetch it again, or write it again, or, where you changed it "
            f"on purpose, remove its {checksums.FOLDER_FILE}"
        )
    config = os.path.join(folder, "config.json")
    if not os.path.exists(config):
        raise LLaSOError(f"{key}: {model} has no config.json; it must be in Hugging Face format")
    with loading(key, model), open(config, encoding="utf-8") as file:
        model_type = json.load(file).get("model_type")
    kinds = (kind,) if isinstance(kind, str) else kind
    if kinds is not None and model_type not in kinds:
        raise LLaSOError(f"{key}: {model}: model_type is {model_type!r}, not {' or '.join(map(repr, kinds))}")
    if not weights(folder):
        raise LLaSOError(f"{key}: {model} has no *.safetensors; weights in pickle files are not loaded")
    if model_type == _OURS and not checksums.is_noted(folder) and folder not in _unchecked:
        _unchecked.add(folder)
        note = f"{folder} has no {checksums.FOLDER_FILE}: an earlier version wrote it, and its files are not compared"
        print(note, file=sys.stderr, flush=True)
    return folder


@contextmanager
def loading(key: str, model: str, wrong: str = DAMAGED) -> Iterator[None]:
    """Turn whatever libraries raise for a model's files that are damaged or missing into one LLaSOError.

    What is not the files' fault passes: memory, a device, a package that is not there.

    Args:
        key: the recipe's key, or the option, that names the model.
        model: its name, for the message.
        wrong: what to say of it.
    """
    try:
        yield
    except (LLaSOError, MemoryError, ImportError):
        raise
    except Exception as error:
        if type(error).__name__ in _OF_DEVICES or getattr(error, "errno", None) in OF_THE_MACHINE:
            raise
        detail = " ".join(str(error).split())[:_MESSAGE_CHARACTERS] or type(error).__name__
        raise LLaSOError(f"{key}: {model} {wrong} ({detail}); fetch it again") from error


def pretrained(kind: Any, key: str, model: str, folder: str, wrong: str = DAMAGED, **options: Any) -> Any:
    """Load a model whose weights are all there: transformers would draw missing ones at random.

    Args:
        kind: the class, whose ``from_pretrained`` is called with ``options``.
        key: the recipe's key, or the option, that names the model.
        model: its name, for messages.
        folder: where it lies.
        wrong: what to say of a damaged one.

    Raises:
        LLaSOError: where it is damaged, or lacks weights.
    """
    with loading(key, model, wrong):
        loaded, info = kind.from_pretrained(folder, output_loading_info=True, **options)
        lacking = sorted(info["missing_keys"])
        if lacking:
            named = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
            raise LLaSOError(f"{key}: {model} is damaged (it lacks {named}); fetch it again")
    return loaded


def weights(folder: str) -> list[str]:
    """The weight files of a checkpoint, sorted. fp32 duplicates of other precisions are left out."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".safetensors"))
    main = [n for n in names if n == "model.safetensors" or n.startswith("model-0")]
    return [os.path.join(folder, name) for name in main or names]


def weights_digest(folder: str) -> str:
    """SHA-256 over the files that decide what the model says; remembered by size and time of change."""
    files = [
        *weights(folder),
        *(os.path.join(folder, name) for name in _DECIDING),
    ]
    state = hashlib.sha256()
    for path in files:
        if os.path.exists(path):
            state.update(os.path.basename(path).encode() + b"\0" + _file_digest(path).encode())
    return state.hexdigest()


def _download(key: str, model: str, revision: str | None, name_it: str) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return str(snapshot_download(model, revision=revision, allow_patterns=_WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise LLaSOError(
            f"{key}: {model!r} is neither a local folder nor a model that the Hugging Face hub gives ({first}); "
            f"{name_it} a folder in Hugging Face format to work offline"
        ) from error


def _file_digest(path: str) -> str:
    """SHA-256 of a file, read again only when its size or time of change does."""
    real = os.path.realpath(path)
    info = os.stat(real)
    note = cache_folder() / "digests" / hashlib.sha256(real.encode()).hexdigest()[:32]
    stamp = f"{info.st_size}-{info.st_mtime_ns}"
    if note.exists():
        known = note.read_bytes().split()
        if len(known) == 3 and known[0] == stamp.encode() and known[2] == _sealed_note(*known[:2]):
            return known[1].decode()
    digest, _ = checksums.sha256(real)
    words = stamp.encode(), digest.encode()
    storage.write_bytes(str(note), b" ".join((*words, _sealed_note(*words))))
    return digest


def _sealed_note(stamp: bytes, digest: bytes) -> bytes:
    """The checksum of a note, which stands at its end; a note without the right one is not believed."""
    return checksums.of_bytes(stamp + b" " + digest).encode()
