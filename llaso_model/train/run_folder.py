"""The folder of a run: its lock, what a run may replace there, and where a merged model may be written.

A folder with our ``recipe.json`` or checkpoints belongs to a run, and so do the files in it under a run's names.
Without these, a file under such a name belongs to something else, and training is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, lock, outputs, storage
from llaso_model.train.build import TRAINING_FILE
from llaso_model.train.checkpoint import CHECKPOINTS_FOLDER, Checkpoints
from llaso_model.train.config import TrainRecipe, identity
from llaso_model.train.distributed import RankContext
from llaso_model.train.log import BAD_FILE, METRICS_FILE, RECIPE_FILE
from llaso_model.train.losses import LOSSES, LOSSES_FOLDER

TRAINED_FILE = "trained.safetensors"
MODEL_FOLDER = "model"

_BY, _OPTION = "llaso-model train", "--output-dir"
_MODEL_FILE = re.compile(
    r"config\.json|generation_config\.json|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|"
    r"(pre)?processor_config\.json|chat_template\.(jinja|json)|tokenizer(_config)?\.json|tokenizer\.model|"
    r"special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|spiece\.model|sentencepiece\.bpe\.model|"
    rf"checksums\.json|{re.escape(TRAINING_FILE)}"
)  # what transformers, its tokenizers and we write; beside it, what losses learn


@contextmanager
def locked(folder: Path, recipe: TrainRecipe, context: RankContext) -> Iterator[None]:
    """Locks the folder for this run, on all ranks. It is created where it does not exist.

    Raises:
        LLaSOError: On all ranks, before any work: another run has it, or something in it would be lost.
    """
    with ExitStack() as stack:
        trouble: LLaSOError | None = None
        if context.is_leader:
            try:
                stack.enter_context(lock.exclusive(str(folder), "train"))
                refuse_foreign(folder, recipe)
                storage.sweep(str(folder))
            except LLaSOError as error:
                trouble = error
        message = context.all_gather(None if trouble is None else str(trouble))[0]
        if message is not None:
            raise trouble or LLaSOError(message)
        yield


def refuse_foreign(folder: Path, recipe: TrainRecipe) -> None:
    """Refuses a folder where the run would replace what it did not write.

    Raises:
        LLaSOError: A file has the name of a run's file though there is no run, the folder has a finished run of another
            recipe or without checkpoints, or ``model/`` is not what the run left there.
    """
    names = (CHECKPOINTS_FOLDER, METRICS_FILE, BAD_FILE, TRAINED_FILE, MODEL_FOLDER)
    there = [name for name in names if _holds(folder / name)]
    if not Checkpoints.are_in(folder / CHECKPOINTS_FOLDER):  # beside them a recipe may be damaged
        outputs.refuse(str(folder / RECIPE_FILE), _BY, _is_recipe, _OPTION)
        if there and not (folder / RECIPE_FILE).exists():
            raise outputs.foreign(str(folder / there[0]), _BY, _OPTION)
    if TRAINED_FILE not in there:
        if MODEL_FOLDER in there and recipe.run.save == "full":
            raise outputs.foreign(str(folder / MODEL_FOLDER), _BY, _OPTION)
        return
    known = _recipe_at(folder / RECIPE_FILE)
    if known is not None and identity(known) != identity(recipe):
        raise LLaSOError(
            f"{folder} has a finished run of another recipe (model, objectives, optimizer, seed or precision differ); "
            f"give another {_OPTION}"
        )
    if CHECKPOINTS_FOLDER not in there:
        raise LLaSOError(
            f"{folder} has a finished run whose checkpoints are gone, so it cannot continue; give another {_OPTION}"
        )
    if MODEL_FOLDER in there and recipe.run.save == "full":
        own = _recipe_at(folder / MODEL_FOLDER / TRAINING_FILE)
        if own is None or identity(own) != identity(recipe):
            raise outputs.foreign(str(folder / MODEL_FOLDER), _BY, _OPTION)
        if (name := stranger(folder / MODEL_FOLDER)) is not None:
            raise outputs.foreign(str(folder / MODEL_FOLDER / name), _BY, _OPTION)


def refuse_to_replace(out: Path, run: Path, recipe: TrainRecipe, overwrite: bool) -> None:
    """Refuses a folder for the merged model of a run where anything but a model of ours would be lost.

    Args:
        out: The folder, resolved.
        run: The run's folder.
        recipe: The run's.
        overwrite: Whether a LLaSO model that is there may be replaced.

    Raises:
        LLaSOError: ``out`` is the run, the model that it starts from, or a folder that holds either. Or it is not empty
            and ``overwrite`` is not set, or it has something else than a model that a run wrote.
    """
    protected = [(run, "the run")]
    if recipe.model.start is not None and os.path.isdir(recipe.model.start):
        protected.append((Path(recipe.model.start), "the model that the run starts from"))
    for folder, what in protected:
        if _is_or_holds(out, folder.resolve()):
            raise LLaSOError(f"--out {out} is {what}, or holds it; choose another --out")
    if not outputs.is_there(str(out)):
        return
    if not out.is_dir():
        raise LLaSOError(f"--out {out} is no folder; choose another --out")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise LLaSOError(f"{out} is not empty; choose another --out, or pass --overwrite to replace a model there")
    if (name := stranger(out)) is not None:
        raise LLaSOError(f"{out / name} is no part of a model that `llaso-model merge` wrote; choose another --out")


def stranger(folder: Path) -> str | None:
    """The name of something in a folder that is not part of a LLaSO model; None where all of it is."""
    config = outputs.json_at(str(folder / "config.json"))
    if not isinstance(config, dict) or config.get("model_type") != "llaso" or not (folder / TRAINING_FILE).is_file():
        return min(os.listdir(folder))
    names = sorted(os.listdir(folder))
    of_losses = {name for loss in LOSSES.values() for name in loss.files}
    if (folder / LOSSES_FOLDER).is_dir():
        names.remove(LOSSES_FOLDER)
        if others := sorted(set(os.listdir(folder / LOSSES_FOLDER)) - of_losses):
            return f"{LOSSES_FOLDER}/{others[0]}"
    return next((name for name in names if not (_is_ours(name, of_losses) and (folder / name).is_file())), None)


def _is_ours(name: str, of_losses: Collection[str]) -> bool:
    return name in of_losses or _MODEL_FILE.fullmatch(name) is not None


def _is_or_holds(out: Path, folder: Path) -> bool:
    """Whether a folder is another folder or one of its parents, also by other names (links)."""
    if out in (folder, *folder.parents):
        return True
    return out.exists() and any(above.exists() and out.samefile(above) for above in (folder, *folder.parents))


def _holds(path: Path) -> bool:
    """Whether something would be lost with a path: a file that is not empty, a folder with an entry, a link."""
    if path.is_symlink() or not path.exists():
        return path.is_symlink()
    return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0


def _is_recipe(uri: str) -> bool:
    """Whether a file is a training recipe of any version."""
    content = outputs.json_at(uri)
    return isinstance(content, dict) and {"model", "data", "objectives", "optimizer", "run"} <= set(content)


def _recipe_at(path: Path) -> TrainRecipe | None:
    """The recipe in a file; None where there is none that this version knows."""
    content: Any = outputs.json_at(str(path))
    if not isinstance(content, dict):
        return None
    try:
        return TrainRecipe.model_validate({name: value for name, value in content.items() if name != checksums.KEY})
    except ValidationError:
        return None
