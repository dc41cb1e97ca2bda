"""What the card says of the sets that are published: the numbers of ``llaso-data stats``, of each and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from llaso_data import uris
from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.publish.sets import ShardSet
from llaso_data.shards import layout, removal
from llaso_data.shards.stats import SampleCounts, Stats, added, stats

FORMAT, FORMAT_VERSION = "llaso-published", 1
NAME = "stats.json"
"""The file of a repository that says which folders a push wrote, and the counts of each."""


@dataclass(slots=True)
class Facts:
    """Counts of the sets that are published together.

    Attributes:
        sets: Each set with its counts, in the order of their folders.
        counts: What is counted from the JSON of all samples.
        asked: Samples and seconds of audio by (task, modality).
        addresses: How many audios name a recording by a path of this machine.
        address: The first of these paths.
    """

    sets: list[tuple[ShardSet, Stats]] = field(default_factory=list)
    counts: SampleCounts = field(default_factory=SampleCounts)
    asked: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    addresses: int = 0
    address: str = ""

    @property
    def samples(self) -> int:
        """Of all sets."""
        return sum(stated.samples for _, stated in self.sets)

    @property
    def hours(self) -> float:
        """Of the audio of all sets."""
        return round(sum(stated.hours for _, stated in self.sets), 6)

    @property
    def bytes(self) -> int:
        """Of the tars of all sets."""
        return sum(stated.bytes for _, stated in self.sets)

    @property
    def languages(self) -> dict[str, dict[str, float]]:
        """Samples and hours by language, of all sets."""
        return added([stated.languages for _, stated in self.sets]) or {}

    def audios_by(self, field: str) -> dict[str, int]:
        """How many audios have each value of ``licenses`` or ``consents``; those that say nothing under ``""``."""
        by: dict[str, int] = {}
        for corpus in self.counts.corpora.values():
            named: Mapping[str, int] = corpus.get(field, {})
            for value, count in {**named, "": corpus["audios"] - sum(named.values())}.items():
                by[value] = by.get(value, 0) + count
        return {value: count for value, count in sorted(by.items()) if count}

    def to_dict(self) -> dict[str, Any]:
        """What is published of it as :data:`NAME`; no address of this machine is in it."""
        sets = {one.folder or ".": {k: v for k, v in asdict(stated).items() if k != "uri"} for one, stated in self.sets}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "samples": self.samples,
            "hours": self.hours,
            "bytes": self.bytes,
            **self.counts.to_dict(),
            "sets": sets,
        }


def measure(sets: Sequence[ShardSet]) -> Facts:
    """Count sets. The JSON of every sample is read once.

    Raises:
        LLaSOError: A sample cannot be read, or is one that was taken out of its set.
    """
    facts = Facts()
    for one in sets:
        gone = removal.ledger(one.uri)

        def seen(shard: str, sample: Mapping[str, Any], gone: removal.Removed = gone, uri: str = one.uri) -> None:
            if gone and gone.holds(layout.decode_sample(sample), sample["key"]):
                raise LLaSOError(
                    f"{shard} holds {sample['key']}, which was taken out of this set; run `llaso-data remove {uri}` "
                    "again with the same names, and then push"
                )
            _count(facts, sample)

        facts.sets.append((one, stats(one.uri, seen=seen)))
    return facts


def is_ours(document: Any) -> bool:
    """Whether JSON is the :data:`NAME` of a push."""
    return isinstance(document, dict) and document.get("format") == FORMAT and isinstance(document.get("sets"), dict)


def _count(facts: Facts, sample: Mapping[str, Any]) -> None:
    facts.counts.add(sample)
    sums = facts.asked.setdefault((sample["task"], layout.modality(sample["messages"])), [0, 0.0])
    sums[0] += 1
    sums[1] += sample["duration_s"]
    for entry in sample["audios"]:
        address = entry["source"]["uri"]
        if storage.is_local(address) and (address.startswith("/") or uris.scheme(address)):
            facts.addresses += 1
            facts.address = facts.address or address
