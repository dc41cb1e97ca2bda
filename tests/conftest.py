"""Real audio and real weights for the tests: obtained once, checked by hash, kept in the user's cache."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from llaso_data.demo import assets, weights
from llaso_data.demo.wheels import NO_DOWNLOAD
from llaso_data.errors import LLaSOError
from tests.support.object_stores import s3_server

# A shell that starts the tests in the background would have them, and every process they start, ignore Ctrl-C.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A third of hypothesis' own number: other examples every time, and machines where a test takes seconds at times.
settings.register_profile("llaso", max_examples=30, deadline=None)
settings.load_profile("llaso")


@dataclass(frozen=True)
class Clip:
    path: Path
    text: str
    language: str


def obtained(get: Callable[[], Path]) -> Path:
    """The folder, or a skip where downloads are forbidden; any other trouble is an error, not a skip."""
    try:
        return get()
    except LLaSOError as error:
        if os.environ.get(NO_DOWNLOAD):
            pytest.skip(str(error))
        raise


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Loading a model may set torch to more threads, which would then wait in a loop in all tests that follow."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A real S3 server for the tests of one module; its URL."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    """The 27 clips of pytest-audioeval in nine languages, sorted by path."""
    return [
        Clip(path, path.with_suffix(".txt").read_text(encoding="utf-8").strip(), path.parent.name)
        for path in sorted(obtained(assets.clips).glob("*/*.wav"))
    ]


@pytest.fixture(scope="session")
def tiny_en() -> Path:
    """Whisper tiny.en as a Hugging Face folder."""
    return obtained(weights.tiny_en)


@pytest.fixture(scope="session")
def whisper_base() -> Path:
    """Whisper base (multilingual) as a Hugging Face folder."""
    return obtained(weights.whisper_base)
