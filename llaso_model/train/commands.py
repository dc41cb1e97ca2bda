"""The commands of ``llaso-model`` that train, and that work on finished runs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from llaso_data import shipped
from llaso_data.errors import LLaSOError
from llaso_model.launcher_options import launcher_options


@click.command()
@click.argument("recipe_path", metavar="[RECIPE]", required=False)
@click.option("--config", metavar="RECIPE", help="Another way to give RECIPE.")
@click.option(
    "--data", "--data-dir", "data", multiple=True, metavar="SHARDS", help="Shards to train on. May be repeated."
)
@click.option(
    "--out", "--output-dir", "out", metavar="FOLDER", required=True, help="Folder of the run. A stopped run continues."
)
@click.option(
    "--pretrained-model",
    metavar="MODEL",
    help="A LLaSO model to start from, or a causal language model: an id or a folder.",
)
@click.option("--validation", metavar="SHARDS", help="Shards that are held out for validation.")
@click.option("--budget", metavar="BUDGET", help="Size of a micro-batch: 300s of audio, 15000f frames, 8000t tokens.")
@click.option("--batch-size", type=int, help="Number of samples in a micro-batch, in place of a budget.")
@click.option("--num-epochs", type=float, help="Length of the run in epochs. Default: 1.")
@click.option("--max-steps", type=int, help="Length of the run in steps, in place of epochs.")
@click.option("--logging-steps", type=int, help="Steps between two lines of the log. Default: 1.")
@click.option("--save-steps", type=int, help="Steps between two checkpoints. Default: 500.")
@click.option("--seed", type=int, help="Seed of the order and of all draws. Default: 0.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the recipe: optimizer.lr=1e-4."
)
@launcher_options
def train(
    recipe_path: str | None,
    config: str | None,
    data: tuple[str, ...],
    out: str,
    pretrained_model: str | None,
    validation: str | None,
    budget: str | None,
    batch_size: int | None,
    overrides: tuple[str, ...],
    launcher: str,
    num_workers: int,
    address: str | None,
    **run: Any,
) -> None:
    """Train one stage from shards.

    If --out has checkpoints, the run continues from the last one.

    RECIPE is a YAML file, or the name of a recipe that `llaso-model recipes` lists, such as align. Options override
    it. Several processes are started with torchrun --nproc-per-node 8 -m llaso_model.cli train, or with
    --launcher ray.
    """
    from llaso_model.train.config import load

    if recipe_path and config and recipe_path != config:
        raise LLaSOError("RECIPE and --config name two files; give one")
    options: dict[str, Any] = {
        "data.sources": [{"path": one} for one in data] or None,
        "data.validation": validation,
        "data.budget": budget if batch_size is None else str(batch_size),
        **{f"run.{name}": value for name, value in run.items()},
        **_start(pretrained_model),
    }
    name = recipe_path or config
    recipe = load(None if name is None else shipped.recipe_path("train", name), overrides, options)
    if launcher == "ray":
        from llaso_model.train.launch import train_on_ray

        train_on_ray(recipe, out, num_workers, address)
        return
    from llaso_model.train.loop import train as run_training

    run_training(recipe, out)


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--out", metavar="FOLDER", help="Folder for the model. Default: RUN/model.")
@click.option("--overwrite", is_flag=True, help="Replace another model in --out.")
def merge(run: str, out: str | None, overwrite: bool) -> None:
    """Write the whole model of a run, with its adapters folded in.

    RUN is the folder of the run. What is written is a folder for from_pretrained.
    """
    from pathlib import Path

    from llaso_data.io import outputs
    from llaso_model.train.export import merge as merged
    from llaso_model.train.run_folder import MODEL_FOLDER

    folder = outputs.on_disk(out, "a model") if out else Path(run) / MODEL_FOLDER
    merged(Path(run), folder, overwrite)
    click.echo(out or folder)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--figure", metavar="FILE", default="curves.png", show_default=True, help="Picture to write: PNG, SVG or PDF."
)
def plot(runs: tuple[str, ...], figure: str) -> None:
    """Draw the curves of runs.

    RUN is the folder of a run.
    """
    from pathlib import Path

    from llaso_model.train.plot import draw

    panels = draw([Path(run) for run in runs], figure)
    click.echo(f"{figure}: {', '.join(panels)}")


@click.command()
@click.argument("recipe_path", metavar="RECIPE")
@click.option(
    "--data", "--data-dir", "data", multiple=True, metavar="SHARDS", help="Shards to train on. May be repeated."
)
@click.option(
    "--pretrained-model",
    metavar="MODEL",
    help="A LLaSO model to start from, or a causal language model: an id or a folder.",
)
@click.option("--memory-gb", type=float, help="Memory that training may take on a CPU. Default: most of what is free.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the recipe.")
def fit(
    recipe_path: str,
    data: tuple[str, ...],
    pretrained_model: str | None,
    memory_gb: float | None,
    overrides: tuple[str, ...],
) -> None:
    """Find the largest budget of a micro-batch that fits in memory.

    It is found by trying. RECIPE is a YAML file, or a name that `llaso-model recipes` lists.
    """
    from llaso_model.train.config import load
    from llaso_model.train.find_batch_size import find_batch_size as trials
    from llaso_model.train.find_batch_size import with_room

    options = {"data.sources": [{"path": one} for one in data] or None, **_start(pretrained_model)}
    best = None
    for trial in trials(load(shipped.recipe_path("train", recipe_path), overrides, options), memory_gb):
        if trial.peak_mib is None:
            click.echo(f"{trial.budget}: does not fit")
        else:
            best = trial.budget
            click.echo(f"{trial.budget}: {trial.peak_mib:,.0f} MiB, {trial.audio_s_per_s:.1f} s of audio a second")
    if best is not None:
        click.echo(f"--budget {with_room(best)}")


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
def recipes(name: str | None) -> None:
    """List the training recipes that ship with LLaSO, or print one."""
    click.echo(shipped.listing("train") if name is None else shipped.text_of(name, "train"), nl=name is None)


def _start(model: str | None) -> dict[str, Any]:
    """The key of a recipe that a pretrained model is for: ``model.start`` for a LLaSO model, else its language model.

    For an id of the hub ``config.json`` is fetched. Loading the model reports what fails here.
    """
    import json
    from pathlib import Path

    if model is None:
        return {}
    config = Path(model) / "config.json"
    if not Path(model).exists():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        with suppress(HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError):
            config = Path(hf_hub_download(model, "config.json"))
    try:
        ours = config.exists() and json.loads(config.read_bytes()).get("model_type") == "llaso"
    except (ValueError, AttributeError):
        ours = True  # loading it reports what is wrong
    return {"model.start": model} if ours else {"model.language_model": model}
