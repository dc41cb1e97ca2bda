"""What makes the site of what lies outside ``docs/``: pages of other folders, and the reference of the docstrings."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]

PAGES = {"README.md": "index.md", "shards/SPEC.md": "format.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages, and what the site calls them."""

REFERENCE = {
    "Speech to records": (
        "llaso_data.pipeline.build_align", "llaso_data.pipeline.load_recipe", "llaso_data.recipe",
        "llaso_data.records", "llaso_data.formats", "llaso_data.formats.registry", "llaso_data.audio",
        "llaso_data.text", "llaso_data.languages", "llaso_data.whisper.engine", "llaso_data.asr.transcribe",
        "llaso_data.align.scorer", "llaso_data.align.dtw", "llaso_data.filters.rules", "llaso_data.pipeline.judge",
        "llaso_data.filters.acceptance",
    ),
    "Records to shards": (
        "llaso_data.pipeline.shard", "llaso_data.instruct.asr", "llaso_data.instruct.utterance_task",
        "llaso_data.instruct.rendering", "llaso_data.instruct.fields", "llaso_data.instruct.tasks.build",
        "llaso_data.instruct.lint", "llaso_data.pipeline.leakage", "llaso_data.instruct.leakage.find",
        "llaso_data.shards.layout", "llaso_data.shards.writer", "llaso_data.shards.reader",
        "llaso_data.shards.validate", "llaso_data.shards.stats",
    ),
    "Shards to batches": (
        "llaso_data.stream.loader", "llaso_data.stream.mixture", "llaso_data.stream.batch",
        "llaso_data.stream.augment", "llaso_data.stream.planner", "llaso_data.stream.batching",
        "llaso_data.stream.simulate",
    ),
    "Shards in other libraries": (
        "llaso_data.interop.webdataset", "llaso_data.interop.torch", "llaso_data.interop.datasets",
        "llaso_data.interop.lhotse",
    ),
    "The model": (
        "llaso_model.generation", "llaso_model.processing", "llaso_model.configuration", "llaso_model.modeling.llaso",
        "llaso_model.encoders", "llaso_model.fusion", "llaso_model.quantize", "llaso_model.llaso_base_checkpoint",
    ),
    "Training": (
        "llaso_model.train.loop", "llaso_model.train.config", "llaso_model.train.losses", "llaso_model.train.collate",
        "llaso_model.train.export", "llaso_model.train.find_batch_size",
    ),
    "Answers": (
        "llaso_model.engine.engine", "llaso_model.engine.requests", "llaso_model.engine.handle",
        "llaso_model.engine.backends", "llaso_model.answer.transcripts",
    ),
    "Evaluation": (
        "llaso_model.evaluate.score", "llaso_model.evaluate.predict.predict", "llaso_model.evaluate.conditions",
        "llaso_model.evaluate.kinds", "llaso_data.instruct.tasks", "llaso_model.evaluate.extract.labels",
        "llaso_model.evaluate.statistics.intervals", "llaso_model.evaluate.metrics.error_rates",
    ),
    "Common": ("llaso_data.errors", "llaso_data.registry", "llaso_data.io.storage"),
}  # fmt: skip
"""The modules that users call, in the order of the work."""

_WIDE = ".md-grid { max-width: 78rem; }\n"
"""Room for lines of code of 100 characters."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


class _Roles(Preprocessor):
    """Names in docstrings, such as ``:func:`~llaso_data.stream.loader.placed```, are code on a page."""

    _ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc):`~?(?:[\w.]+\.)?([\w.]+)`")

    def run(self, lines: list[str]) -> list[str]:
        return [self._ROLE.sub(r"`\1`", line) for line in lines]


class _RolesExtension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Roles(md), "roles", 40)


def on_config(config: Any) -> Any:
    """Puts the reference's pages into the navigation, and has the roles of docstrings rendered."""
    config.markdown_extensions.append(_RolesExtension())
    for section in config.nav:
        if "Reference" in section:
            section["Reference"] = [
                {title: [{module: _reference_page(module)} for module in modules]}
                for title, modules in REFERENCE.items()
            ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that lie outside ``docs/``, recipes, schemas, and a page for each module of the reference."""
    files.append(File.generated(config, "recipes.md", content=_shipped_recipes()))
    files.append(File.generated(config, "wide.css", content=_WIDE))
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    for path in sorted((REPOSITORY / "shards").glob("*.schema.json")):
        files.append(File.generated(config, path.name, abs_src_path=str(path)))
    for module in (module for modules in REFERENCE.values() for module in modules):
        files.append(File.generated(config, _reference_page(module), content=f"::: {module}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links between files of the repository into links between pages; code is left alone."""
    source = next((file for file, name in PAGES.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")
    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _relinked(part, source) for number, part in enumerate(parts))


def _relinked(markdown: str, source: str) -> str:
    def relink(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if file in PAGES:
            return f"[{text}]({PAGES[file]}{hash_}{anchor})"
        if file.startswith("docs/"):
            return f"[{text}]({file.removeprefix('docs/')}{hash_}{anchor})"
        if file.startswith("shards/") and file.endswith(".schema.json"):
            return f"[{text}]({posixpath.basename(file)})"
        return f"{text} (`{file}` in the repository)"

    return _LINK.sub(relink, markdown)


def _shipped_recipes() -> str:
    """The recipes that ship, by command and name, with their text."""
    from llaso_data.shipped import FOLDER, RECIPES

    parts = [
        "# Recipes that ship\n\nA command takes one by its name: `llaso-model train align`, "
        "`llaso-data build-align --recipe default`. `llaso-data recipes` and `llaso-model recipes` list the names, and "
        "print the text of one. [Another page](recipe.md) explains the keys of those for `llaso-data`, "
        "[training](train.md) those of the others."
    ]
    for command, names in RECIPES.items():
        program = "llaso-model" if command == "train" else "llaso-data"
        for name, file in names.items():
            text = (FOLDER / file).read_text(encoding="utf-8")
            parts.append(f"## {program} {command}: {name}\n\n```yaml\n{text}```")
    return "\n\n".join(parts) + "\n"


def _reference_page(module: str) -> str:
    return f"reference/{module}.md"
