"""Shares of pairs with their intervals, and what a calibration found in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EARLIER = "it was judged by a version of LLaSO that did not calibrate"
"""Why a run of an earlier version, whose manifest says nothing of it, is not calibrated."""

_Z = 1.96  # of 95 %


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of pairs, and its interval of 95 %.

    The interval is Wilson's, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927).

    Attributes:
        rejected: How many were rejected.
        pairs: Of how many.
    """

    rejected: int
    pairs: int

    @property
    def share(self) -> float:
        """0-1; 0 where there are no pairs."""
        return self.rejected / self.pairs if self.pairs else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the greatest share that the pairs leave open."""
        if not self.pairs:
            return 0.0, 1.0
        spread = _Z * _Z / self.pairs
        middle = (self.share + spread / 2) / (1 + spread)
        half = math.sqrt(self.share * (1 - self.share) * spread + spread * spread / 4) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_dict(self, counted: str = "rejected") -> dict[str, Any]:
        """As JSON, with the share and its interval; ``counted`` names what is counted."""
        low, high = self.interval
        return {
            counted: self.rejected,
            "pairs": self.pairs,
            "share": round(self.share, 4),
            "interval": [round(low, 4), round(high, 4)],
        }


def mean_recall(recall: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The mean over faults of the share that is found, rates as :meth:`Rate.to_dict` gives them; None without any."""
    found = [rate["rejected"] / rate["pairs"] for rate in recall.values() if rate["pairs"]]
    return round(sum(found) / len(found), 4) if found else None


def in_percent(rate: Mapping[str, Any]) -> str:
    """A rate as :meth:`Rate.to_dict` gives it, for a reader: ``0.8 % (0.2-2.9)``."""
    low, high = rate["interval"]
    return f"{100 * rate['share']:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def sentence(stated: Mapping[str, Any]) -> str:
    """How a run was calibrated.

    Args:
        stated: ``calibration`` and ``uncalibrated`` as build-align's manifest has them. A manifest of an earlier
            version has neither.
    """
    calibration = stated.get("calibration")
    if calibration is None:
        return f"judged without calibration: {stated.get('uncalibrated') or EARLIER}"
    found = calibration["mean_recall"]
    rates = f"false alarms {in_percent(calibration['false_alarms'])}"
    rates += "" if found is None else f", faults found {100 * found:.0f} %"
    if calibration["thresholds"]:
        return f"calibrated: {rates} on clips it was not fitted on"
    return f"judged by the recipe's thresholds, too few right clips to fit others: {rates}"
