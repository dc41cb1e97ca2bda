"""Whole columns of paths are joined by the rule that the layout's reader has for one path."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.formats.files.suffixes import SuffixIndex, closeness
from llaso_data.pipeline.convert.by_archive.suffix_join import longest_common_ends, preferred_order

PATHS = st.lists(st.sampled_from(["a", "b", "ä", "long"]), min_size=1, max_size=4).map("/".join)


@given(st.lists(PATHS, max_size=12), st.lists(PATHS, min_size=1, max_size=6))
def test_it_finds_what_the_readers_index_finds(files: list[str], wanted: list[str]) -> None:
    index = SuffixIndex(lambda: files, len(files), files.__getitem__)
    names = pa.array(files, pa.string())
    order = preferred_order(names)
    found, shared = longest_common_ends(pa.array(wanted), names.take(pa.array(order)))
    for path, place, depth in zip(wanted, found.tolist(), shared.tolist(), strict=True):
        number, _ = index.find(path) or (None, 0)
        assert -depth == (0 if number is None else closeness(path.split("/"), files[number])[0])
        assert (None if number is None else files[number]) == (None if place < 0 else files[order[place]])


def test_of_equal_paths_the_first_archive_is_taken() -> None:
    names = pa.array(["x/a.wav", "x/a.wav", "a.wav"])
    order = preferred_order(names, pa.array([2, 1, 0]).to_numpy(), pa.array([0, 0, 0]).to_numpy())
    assert order.tolist() == [2, 1, 0]
    found, _ = longest_common_ends(pa.array(["x/a.wav", "y/a.wav"]), names.take(order))
    assert order[found].tolist() == [1, 2]
