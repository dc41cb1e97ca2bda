"""The demo's conversions: a few samples written in every layout that is written, and read back."""

from __future__ import annotations

from pathlib import PurePosixPath

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS
from llaso_data.io import storage
from llaso_data.pipeline.convert.run import convert
from llaso_data.pipeline.load_recipe import load
from llaso_data.shards import reader

SAMPLES = 4


def there_and_back(shards: str, out: str) -> list[str]:
    """Convert a few samples of shards to every layout, and each of these to shards again.

    Args:
        shards: The demo's shards.
        out: Folder for the conversions, one below it for each.

    Returns:
        The names of the layouts.

    Raises:
        LLaSOError: What comes back is not what was written.
    """
    names = sorted(name for name in LAYOUTS if LAYOUTS[name].writer is not None)
    source = {"path": shards, "limit": SAMPLES}
    first = _written(source, storage.join(out, "shards"), "shards")
    for name in names:
        there = storage.join(out, name)
        _run(source, there, name)
        if _written({"path": there}, storage.join(out, f"{name}-back"), "shards") != first:
            raise LLaSOError(f"{there}: what was written as {name} does not come back as it was")
    return names


def _run(source: dict[str, object], out: str, to: str) -> None:
    # Layouts that point to files get files of their own: the originals are telephone prompts in an odd format.
    kept = LAYOUTS[to].writer if to in LAYOUTS else None
    form = "wav" if kept is not None and not kept.inside else None
    options = {"sources": [source], "out": out, "convert.to": to, "convert.audio": form, "run.engine": "local"}
    convert(load(None, options=options), overwrite=True)


def _written(source: dict[str, object], out: str, to: str) -> set[tuple[str, str]]:
    """The text and the digest of the sound of every sample that was written."""
    _run(source, out, to)
    return {
        (sample.messages[-1].content[0].text or "", audio.audio_id(audio.decode_bytes(data, PurePosixPath(out).name)))
        for sample, sounds in reader.samples(out)
        for data in sounds.values()
    }
