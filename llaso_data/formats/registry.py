"""The table of layouts: what a layout is, which there are, and in which order a source is compared with them."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.recipe import SourceSpec
from llaso_data.records import Sample

AUTO = "auto"
"""The `type` of a source whose layout is to be recognised."""
ENTRY_POINTS = "llaso_data.layouts"
"""The group of entry points under which other packages name their layouts."""
_FALLBACK = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One layout of a corpus on disk.

    Attributes:
        name: What a recipe's `type` and ``--type`` call it.
        title: What a sentence calls such sources: "LibriSpeech", "manifests".
        recognised_by: How ``recognises`` tells it, for the list in ``docs/sources.md``.
        unit: What one input is, for that list: "a row".
        container: What blocks of work never cross, for that list: "the manifest".
        recognises: Why a source has this layout, in words that follow its name (":data:`its name ends in .tar`"); None
            where it has not. It looks at names first, and opens files only where names are not enough.
        read: The rows of a source, in the order of :meth:`SourceRow.sort_key`. It is lazy. What is broken is a failed
            row with file and line (:func:`~llaso_data.formats.rows.source_row.failed_row`); what the reader does not
            use is a note of the tree. It raises LLaSOError where the source is not of this layout, or holds nothing.
        write: Writes samples to a folder or URI in this layout; None: the layout is only read.
        endings: Extensions, in small letters, of files that are a source of their own: a manifest, a tar.
        before: Layouts that are compared with a source later than this one, because they recognise some of the same
            sources. Every layout is compared before `folder`.
    """

    name: str
    title: str
    recognised_by: str
    unit: str
    container: str
    recognises: Callable[[FileTree], str | None]
    read: Callable[[SourceSpec, FileTree], Iterator[SourceRow]]
    write: Callable[[Iterable[Sample], str], None] | None = None
    endings: frozenset[str] = frozenset()
    before: tuple[str, ...] = (_FALLBACK,)


class Recognition(NamedTuple):
    """The layout of a source, and why it is taken for that."""

    layout: Layout
    evidence: str


class LayoutTable(Mapping[str, Layout]):
    """Name → layout, in the order in which a source is compared with them.

    The table is filled when it is first asked: with ``LAYOUT`` of every module of ``llaso_data.formats`` that has one,
    then with the entry points of the group ``llaso_data.layouts`` that installed packages have. :meth:`register` adds
    one by hand.
    """

    def __init__(self) -> None:
        self._layouts: dict[str, Layout] | None = None

    def register(self, layout: Layout) -> Layout:
        """Add a layout of your own; it is recognised, read, listed and checked as ours are.

        A package that is installed names its layouts under ``[project.entry-points."llaso_data.layouts"]`` instead,
        and ``llaso-data`` then knows them by itself.

        Returns:
            The layout.

        Raises:
            LLaSOError: Another layout has the name, or the order of recognition has a circle.
        """
        self._layouts = in_order([*self.values(), layout])
        return layout

    def choices(self) -> list[str]:
        """What a recipe's `type` may be: ``auto``, and the names in the order of the alphabet."""
        return [AUTO, *sorted(self)]

    def named(self, name: str) -> Layout:
        """The layout of a name.

        Raises:
            LLaSOError: There is none; the message lists the names.
        """
        if name not in self:
            raise LLaSOError(f"{name!r} is no layout; give one of {', '.join(self.choices())}")
        return self[name]

    def endings(self) -> frozenset[str]:
        """The extensions of files that are a source of their own."""
        return frozenset(ending for layout in self.values() for ending in layout.endings)

    def recognise(self, tree: FileTree) -> Recognition | None:
        """The first layout that recognises a source, and why; None where none does."""
        for layout in self.values():
            if (evidence := layout.recognises(tree)) is not None:
                return Recognition(layout, evidence)
        return None

    def __getitem__(self, name: str) -> Layout:
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, Layout]:
        if self._layouts is None:
            self._layouts = in_order([*_own_layouts(), *_installed_layouts()])
        return self._layouts


LAYOUTS = LayoutTable()
"""Every layout that is read."""


def _own_layouts() -> Iterator[Layout]:
    package = importlib.import_module("llaso_data.formats")
    for module in pkgutil.iter_modules(package.__path__):
        layout = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "LAYOUT", None)
        if layout is not None:
            yield layout


def _installed_layouts() -> Iterator[Layout]:
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            layout = entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist else "a package"
            raise LLaSOError(f"{package}: its layout {entry.value} cannot be loaded ({error}); remove it") from error
        if not isinstance(layout, Layout):
            raise LLaSOError(f"{entry.value}: an entry point of {ENTRY_POINTS} names a Layout, this is none")
        yield layout


def in_order(layouts: Iterable[Layout]) -> dict[str, Layout]:
    """Layouts by name, each before those that its ``before`` names, and else in the order of the alphabet.

    Raises:
        LLaSOError: Two have one name, a ``before`` names none of them, or two are each before the other.
    """
    by_name: dict[str, Layout] = {}
    for layout in layouts:
        if by_name.setdefault(layout.name, layout) is not layout or layout.name == AUTO:
            raise LLaSOError(f"the layout {layout.name!r} is there already; give yours another name")
    sorter = TopologicalSorter[str](dict.fromkeys(by_name, ()))
    for layout in by_name.values():
        for later in {*layout.before, _FALLBACK} - {layout.name}:
            if later not in by_name:
                raise LLaSOError(f"the layout {layout.name!r} is compared before {later!r}, which is none")
            if layout.name != _FALLBACK:
                sorter.add(later, layout.name)
    try:
        sorter.prepare()
    except CycleError as error:
        raise LLaSOError(f"layouts are compared each before the other: {', '.join(error.args[1])}") from error
    ordered: dict[str, Layout] = {}
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered.update((name, by_name[name]) for name in ready)
        sorter.done(*ready)
    return ordered
