"""Real recordings."""

from __future__ import annotations

from pathlib import Path

from llaso_data.demo.wheels import Wheel, cached, unpack

BUILD = 1
_CLIPS = Wheel(
    "pytest-audioeval",
    "0.1.3",
    below="pytest_audioeval/samples/audio",
    sha256="8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
)


def clips() -> Path:
    """The 27 clips of pytest-audioeval (MIT): ``<language>/<name>.wav`` with ``<name>.txt``, in nine languages."""

    def make(folder: Path) -> None:
        unpack(_CLIPS, folder)
        for language in (folder / str(_CLIPS.below)).iterdir():
            language.rename(folder / language.name)

    return cached(f"clips-{BUILD}", make)
