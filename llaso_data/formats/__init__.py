"""Corpora: one reader per layout, each yielding the same :class:`~llaso_data.records.Input`.

``docs/sources.md`` describes the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from llaso_data.formats import common_voice, folder, librispeech, manifest, webdataset
from llaso_data.formats.registry import Layout, corpus_name, layout_of, open_tree
from llaso_data.formats.rows.source_row import Entry, Tree, bad_row, check_given, fault, to_input
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Input

READERS: dict[Layout, Callable[[SourceSpec, Tree], Iterator[Entry]]] = {
    "folder": folder.entries,
    "librispeech": librispeech.entries,
    "common_voice": common_voice.entries,
    "manifest": manifest.entries,
    "webdataset": webdataset.entries,
}


def read(spec: SourceSpec, notes: Counter[str] | None = None) -> Iterator[Input]:
    """Every input of a source in the order of its path, at most ``spec.limit``.

    What cannot be used yields an Input too, with a ``failure``: ``bad_row`` (file and line in its detail),
    ``bad_text``, ``bad_name``, or a broken archive's ``truncated`` and ``unreadable``. ``notes`` counts, while it is
    read, what is to be said of the source besides its inputs. Raises LLaSOError at the call
    where the path does not exist or holds no audio, or the recipe's values for it are not understood.
    """
    check_given(spec)
    tree = open_tree(spec)
    if notes is not None:
        tree = replace(tree, notes=notes)
    found = READERS[layout_of(spec, tree)](spec, tree)
    corpus = spec.corpus or corpus_name(spec.path)
    return (_input(entry, spec, corpus) for entry in islice(_no_repeats(found), spec.limit))


def _input(entry: Entry, spec: SourceSpec, corpus: str) -> Input:
    """The entry as an input; one that cannot be made into a record is an input that failed."""
    try:
        return to_input(entry, spec, corpus)
    except Exception as error:
        where = entry.where or entry.path
        return to_input(bad_row(entry.root, entry.container, where, fault(error)), spec, corpus)


def detect(spec: SourceSpec) -> Layout:
    """The layout that a source is read as. Raises LLaSOError where the path does not exist."""
    return layout_of(spec, open_tree(spec))


def _no_repeats(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Entries come sorted, so what would have an id twice stands side by side; the second is a bad row."""
    last: Entry | None = None
    for entry in entries:
        broken = entry.failure is not None and entry.failure.reason == "bad_row"
        if last is not None and not broken and entry.audio() == last.audio():
            detail = f"{entry.place}: the same audio and span as {last.where}; take one out"
            yield replace(entry, failure=Failure("bad_row", detail))
            continue
        yield entry
        if not broken:
            last = entry
