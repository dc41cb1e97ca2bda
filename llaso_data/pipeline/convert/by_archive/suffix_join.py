"""Which of many files each of many paths means: the longest common end, for whole columns at once.

The rule is that of :class:`~llaso_data.formats.files.suffixes.SuffixIndex`, which answers for one path at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

I64 = npt.NDArray[np.int64]
_NONE = -1


def preferred_order(names: Any, *tie_breaks: I64) -> I64:
    """In which order files of the same end are preferred: shorter paths first, then by the paths, then as given.

    Args:
        names: (M,) an Arrow array of paths.
        tie_breaks: (M,) each, for equal paths; the first counts most.

    Returns:
        (M,) numbers into ``names``.
    """
    import pyarrow.compute as pc

    columns = {"length": pc.utf8_length(names), "name": names}
    columns |= {f"tie{number}": values for number, values in enumerate(tie_breaks)}
    order: I64 = np.asarray(pc.sort_indices(pa.table(columns), [(name, "ascending") for name in columns]), np.int64)
    return order


def longest_common_ends(paths: Any, names: Any) -> tuple[I64, I64]:
    """For each path the file that shares most of its last parts with it.

    Parts become numbers, and then the ends of each depth do, so that a million files of one name cost no more than a
    million files of other names: each depth is one sort of what still matches.

    Args:
        paths: (N,) an Arrow array of texts with ``/``, without empty parts.
        names: (M,) the files' paths, the preferred of two with the same end first (:func:`preferred_order`).

    Returns:
        (N,) numbers into ``names``; -1 where no file has the path's last part. (N,) how many parts both have in common.
    """
    codes, path_ends, path_depths, name_ends, name_depths = _numbered_parts(paths, names)
    count = int(codes.max(initial=-1)) + 1
    found = np.full(len(path_ends), _NONE, np.int64)
    shared = np.zeros(len(path_ends), np.int64)
    active = np.flatnonzero(path_depths > 0)  # the paths that match so far, and what their ends are called
    members = np.flatnonzero(name_depths > 0)
    path_ids = np.zeros(len(active), np.int64)
    member_ids = np.zeros(len(members), np.int64)
    depth = 1
    while len(active) and len(members):
        keys = member_ids * count + codes[name_ends[members] - depth]
        ends, first, member_ids = np.unique(keys, return_index=True, return_inverse=True)
        wanted = path_ids * count + codes[path_ends[active] - depth]
        at = np.searchsorted(ends, wanted)
        same = (at < len(ends)) & (ends[np.minimum(at, len(ends) - 1)] == wanted)
        active, path_ids = active[same], at[same]
        found[active] = members[first[path_ids]]  # the members are ascending: the first is the preferred one
        shared[active] = depth
        deeper = path_depths[active] > depth
        active, path_ids = active[deeper], path_ids[deeper]
        still = (name_depths[members] > depth) & np.isin(member_ids, path_ids)
        members, member_ids = members[still], member_ids[still]
        depth += 1
    return found, shared


def _numbered_parts(paths: Any, names: Any) -> tuple[I64, I64, I64, I64, I64]:
    """All parts of all paths as numbers, one after the other.

    Returns:
        The numbers; where each path's parts end among them, and how many they are; the same of the names.
    """
    import pyarrow.compute as pc

    both = pa.chunked_array([paths.cast(pa.large_string()), names.cast(pa.large_string())])
    parts = pc.split_pattern(both, "/").combine_chunks()
    offsets = np.asarray(parts.offsets, np.int64)
    codes = np.asarray(parts.values.dictionary_encode().indices, np.int64)
    ends, depths = offsets[1:], np.diff(offsets)
    return codes, ends[: len(paths)], depths[: len(paths)], ends[len(paths) :], depths[len(paths) :]
