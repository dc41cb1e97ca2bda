"""Writes the result of a run: the trained weights, and the whole model with adapters folded in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from llaso_data.errors import LLaSOError
from llaso_data.io import sealed, storage
from llaso_data.io.hub import loading
from llaso_model.train import run_folder
from llaso_model.train.build import fold_lora, load_model, save_model, trainable_parameters, training_module
from llaso_model.train.log import read_recipe
from llaso_model.train.run import TrainingRun
from llaso_model.train.run_folder import MODEL_FOLDER, TRAINED_FILE


def export(run: TrainingRun, folder: Path) -> None:
    """Writes ``trained.safetensors``, and ``model/`` with ``run.save: full``. Called on all ranks."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    state: dict[str, Any] = get_model_state_dict(run.module, options=options)
    if run.context.is_leader:
        from safetensors.torch import save_file

        weights = {name: state[name].contiguous() for name, _ in trainable_parameters(run.module)}
        with storage.whole(str(folder / TRAINED_FILE)) as part:
            save_file(weights, part, metadata={sealed.FIELD: sealed.BLANK})
            sealed.seal(part, sealed.SAFETENSORS)
        if run.recipe.run.save == "full":
            _merge(folder, folder / MODEL_FOLDER)
    run.context.barrier()


def merge(run: Path, out: Path, overwrite: bool = False) -> None:
    """Writes the whole model of a run, adapters folded in, as a folder that ``from_pretrained`` loads.

    Args:
        run: Folder of a finished run.
        out: A folder that does not exist or is empty; with ``overwrite`` another model that a run wrote.
        overwrite: Whether such a model is replaced.

    Raises:
        LLaSOError: The run is not finished, or anything else would be lost.
    """
    if not (run / TRAINED_FILE).exists():
        raise LLaSOError(f"{run} has no {TRAINED_FILE}: the run is not finished")
    out = out.resolve()
    run_folder.refuse_to_replace(out, run, read_recipe(run), overwrite)
    _merge(run, out)


def _merge(run: Path, out: Path) -> None:
    from safetensors.torch import load_file

    with (run / TRAINED_FILE).open("rb") as file:
        sealed.check(file, f"{run / TRAINED_FILE}", sealed.SAFETENSORS)
    recipe = read_recipe(run)
    model, processor = load_model(recipe.model, recipe.run.seed)
    module = training_module(recipe, model)
    with loading("merge", str(run / TRAINED_FILE)):
        state: dict[str, Any] = load_file(run / TRAINED_FILE)
    expected = {name for name, _ in trainable_parameters(module)}
    if expected != set(state):
        other = sorted(expected ^ set(state))[:3]
        raise LLaSOError(f"{run / TRAINED_FILE} is not of the run's recipe: {', '.join(other)}")
    module.load_state_dict(state, strict=False)
    fold_lora(model)
    model.requires_grad_(True)
    save_model(out, model, processor, module, recipe)
