"""What each rank does with recipes of training: apart from the tests, whose imports a rank needs not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist

from llaso_model.train.config import load
from llaso_model.train.loop import initial_validation, train


def work_on(what: str, paths: Sequence[str]) -> None:
    """Train on the recipe at each path, ``FOLDER.json``, into FOLDER, or validate, into ``FOLDER.json.found``."""
    dist.init_process_group("gloo")  # once for all recipes
    for path in paths:
        if what == "train":
            train(load(path), path.removesuffix(".json"))
        else:
            found = initial_validation(load(path))
            Path(f"{path}.found").write_text(json.dumps(found))  # of both ranks alike
