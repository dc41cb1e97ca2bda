"""The recipes that ship with the package, by name. In a checkout they are the files of ``pipelines/``."""

from __future__ import annotations

from pathlib import Path

from llaso_data.errors import LLaSOError

FOLDER = Path(__file__).with_name("recipes")

RECIPES: dict[str, dict[str, str]] = {
    "build-align": {"default": "build_align.yaml", "demo": "demo.yaml"},
    "shard": {"default": "shard.yaml", "demo": "demo.yaml"},
    "train": {
        "align": "train_align.yaml",
        "instruct": "train_instruct.yaml",
        "custom": "train_custom.yaml",
        "published-align": "train_published_align.yaml",
        "published-instruct": "train_published_instruct.yaml",
    },
}
"""Command: the names of its recipes, and their files."""


def recipe_path(command: str, said: str) -> str:
    """The file of a recipe.

    Args:
        command: whose recipe it is, a key of :data:`RECIPES`.
        said: a path or URI, or the name of a recipe that ships. A file that exists comes before a name.

    Returns:
        A path or URI.

    Raises:
        LLaSOError: where it is neither.
    """
    names = RECIPES[command]
    if Path(said).exists() or "/" in said or said.endswith((".yaml", ".yml", ".json")):
        return said
    if said not in names:
        raise LLaSOError(f"there is no file {said}, and no recipe of that name for {command}: {', '.join(names)}")
    return str(FOLDER / names[said])


def listing(*commands: str) -> str:
    """The names of the commands' recipes, a line each, with what their files say of themselves."""
    rows = [(command, name, _purpose(FOLDER / file)) for command in commands for name, file in RECIPES[command].items()]
    return "\n".join(f"{command:12} {name:20} {purpose}" for command, name, purpose in rows)


def text_of(said: str, *commands: str) -> str:
    """The text of the first of the commands' recipes that has a name; a command stands for its default.

    Raises LLaSOError where none has it.
    """
    for command in commands:
        said = "default" if said == command else said
        if said in RECIPES[command]:
            return (FOLDER / RECIPES[command][said]).read_text(encoding="utf-8")
    raise LLaSOError(f"no recipe is named {said}; there are:\n{listing(*commands)}")


def _purpose(path: Path) -> str:
    """The first sentence of the comment at the top that is no command line."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.strip("# "))
    told = " ".join(line for line in comment if line and not line.startswith("llaso-"))
    return told.partition(". ")[0].rstrip(".") + "."
