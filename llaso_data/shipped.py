"""The recipes that ship with the package, by name. In a checkout they are the files of ``pipelines/``."""

from __future__ import annotations

from pathlib import Path

from llaso_data.errors import LLaSOError

FOLDER = Path(__file__).with_name("recipes")

RECIPES: dict[str, dict[str, str]] = {
    "build-align": {"default": "build_align.yaml", "demo": "demo.yaml"},
    "shard": {"default": "shard.yaml", "demo": "demo.yaml"},
    "build-instruct": {
        "default": "build_instruct.yaml",
        "llaso-instruct": "llaso_instruct.yaml",
        "llaso-eval": "llaso_eval.yaml",
    },
    "train": {
        "align": "train_align.yaml",
        "instruct": "train_instruct.yaml",
        "custom": "train_custom.yaml",
        "published-align": "train_published_align.yaml",
        "published-instruct": "train_published_instruct.yaml",
    },
}
"""Command: the names of its recipes, and their files."""


def recipe_path(command: str, path_or_name: str) -> str:
    """The file of a recipe.

    Args:
        command: whose recipe it is.
        path_or_name: a path or URI, or the name of a recipe that ships. A file comes before a name, a folder does not.

    Returns:
        A path or URI.

    Raises:
        LLaSOError: where it is neither.
    """
    names = RECIPES.get(command, {})
    if Path(path_or_name).is_file() or "/" in path_or_name or path_or_name.endswith((".yaml", ".yml", ".json")):
        return path_or_name
    if path_or_name not in names:
        raise LLaSOError(
            f"there is no file {path_or_name}, and no recipe of that name for {command}: "
            f"{', '.join(names) or 'it has none'}"
        )
    return str(FOLDER / names[path_or_name])


def listing(*commands: str) -> str:
    """List the commands' recipes, one line each, with the first sentence of their files."""
    rows = [(command, name, _purpose(FOLDER / file)) for command in commands for name, file in RECIPES[command].items()]
    return "\n".join(f"{command:12} {name:20} {purpose}" for command, name, purpose in rows)


def text_of(name: str, *commands: str) -> str:
    """The text of a recipe that ships.

    Args:
        name: of the recipe; a command's name stands for its default recipe.
        commands: whose recipes are searched, in this order.

    Raises:
        LLaSOError: where none has the name.
    """
    for command in commands:
        name = "default" if name == command else name
        if name in RECIPES[command]:
            return (FOLDER / RECIPES[command][name]).read_text(encoding="utf-8")
    raise LLaSOError(f"no recipe is named {name}; there are:\n{listing(*commands)}")


def _purpose(path: Path) -> str:
    """The first sentence of the comment at the top of a recipe, without command lines."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.strip("# "))
    sentences = " ".join(line for line in comment if line and not line.startswith("llaso-"))
    return sentences.partition(". ")[0].rstrip(".") + "."
