"""A process that loads data sets from the hub of ``HF_ENDPOINT``, as a user of ``datasets`` does.

python -m tests.support.load_from_hub REPO REVISION: a line of JSON for each row of each configuration and split.
``datasets`` reads the hub's address when it is imported, so this is no function.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import datasets
import numpy as np

from llaso_data import audio


def pcm(value: Any) -> str:
    """16-bit PCM in hexadecimal digits, of what ``datasets`` decoded or of the bytes of a file."""
    if isinstance(value, bytes):
        return audio.decode_bytes(value).tobytes().hex()
    assert value["sampling_rate"] == audio.SAMPLE_RATE_HZ
    return np.round(np.asarray(value["array"]) * 32768).astype(np.int16).tobytes().hex()


def main(repo: str, revision: str) -> None:
    decodes = importlib.util.find_spec("torchcodec") is not None
    for config in datasets.get_dataset_config_names(repo, revision=revision):
        builder = datasets.load_dataset_builder(repo, config, revision=revision)
        kinds = builder.info.features
        sounds = [name for name, kind in kinds.items() if isinstance(kind, datasets.Audio)]
        if not decodes:
            kinds = datasets.Features({**kinds, **{name: datasets.Value("binary") for name in sounds}})
        for split, stated in builder.info.splits.items():
            rows = datasets.load_dataset(
                repo, config, split=split, revision=revision, streaming=True, features=None if decodes else kinds
            )
            found = list(rows)
            assert len(found) == stated.num_examples
            for row in found:
                told = {name: pcm(row[name]) for name in sounds if row[name] is not None}
                place = {"config": config, "split": split, "key": row["__key__"]}
                print(json.dumps({**place, "json": row["json"], "sounds": told}))


if __name__ == "__main__":
    main(*sys.argv[1:])
