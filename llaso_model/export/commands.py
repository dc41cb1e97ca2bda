"""``llaso-model export``."""

from __future__ import annotations

from pathlib import Path

import click

from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.io import checksums, outputs


@click.command("export")
@click.argument("model", metavar="MODEL")
@click.option("--format", "kind", default="onnx", show_default=True, metavar="NAME", help="The format's name.")
@click.option("--out", required=True, metavar="FOLDER", help="Folder to write to. It must not exist, or be empty.")
def export(model: str, kind: str, out: str) -> None:
    """Write a model in the format of another program.

    MODEL is a folder that training wrote, or an id on the hub. The format `onnx` is for onnxruntime:
    `llaso-model generate` and `serve` answer with it as well.
    """
    from llaso_model.export import EXPORTS
    from llaso_model.generation import load

    form = EXPORTS[kind]
    require(f"llaso-model export --format {kind}", *form.needs)
    folder = outputs.on_disk(out, "an exported model")
    if outputs.is_there(str(folder)) and (not folder.is_dir() or any(folder.iterdir())):
        raise LLaSOError(f"--out {out} is there already; choose another folder")
    import torch

    loaded = load(model, precision="fp32", device=torch.device("cpu"))
    if (problem := form.problem(loaded.model)) is not None:
        raise LLaSOError(f"{model} cannot be exported as {kind}: {problem}")
    with outputs.whole_folder(folder) as part:
        form.write(loaded.model, loaded.processor, Path(part))
        checksums.note_folder(Path(part))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(f"{folder}: {size / 2**20:,.0f} MiB")
