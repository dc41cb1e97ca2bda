"""A table of the entries of one kind by name: encoders, losses, tasks. An entry is one file that registers itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from threading import RLock
from typing import Generic, TypeVar

from llaso_data.errors import LLaSOError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by name.

    Entries come from three places. The modules of ``package`` register theirs; they are imported at the first look
    into the table, so that importing the table loads nothing. Other installed packages name a module under the entry
    point group ``group``; it is imported then, too. A program calls :meth:`register`. Wherever entries come from, they
    are listed by their names in alphabetical order.

    Args:
        kind: What an entry is called in messages, such as ``encoder``.
        package: Name of the package whose modules hold the project's own entries; None: there is none.
        group: Entry point group of other packages, such as ``llaso.encoders``; None: there is none.
        register_own: Registers the project's own entries where they are no modules, at the first look.

    What a program registers itself is not there in processes that it starts anew; what ``package`` and ``group`` name
    is.
    """

    def __init__(
        self,
        kind: str,
        package: str | None = None,
        group: str | None = None,
        register_own: Callable[[], None] | None = None,
    ) -> None:
        self._kind, self._package, self._group, self._register_own = kind, package, group, register_own
        self._entries: dict[str, Entry] = {}
        self._is_loaded = False
        self._loading = RLock()

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds an entry and returns it. Raises ValueError where the name is taken by another one."""
        if self._entries.get(name, entry) != entry:
            raise ValueError(f"there is another {self._kind} {name!r} already")
        self._entries[name] = entry
        return entry

    def unregister(self, name: str) -> None:
        """Removes an entry that a program has registered. Raises KeyError where there is none of the name."""
        del self._entries[name]

    def problem(self, name: object) -> str | None:
        """What is wrong with a setting that names an entry, and the choices; None where there is such an entry."""
        if isinstance(name, str) and name in self:
            return None
        return f"there is no {self._kind} {name!r}; there are {', '.join(self)}"

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name. Raises LLaSOError, with the choices, where there is none."""
        if (problem := self.problem(name)) is not None:
            raise LLaSOError(problem)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._loaded()))

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, Entry]:
        if not self._is_loaded:
            with self._loading:
                self._load()
        return self._entries

    def _load(self) -> None:
        if self._package is not None:
            path = importlib.import_module(self._package).__path__
            for name in sorted(module.name for module in pkgutil.iter_modules(path)):
                importlib.import_module(f"{self._package}.{name}")
        if self._register_own is not None:
            self._register_own()
        if self._group is not None:
            for point in sorted(entry_points(group=self._group), key=lambda entry_point: entry_point.name):
                try:
                    point.load()
                except Exception as error:  # of another package's code
                    package = point.dist.name if point.dist else "a package"
                    raise LLaSOError(
                        f"{package}: its {self._kind} {point.value} cannot be loaded ({error}); remove it"
                    ) from error
        self._is_loaded = True
