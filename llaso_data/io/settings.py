"""Settings from YAML, checked by pydantic: first the file, then named options, then ``--set`` overrides.

Recipes and mixtures are read here. Errors say where the fault is and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from llaso_data.errors import LLaSOError
from llaso_data.io import setting_errors, storage, yaml_text
from llaso_data.io.yaml_text import Location
from llaso_data.recipe import Part

Settings = TypeVar("Settings", bound=Part)
Problem = tuple[Location, str]


@dataclass(slots=True)
class _Document:
    """Settings before they are checked.

    Attributes:
        values: nested, of plain types.
        origins: for each key path where its value was set: ``recipe.yaml:12`` or ``--set a.b=c``.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, str] = field(default_factory=dict)

    def where(self, location: Location, noun: str) -> tuple[int, str]:
        """Where the value at a location was set, or else the closest part around it; before it its place in order."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.origins:
                label = self.origins[location[:length]]
                return list(self.origins.values()).index(label), label
        return -1, noun


def load(
    model: type[Settings],
    path: str | None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    extra_checks: Callable[[Settings], Iterable[Problem]] = lambda settings: (),
) -> Settings:
    """Read and check settings. A key may be set in several places.

    Args:
        model: what the settings are, such as ``Recipe``.
        path: a YAML file, here or on a store; None gives the defaults.
        overrides: ``a.b=c`` each, where c is read as YAML; the items of a list have their numbers as keys. They count
            more than everything else.
        base: nested values that count less than the file.
        options: dotted keys and values of named command-line options, which count more than the file; None is an
            option that was not given.
        extra_checks: finds what is wrong with settings that the model itself accepts.

    Returns:
        The checked settings.

    Raises:
        LLaSOError: with every problem on a line of its own: file and line, or option; key; what is allowed.
    """
    document = _Document(values=yaml_text.plain(base or {}))
    if path is not None:
        _merge_file(document, path, model)
    for key, value in (options or {}).items():
        if value is not None:
            _set_key(document, key, value, f"option for {key}")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip() or key.count(".") > yaml_text.MAX_DEPTH:
            raise LLaSOError(f"--set {override}: write it as key.key=value, such as observe.asr.beam_size=5")
        _set_key(document, key.strip(), yaml_text.parse_scalar(text, override), f"--set {override}")
    return _check(document, model, extra_checks)


def dump(settings: Part) -> str:
    """Write settings as YAML with every key; :func:`load` of it gives the same ones."""
    return yaml_text.to_yaml(settings.model_dump(mode="json"))


def dumped(text: str) -> dict[str, Any] | None:
    """Read back a text that :func:`dump` wrote, also that of an earlier version.

    Returns:
        Its values; None for any other text. A comment, another order or other quotes show that a person wrote it.
    """
    try:
        values = yaml_text.plain(yaml_text.parse("", text, ""))
    except LLaSOError:
        return None
    return values if isinstance(values, dict) and yaml_text.to_yaml(values) == text else None


def _noun(model: type[BaseModel]) -> str:
    """What messages call such settings: recipe, mixture."""
    return model.__name__.lower()


def _merge_file(document: _Document, path: str, model: type[BaseModel]) -> None:
    noun = _noun(model)
    tree = yaml_text.parse(path, _read(path, noun), noun)
    if tree is None:
        return
    if not isinstance(tree, dict):
        raise LLaSOError(f"{path}:1: a {noun} is a mapping of sections ({', '.join(model.model_fields)})")
    document.origins.update(yaml_text.key_lines(tree, path, ()))
    document.origins.setdefault((), f"{path}:1")
    document.values = _merged(document.values, yaml_text.plain(tree))


def _read(path: str, noun: str) -> str:
    try:
        return storage.read_bytes(path).decode("utf-8")
    except FileNotFoundError as error:
        raise LLaSOError(f"{path}: no such {noun}") from error
    except UnicodeDecodeError as error:
        raise LLaSOError(f"{path}: a {noun} is UTF-8 text; byte {error.start} is not") from error
    except (OSError, ValueError, ImportError) as error:
        raise LLaSOError(f"{path}: cannot be read: {error}") from error


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Mappings are merged key by key, anything else is replaced."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _set_key(document: _Document, key: str, value: Any, origin: str) -> None:
    """Set a dotted key; missing sections are made."""
    location: list[str | int] = []
    container: Any = document.values
    names = key.split(".")
    for depth, name in enumerate(names):
        if isinstance(container, list):
            if not name.isdigit() or int(name) >= len(container):
                at = ".".join(names[:depth])
                raise LLaSOError(f"{origin}: {at} has {len(container)} items; name one by its number from 0")
            step: str | int = int(name)
        else:
            step = name
        location.append(step)
        if depth == len(names) - 1:
            container[step] = value
            break
        section = container[step] if isinstance(step, int) else container.get(step)
        if not isinstance(section, dict | list):
            section = container[step] = {}
        container = section
    key_path = tuple(location)
    for old in [known for known in document.origins if known[: len(key_path)] == key_path]:
        del document.origins[old]
    document.origins[key_path] = origin


def _check(
    document: _Document, model: type[Settings], extra_checks: Callable[[Settings], Iterable[Problem]]
) -> Settings:
    values = _without_empty_sections(document.values, model)
    not_finite = "must be a finite number; null switches a threshold off"
    problems = [(location, not_finite) for location in setting_errors.not_finite(values, ())]
    try:
        settings = model.model_validate(values)
        problems += extra_checks(settings)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            location = setting_errors.user_location(values, fault["loc"])
            problems.append((location, setting_errors.explain(fault, model)))
        settings = None
    if problems or settings is None:
        noun = _noun(model)
        placed = [(*document.where(at, noun), ".".join(map(str, at)) or noun, text) for at, text in problems]
        lines = [f"{label}: {key}: {text}" for _, label, key, text in sorted(placed)]
        raise LLaSOError("\n".join(dict.fromkeys(lines)))
    return settings


def _without_empty_sections(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Leave out empty sections: a header with nothing under it is null in YAML, and means the defaults."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        section = _section(model, key)
        if section is None:
            kept[key] = value
        elif value is not None:
            kept[key] = _without_empty_sections(value, section) if isinstance(value, dict) else value
    return kept


def _section(model: type[BaseModel], key: Any) -> type[BaseModel] | None:
    """The class of a key's section; None where the key is no section."""
    known = model.model_fields.get(key)
    kind = known.annotation if known else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
