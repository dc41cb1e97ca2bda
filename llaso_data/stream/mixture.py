"""A mixture: which datasets are streamed, in what shares, as a YAML file says.

Without weights, temperature or balance every sample comes exactly once an epoch. Otherwise samples are drawn by
shares for as long as it is asked for, and each source begins again where it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from llaso_data.errors import LLaSOError
from llaso_data.io import settings
from llaso_data.io.settings import Problem
from llaso_data.recipe import Part

SHARE = 1 << 32
"""Shares are whole numbers of this, so that every machine draws alike."""


class Source(Part):
    """A folder of shards, or a group of such sources."""

    path: str | None = Field(None, description="folder or URI of shards, with index.arrow")
    name: str | None = Field(None, description="how changes and reports call it; default: the path's last part")
    weight: float | None = Field(None, gt=0, description="share among its siblings; all of them have one, or none")
    filter: dict[str, tuple[str | float | None, ...]] = Field(
        default_factory=dict, description="columns of the index: the texts that are taken, or [least, most]"
    )
    generation: int | None = Field(
        None, ge=1, description="of a set that has grown: the generation that is streamed; null: the last"
    )
    sources: tuple[Source, ...] = Field((), description="a group instead of a path")

    @property
    def label(self) -> str:
        """The source's name, by default the last part of its path."""
        return self.name or (self.path or "group").rstrip("/").rpartition("/")[2]


class Change(Part):
    """Other weights from a step on."""

    step: int = Field(ge=1, description="global step from which the weights hold")
    weights: dict[str, float] = Field(description="name of a source, such as group/en, to its new weight")


class Mixture(Part):
    """What the loader streams."""

    sources: tuple[Source, ...] = Field(min_length=1, description="the datasets")
    temperature: float | None = Field(
        None, ge=1, description="shares of sources without weights are size^(1/temperature); null: every sample once"
    )
    balance: str | None = Field(
        None, description="a column of the index, such as task: its values get equal shares within each source"
    )
    epochs: int | None = Field(1, ge=1, description="how often; with shares: as many samples as that; null: endless")
    changes: tuple[Change, ...] = Field((), description="other weights from a step on")

    @classmethod
    def from_yaml(cls, path: str, overrides: Sequence[str] = ()) -> Mixture:
        """The checked mixture of a YAML file; raises LLaSOError with file and line of what is wrong."""
        return settings.load(cls, path, overrides, extra_checks=problems)

    @classmethod
    def of(cls, *paths: str, epochs: int | None = 1) -> Mixture:
        """All samples of these folders."""
        return cls(sources=tuple(Source(path=path) for path in paths), epochs=epochs)

    @property
    def weighted(self) -> bool:
        """Whether samples are drawn by shares."""
        named = any(source.weight is not None for source, _, _ in walk(self.sources))
        return named or self.temperature is not None or self.balance is not None or bool(self.changes)


@dataclass(frozen=True, slots=True)
class Node:
    """A source with its size, as shares are reckoned; a leaf has no children."""

    name: str
    weight: float | None
    size: int
    children: tuple[Node, ...] = field(default=())

    def leaves(self) -> Iterator[Node]:
        """The sources below that samples are drawn from, in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def walk(sources: Sequence[Source], above: str = "", at: tuple[str | int, ...] = ("sources",)) -> Iterator[Any]:
    """Walks a tree of sources from the top down.

    Args:
        sources: The sources of one level.
        above: The full name of the group that they are in.
        at: Where the level stands in the YAML file.

    Yields:
        (source, full name such as ``group/en``, place in the file) of every source.
    """
    for number, source in enumerate(sources):
        name = f"{above}/{source.label}" if above else source.label
        yield source, name, (*at, number)
        yield from walk(source.sources, name, (*at, number, "sources"))


def outline(mixture: Mixture) -> dict[str, Any]:
    """The part of a mixture that decides the plan: without the datasets' paths and generations, and the epochs.

    What is streamed is named by the digests of the indices.
    """
    sources = [_bare(source) for source in mixture.sources]
    return {**mixture.model_dump(mode="json", exclude={"epochs"}), "sources": sources}


def _bare(source: Source) -> dict[str, Any]:
    below = [_bare(child) for child in source.sources]
    return {**source.model_dump(mode="json", exclude={"path", "name", "generation"}), "sources": below}


def reweighted(node: Node, weights: Mapping[str, float]) -> Node:
    """The tree with other weights for these names."""
    children = tuple(reweighted(child, weights) for child in node.children)
    return replace(node, weight=weights.get(node.name, node.weight), children=children)


def shares(node: Node, temperature: float | None) -> list[int]:
    """The share of each source that has samples of its own, in the order of :meth:`Node.leaves`.

    Args:
        node: The tree of sources.
        temperature: T of shares size^(1/T) where weights are not given; None: 1.

    Returns:
        Parts of :data:`SHARE`; empty sources get none.

    Raises:
        LLaSOError: No source with samples has a weight.
    """
    raw_shares = _shares(node, 1.0, temperature or 1.0)
    total = sum(raw_shares)
    if not total:
        raise LLaSOError("the mixture has no samples: its filters take none, or its weights are for empty sources")
    return [round(share / total * SHARE) for share in raw_shares]


def _shares(node: Node, share: float, temperature: float) -> list[float]:
    if not node.children:
        return [share if node.size else 0.0]
    weights = [
        0.0 if not child.size else _tempered(child.size, temperature) if child.weight is None else child.weight
        for child in node.children
    ]
    total = sum(weights) or 1.0
    return [
        leaf
        for child, weight in zip(node.children, weights, strict=True)
        for leaf in _shares(child, share * weight / total, temperature)
    ]


def unchangeable(weights: Mapping[str, float | None], name: str) -> str | None:
    """Why a source's weight cannot be changed, or None; ``weights`` are those of all sources by name."""
    if name not in weights:
        return f"no such source; there are {', '.join(sorted(weights))}"
    if weights[name] is None:
        return "it has no weight to be changed; give it and its siblings one"
    return None


def _tempered(size: int, temperature: float) -> float:
    """To nine digits: powers differ in the last between processors, and all must agree on the shares."""
    return float(f"{size ** (1 / temperature):.9g}")


def problems(mixture: Mixture) -> Iterator[Problem]:
    """What is wrong with a mixture that pydantic accepts."""
    names: dict[str, float | None] = {}
    for source, name, at in walk(mixture.sources):
        if (source.path is None) == (not source.sources):
            yield at, "a source has either a path or sources"
        if name in names:
            yield at, f"another source is called {name} already; give it a name"
        names[name] = source.weight
        siblings = {child.weight is None for child in source.sources}
        if len(siblings) > 1:
            yield (*at, "sources"), "some of these have a weight and some have none"
    if len({source.weight is None for source in mixture.sources}) > 1:
        yield ("sources",), "some of these have a weight and some have none"
    last = 0
    for number, change in enumerate(mixture.changes):
        if change.step <= last:
            yield ("changes", number, "step"), "changes come in the order of their steps"
        last = change.step
        for name, weight in change.weights.items():
            if (wrong := unchangeable(names, name)) is not None:
                yield ("changes", number, "weights", name), wrong
            if weight < 0:
                yield ("changes", number, "weights", name), "a weight is not negative"
