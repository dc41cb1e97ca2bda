"""Packages that only some commands need: declared, and missed with the line that installs them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsspec.registry import _registry, registry

import llaso_data.cli
import llaso_model.cli
from llaso_data.errors import LLaSOError
from llaso_data.extras import EXTRAS, needed_for, require
from tests.support.paths import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PACKAGES = ("llaso", "llaso_data", "llaso_model")
WITH_THEIR_PACKAGE = {"annotated_types", "pydantic_core"}  # of pydantic
DISTRIBUTION = {
    "iso639": "python-iso639",
    "ruamel": "ruamel.yaml",
    "grpc": "grpcio",
    "dtw": "dtw-python",
    "hibari": "hibari-tts",
    "piper": "piper-tts",
    "resemblyzer": "Resemblyzer",
}
HOSTS = {"vllm"}  # whose plugin a module is: it is imported by them
ANOTHERS = {"aiobotocore", "botocore"}  # come with s3fs, whose import names them


def distribution(module: str) -> str:
    return DISTRIBUTION.get(module, module.replace("_", "-"))


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;\s]", requirement, maxsplit=1)[0] for requirement in requirements}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports to run, by the first part of its name, and the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
        elif isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0], node.lineno


def test_whatever_is_imported_is_declared_as_core_or_as_an_extra() -> None:
    core = declared(PROJECT["dependencies"])
    known = {*sys.stdlib_module_names, *PACKAGES, *WITH_THEIR_PACKAGE, *HOSTS}.union(*EXTRAS.values())
    unknown = [
        f"{path.relative_to(REPOSITORY)}:{line}: {module}"
        for package in PACKAGES
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        for module, line in imports(path)
        if module not in known and distribution(module) not in core
    ]
    assert unknown == []


def test_the_table_of_extras_is_that_of_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"all", "bench", "dev", "docs"}  # of which no command needs any
    for extra, modules in EXTRAS.items():
        assert {distribution(module) for module in modules if module not in ANOTHERS} == declared(extras[extra]) - {
            "llaso"
        }
    by_name = {"dtw", "piper", "speakers"}  # GPL-3, and what is compiled
    (everything,) = extras["all"]
    assert set(re.split(r"[\[\],]", everything)[1:-1]) == set(EXTRAS) - by_name
    constraints = (REPOSITORY / "constraints.txt").read_text().lower()
    for requirement in [*PROJECT["dependencies"], *(one for some in extras.values() for one in some)]:
        (name,) = declared([requirement])
        pinned = name.lower().replace(".", "-")
        assert name == "llaso" or re.search(rf"^{re.escape(pinned)}==", constraints, re.MULTILINE), name


def missing(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_a_module_that_is_missing_is_told_with_the_line_that_installs_it(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in EXTRAS[extra]:
        missing(monkeypatch, module)
        expected = rf"^a thing needs [\w-]+: pip install 'llaso\[{extra}\]'$"
        with pytest.raises(LLaSOError, match=expected), needed_for("a thing"):
            __import__(module)
        with pytest.raises(LLaSOError, match=expected):
            require("a thing", module)


def test_a_package_in_another_version_is_told_and_what_else_fails_is_not_hidden() -> None:
    expected = r"needs matplotlib in another version \(cannot import.*'llaso\[report\]'$"
    with pytest.raises(LLaSOError, match=expected), needed_for("a picture"):
        from matplotlib import no_such_name  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needed_for("a picture"):
        __import__("no_such_module")


COMMANDS = {
    "report": [
        ("matplotlib", "llaso-data words {out}"),
        ("matplotlib", "llaso-data plan {out} --figure {out}/x.svg"),
        ("matplotlib", "llaso-model plot {out} --figure {out}/x.pdf"),
    ],
    "demo": [("gguf", "llaso-model demo --out {out}")],
    "evaluate": [
        ("jiwer", "llaso-model evaluate m --data d --out {out}"),
        ("sacrebleu", "llaso-model score {out} --out {out}/scores"),
        ("openai", "llaso-model score {out} --out {out}/scores --judge http://localhost:1/v1 --judge-model m"),
    ],
    "onnx": [("onnx", "llaso-model export m --out {out}/graphs")],
    "wandb": [("wandb", "llaso-model train --data {out} --pretrained-model {out} --out {out}/run --set run.wandb=p")],
    "s3": [
        ("s3fs", "llaso-data build-align s3://bucket/x --out {out}"),
        ("s3fs", "llaso-data build-align {out} --out s3://bucket/x"),
        ("s3fs", "llaso-data build-align {out} --out {out}/y --recipe s3://bucket/x.yaml"),
        ("s3fs", "llaso-data shard s3://bucket/x --out {out}"),
        ("s3fs", "llaso-data stats s3://bucket/x"),
        ("s3fs", "llaso-data validate s3a://bucket/x"),
        ("s3fs", "llaso-data index s3://bucket/x"),
        ("s3fs", "llaso-data plan s3://bucket/x"),
        ("s3fs", "llaso-data rejections s3://bucket/x"),
        ("s3fs", "llaso-model score s3://bucket/x.json --out {out}"),
        ("s3fs", "llaso-model train --data s3://bucket/x --pretrained-model {out} --out {out}/run"),
    ],
    "gcs": [("gcsfs", "llaso-data stats gs://bucket/x"), ("gcsfs", "llaso-data validate gcs://bucket/x")],
    "http": [("aiohttp", "llaso-data build-align https://host/x.tar --out {out}")],
}


@pytest.mark.parametrize(
    ("extra", "module", "command"), [(extra, *case) for extra, cases in COMMANDS.items() for case in cases]
)
def test_a_command_ends_with_the_line_that_installs_what_it_lacks(
    extra: str, module: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch, module)
    for protocol in set(registry) - {"file", "local"}:  # loaded before
        monkeypatch.delitem(_registry, protocol)
    for implementation in ("s3fs.core", "fsspec.implementations.http"):
        monkeypatch.delitem(sys.modules, implementation, raising=False)
    program, *words = [word.format(out=tmp_path) for word in command.split()]
    main = {"llaso-data": llaso_data.cli.main, "llaso-model": llaso_model.cli.main}[program]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert result.stderr.rstrip().endswith(f": pip install 'llaso[{extra}]'"), result.output
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists() and not (tmp_path / "scores").exists()
