"""The border level that is usual in a corpus, for recipes that set ``border_margin_db``.

A clip's border level is measured against the clip itself (:mod:`llaso_data.filters.border_level`), and by default one
limit holds for all corpora. With a margin, levels that are usual in a corpus and language pass: where most clips have
loud edges, a loud edge does not show a cut word.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

LEAST_CLIPS = 20  # of a corpus and language, for its own borders to say something
USUAL = 0.75  # of the clips of a corpus are not louder than what is usual; so up to a quarter may be cut

Limits = Mapping[tuple[str, str], float]
"""(corpus, language) to the level, dB, above which a border stands out there."""


def limits(
    border_db: npt.NDArray[np.float64], strata: npt.NDArray[np.int64], count: int, margin_db: float | None
) -> npt.NDArray[np.float64]:
    """The border level that stands out in each corpus and language: ``margin_db`` above what is usual there.

    Args:
        border_db: (rows,) levels, NaN where there is none.
        strata: (rows,) number of each row's corpus and language.
        count: Strata.
        margin_db: dB; None: every border stands out.

    Returns:
        (count,) dB; -inf, so that every border stands out, for strata of fewer than :data:`LEAST_CLIPS` clips.
    """
    limits_db = np.full(count, -np.inf)
    if margin_db is None:
        return limits_db
    has_level = ~np.isnan(border_db)
    border_db, strata = border_db[has_level], strata[has_level]
    order = np.lexsort((border_db, strata))
    sizes = np.bincount(strata, minlength=count)
    starts = np.cumsum(sizes) - sizes
    enough = np.flatnonzero(sizes >= LEAST_CLIPS)
    usual_rows = starts[enough] + (sizes[enough] * USUAL).astype(np.int64)
    limits_db[enough] = np.round(border_db[order[usual_rows]] + margin_db, 4)
    return limits_db
