"""The table of layouts: what a layout is, which there are, and in which order a source is compared with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.rows.conversation import SourceConversation
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.rows.text_row import TextRow
from llaso_data.formats.writing.writer import LayoutWriter
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Sample
from llaso_data.registry import Registry

AUTO = "auto"
"""The `type` of a source whose layout is to be recognised."""
ENTRY_POINTS = "llaso.layouts"
"""The group of entry points under which other packages name the modules of their layouts."""
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
        read: Of a corpus: the rows of a source, in the order of :meth:`SourceRow.sort_key`. It is lazy. What is broken
            is a failed row with file and line (:func:`~llaso_data.formats.rows.source_row.failed_row`); what the
            reader does not use is a note of the tree. It raises LLaSOError where the source is not of this layout, or
            holds nothing.
            None where the layout never holds a corpus.
        read_conversations: Of a layout of conversations: those of a source, in the order of its files and their lines.
            It is lazy and holds no file in memory. A layout of our own records yields samples as they are. What is
            broken is a failure (:func:`~llaso_data.formats.rows.conversation.bad_conversation`); notes and errors are
            as for ``read``.
        holds_conversations: Of a layout with both readers: whether a source holds conversations. It opens no more than
            it needs.
        read_texts: Of a layout of texts without audio: those of a source, in the order of its files and their rows, for
            tasks whose input is text. A row may give several. Notes, errors and what is broken are as for
            ``read_conversations``.
        writer: Writes samples in this layout; None: the layout is only read.
        variant: Makes the layout of ``NAME:VARIANT``, a kind of it that no file tells: ``lhotse:librispeech``. It
            raises LLaSOError where there is no such one. None: the layout has no kinds.
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
    read: Callable[[SourceSpec, FileTree], Iterator[SourceRow]] | None = None
    read_conversations: Callable[[SourceSpec, FileTree], Iterator[SourceConversation | Sample | Failure]] | None = None
    holds_conversations: Callable[[SourceSpec, FileTree], bool] | None = None
    read_texts: Callable[[SourceSpec, FileTree], Iterator[TextRow | Failure]] | None = None
    writer: LayoutWriter | None = None
    variant: Callable[[str], Layout] | None = None
    endings: frozenset[str] = frozenset()
    before: tuple[str, ...] = (_FALLBACK,)


class Recognition(NamedTuple):
    """The layout of a source, and why it is taken for that."""

    layout: Layout
    evidence: str


class LayoutTable(Registry[Layout]):
    """Name → layout, in the order in which a source is compared with them.

    Modules of ``llaso_data.formats`` and of other packages' entry points register theirs, as a :class:`Registry` says.
    """

    def __init__(self) -> None:
        super().__init__("layout", "llaso_data.formats", ENTRY_POINTS)

    def choices(self) -> list[str]:
        """What a recipe's `type` may be: ``auto``, and the names in the order of the alphabet."""
        return [AUTO, *sorted(self)]

    def takes(self, name: str) -> bool:
        """Whether a recipe's `type` may be this: one of :meth:`choices`, or a kind of a layout that has kinds.

        Raises:
            LLaSOError: The layout has kinds, and this is none of them.
        """
        return name in (AUTO, *self) or self._variant(name) is not None

    def __getitem__(self, name: str) -> Layout:
        """The layout of a name, or of ``NAME:VARIANT``. Raises LLaSOError, with the choices, where there is none."""
        return self._variant(name) or super().__getitem__(name)

    def _variant(self, name: str) -> Layout | None:
        base, colon, kind = name.partition(":")
        layout = super().__getitem__(base) if colon and base in self else None
        return None if layout is None or layout.variant is None else layout.variant(kind)

    def endings(self) -> frozenset[str]:
        """The extensions of files that are a source of their own."""
        return frozenset(ending for layout in self.values() for ending in layout.endings)

    def recognise(self, tree: FileTree) -> Recognition | None:
        """The first layout that recognises a source, and why; None where none does."""
        for layout in self.values():
            if (evidence := layout.recognises(tree)) is not None:
                return Recognition(layout, evidence)
        return None

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which a source is compared with the layouts."""
        return iter(in_order(self._loaded().values()))


LAYOUTS = LayoutTable()
"""Every layout that is read."""


def in_order(layouts: Iterable[Layout]) -> dict[str, Layout]:
    """Layouts by name, each before those that its ``before`` names, and else in the order of the alphabet.

    Raises:
        LLaSOError: Two have one name, a ``before`` names none of them, or two are each before the other.
    """
    by_name: dict[str, Layout] = {}
    for layout in layouts:
        if by_name.setdefault(layout.name, layout) is not layout or layout.name == AUTO:
            raise LLaSOError(f"there is a layout {layout.name!r} already; give yours another name")
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
