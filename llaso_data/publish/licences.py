"""What the card says of the licences of the audios that went into the sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# fmt: off
KNOWN = frozenset((
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0",
    "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1",
    "lgpl-3.0", "isc", "ms-pl", "mpl-2.0", "odc-by", "odbl", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense",
    "zlib", "pddl",
))
"""Licences that the hub knows by these names."""
# fmt: on

_NON_COMMERCIAL = re.compile(r"(?:^|[-_ ])nc(?:[-_ ]|$)|non-?commercial", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of the whole.

    Attributes:
        metadata: The keys of the card's YAML that say it.
        non_commercial: Whether any part forbids commercial use, and with it the whole.
        warning: What is unclear about it, for the card and for whoever pushes; empty where nothing is.
    """

    metadata: dict[str, str]
    non_commercial: bool
    warning: str


def of_audios(by_licence: Mapping[str, int]) -> Licence:
    """The licence of a whole of which parts have these.

    Args:
        by_licence: Audios by licence; those that name none under ``""``.
    """
    named = sorted(name for name in by_licence if name)
    unnamed = by_licence.get("", 0)
    non_commercial = any(_NON_COMMERCIAL.search(name) for name in named)
    if not named:
        return Licence({"license": "unknown"}, False, "no audio names a licence")
    ids = {re.sub(r"[ _]+", "-", name.strip().lower()) for name in named}
    if len(ids) == 1 and not unnamed and (one := next(iter(ids))) in KNOWN:
        return Licence({"license": one}, non_commercial, "")
    warnings = [f"the audios have {len(named)} licences"] if len(ids) > 1 else []
    if unnamed:
        warnings.append(f"{unnamed:,} audios name no licence")
    if not warnings:
        warnings = ["the licence is none that the hub knows by name"]
    name = "several-licences" if len(ids) > 1 else "partly-unknown" if unnamed else "see-card"
    ending = "-non-commercial" if non_commercial else ""
    return Licence({"license": "other", "license_name": name + ending}, non_commercial, "; ".join(warnings))
