"""The rules of tiers 1 and 2 together."""

from __future__ import annotations

from llaso_data.filters import confidence, consistency
from llaso_data.filters.rules import Rule
from llaso_data.recipe import Judge


def rules(section: Judge) -> list[Rule]:
    """Tier 1, then tier 2, in the order in which they are tried: the first rule violated names the rejection."""
    return [*confidence.rules(section.confidence), *consistency.rules(section.consistency)]
