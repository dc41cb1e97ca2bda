"""What no part of the packages uses: functions, classes, methods and constants that only tests mention, or nothing.

    .venv/bin/python bench/dead_code.py

A name counts as used where any code of the packages, of bench/ or of shards/ mentions it outside its own definition:
as a name, an attribute, an import, or a word of a string that could be a name (tables name functions in strings). What
the documents, templates and recipes mention is public. Names are compared without their modules, so that what is
printed is dead, but not all that is dead is printed. Exit code 1 where something is found.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("llaso", "llaso_data", "llaso_model")
USERS = (*PACKAGES, "bench", "shards", "pipelines")
DOCUMENTS = ("*.md", "docs/*.md", "pipelines/**/*.yaml", "llaso_*/**/*.yaml", "llaso_*/**/*.j2", "pyproject.toml")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STRING = re.compile(r"[A-Za-z_][\w.:, ]*")  # that may name functions: `module:name`, `a.b`, `name, other`
_CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)
_LISTED = re.compile(r":data:`~?(?:\w+\.)*(\w+)`")
_PLAIN_DECORATORS = frozenset(
    ("property", "staticmethod", "classmethod", "contextmanager", "cached_property", "cache", "lru_cache", "dataclass")
)  # others register what they decorate
_RARE = 12  # mentions: more than a dead definition has of itself
ALLOWED = {
    "detect": "the tests' way to ask which layout is recognised",
}
"""What is kept though nothing uses it, and why."""


@dataclass(frozen=True)
class Definition:
    """A name that a package defines, and where."""

    name: str
    path: Path
    node: ast.stmt

    def mentions_itself(self) -> int:
        """How often its own body mentions it."""
        return sum(name == self.name for name in mentions(self.node))


def main() -> None:
    used: Counter[str] = Counter()
    modules: dict[Path, ast.Module] = {}
    for folder in USERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_bytes())
            used.update(mentions(tree))
            if folder in PACKAGES:
                modules[path.relative_to(ROOT)] = tree
    foreign = inheriting(modules.values())
    public = documented(modules) | ALLOWED.keys()
    definitions = [one for path, tree in modules.items() for one in defined(tree, path, foreign)]
    rare = [one for one in definitions if used[one.name] <= _RARE and one.name not in public]
    dead = [one for one in rare if used[one.name] <= one.mentions_itself()]
    tested = set[str]()
    if dead:
        for path in (ROOT / "tests").rglob("*.py"):
            tested.update(mentions(ast.parse(path.read_bytes())))
    for one in sorted(dead, key=lambda one: (str(one.path), one.node.lineno)):
        by = "only tests use it" if one.name in tested else "nothing uses it"
        print(f"{one.path}:{one.node.lineno}: {one.name}: {by}")
    sys.exit(bool(dead))


def mentions(tree: ast.AST) -> Iterator[str]:
    """Every name that code mentions, as often as it does; assignments to a name are no mention of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")
        elif isinstance(node, ast.MatchClass):
            yield from node.kwd_attrs
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _STRING.fullmatch(node.value):
            yield from _WORD.findall(node.value)


def defined(tree: ast.Module, path: Path, foreign: Collection[str]) -> Iterator[Definition]:
    """The functions, classes, methods and constants of a module, without those that others call by their name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _definition(node, path)
        if isinstance(node, ast.ClassDef) and node.name not in foreign:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from _definition(inner, path)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and not target.id.startswith("__"):
                    yield Definition(target.id, path, node)


def _definition(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, path: Path) -> Iterator[Definition]:
    decorators = {mention for decorator in node.decorator_list for mention in mentions(decorator)}
    is_registered = bool(decorators) and not decorators & _PLAIN_DECORATORS
    if not node.name.startswith("__") and not is_registered:
        yield Definition(node.name, path, node)


def inheriting(modules: Collection[ast.Module]) -> set[str]:
    """The classes that have a base of another package, be it through others: its methods are called from there."""
    bases = {
        node.name: [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
        for tree in modules
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    plain = {"Protocol", "Generic", "NamedTuple", "Exception", "ValueError", "OSError", "RuntimeError", "Enum"}
    foreign = {name for name, above in bases.items() if any(one not in bases and one not in plain for one in above)}
    while more := {name for name, above in bases.items() if name not in foreign and foreign & set(above)}:
        foreign |= more
    return foreign


def documented(modules: Collection[Path]) -> set[str]:
    """What documents, templates, recipes and the project's file mention: in Markdown only what stands as code.

    Docstrings mention the constants that list an argument's values.
    """
    words: set[str] = set()
    for pattern in DOCUMENTS:
        for path in ROOT.glob(pattern):
            text = path.read_text("utf-8")
            words.update(_WORD.findall(" ".join(_CODE.findall(text)) if path.suffix == ".md" else text))
    for path in modules:
        words.update(_LISTED.findall((ROOT / path).read_text("utf-8")))
    return words


if __name__ == "__main__":
    main()
