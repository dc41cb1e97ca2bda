"""Sets of speech that something else wrote, one sample of which is not as training takes it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llaso_data.shards.foreign import index_foreign
from tests.support.shard_sets import flac

ODD = "k007"
Content = dict[str, Any]


def content_of(number: int) -> Content:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Write."}, {"type": "audio", "audio": "flac"}]},
        {"role": "assistant", "content": [{"type": "text", "text": f"said {number}"}]},
    ]
    words = [{"text": "said", "start_s": 0.1, "end_s": 0.4}]
    audio = {"part": "flac", "text": f"said {number}", "language": "en", "words": words}
    return {"task": "asr", "messages": messages, "audios": [audio]}


def write_tar(folder: Path, parts_of: Callable[[int], Mapping[str, bytes]], count: int = 24) -> Path:
    """A tar of so many samples, indexed as one made elsewhere."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for number in range(count):
            for name, data in parts_of(number).items():
                entry = tarfile.TarInfo(f"k{number:03d}.{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    index_foreign(str(folder))
    return folder


def good(number: int) -> dict[str, bytes]:
    return {"flac": flac(0.4 + number / 40, number), "json": json.dumps(content_of(number)).encode()}


def with_odd(folder: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """24 samples, of which ``k007`` is changed."""
    return write_tar(folder, lambda number: change(good(number)) if number == int(ODD[1:]) else good(number))
