"""Examples for the card: which utterances are heard, chosen by their ids alone, and what is needed to play them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, limited
from llaso_data.errors import LLaSOError
from llaso_data.filters import audit_draw, columns
from llaso_data.filters.duplicates import Hashes
from llaso_data.pipeline import commit
from llaso_data.records import Utterance, Word, from_table

SEED = 0x6361_7264  # not the audit's: what a person will judge should not be on show before
HEARD_S = 30.0  # of a longer utterance the beginning is embedded
BARS = 110  # of the card's waveforms
_QUIETEST = 0.02  # of full scale: what is quieter is not blown up to full height


@dataclass(frozen=True, slots=True, order=True)
class RowLocation:
    """The n-th block of the manifest, and the row in it."""

    block: int
    row: int


@dataclass(slots=True)
class Choice:
    """For every group and language the candidates of smallest ticket, which depends on the id and nothing else."""

    count: int = 0
    candidates: dict[str, dict[str, list[tuple[int, RowLocation]]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def offer(
        self,
        groups: pa.ChunkedArray,
        languages: pa.ChunkedArray,
        ids: Hashes,
        blocks: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
    ) -> None:
        """Rows in any order; the result does not depend on it."""
        tickets = audit_draw.ticket(ids, SEED)
        stratum = pc.binary_join_element_wise(groups, languages, "\n")
        for name in pc.unique(stratum).to_pylist():
            group, language = name.split("\n", 1)
            here = np.flatnonzero(np.asarray(pc.equal(stratum, name)))
            sizes = self.sizes.setdefault(group, {})
            sizes[language] = sizes.get(language, 0) + len(here)
            smallest = here[np.argsort(tickets[here], kind="stable")[: self.count]]
            known = self.candidates.setdefault(group, {}).setdefault(language, [])
            known += [(int(tickets[i]), RowLocation(int(blocks[i]), int(rows[i]))) for i in smallest]
            known.sort()
            del known[self.count :]

    def chosen(self) -> dict[str, list[RowLocation]]:
        """Of each group up to `count`, its languages in proportion, in the order of their tickets."""
        result = {}
        for group, by_language in sorted(self.candidates.items()):
            names = sorted(by_language)
            quotas = audit_draw.quotas([self.sizes[group][name] for name in names], self.count)
            drawn = [entry for name, n in zip(names, quotas, strict=True) for entry in by_language[name][:n]]
            result[group] = [place for _, place in sorted(drawn)]
        return result


def read_rows(align: str, blocks: Sequence[str], places: Sequence[RowLocation]) -> dict[RowLocation, Utterance]:
    """The records at those places; each block is read once."""
    found: dict[RowLocation, Utterance] = {}
    for block in sorted({place.block for place in places}):
        here = sorted({place for place in places if place.block == block})
        with columns.reading(commit.block_uri(align, blocks[block])) as file:
            table = pq.read_table(file, use_threads=False)
        rows = from_table(table.take([place.row for place in here]), Utterance)
        found.update(zip(here, rows, strict=True))
    return found


def find(align: str, blocks: Sequence[str], ids: Sequence[str]) -> dict[str, RowLocation]:
    """Where the utterances of those ids lie; reads ids only, and stops when all are found."""
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, RowLocation] = {}
    for number, block in enumerate(blocks):
        if len(found) == len(wanted):
            break
        with columns.reading(commit.block_uri(align, block)) as file:
            column = pq.ParquetFile(file).read(["id"], use_threads=False)["id"]
        for row in np.flatnonzero(np.asarray(pc.is_in(column, value_set=wanted))).tolist():
            found.setdefault(column[row].as_py(), RowLocation(number, row))
    return found


@dataclass(frozen=True, slots=True)
class Sound:
    """What one hears and sees: Ogg Opus as base64, bars from 0 to 99, seconds; or why there is none."""

    opus: str = ""
    bars: tuple[int, ...] = ()
    seconds: float = 0.0
    trouble: str = ""


def sound(utterance: Utterance) -> Sound:
    """The utterance's audio, its first 30 s; trouble in reading it is said, not raised."""
    source = utterance.source
    start_s = source.start_s or 0.0
    end_s = None if source.end_s is None else min(source.end_s, start_s + HEARD_S)
    if end_s is None and (utterance.duration_s or 0.0) > HEARD_S:
        end_s = start_s + HEARD_S
    try:
        pcm = limited.decode_source(replace(source, end_s=end_s))
    except LLaSOError as error:
        return Sound(trouble=str(error))
    return as_sound(pcm, BARS)


def as_sound(pcm: Pcm, bars: int) -> Sound:
    opus = base64.b64encode(audio.encode(pcm, "opus")).decode("ascii")
    return Sound(opus, waveform(pcm, bars), len(pcm) / SAMPLE_RATE_HZ)


def strokes(bars: Sequence[int]) -> str:
    """The waveform as an SVG path in a box of 100 units' height: one upright stroke for each bar."""
    return "".join(f"M{i} {50 - max(1, bar // 2)}v{2 * max(1, bar // 2)}" for i, bar in enumerate(bars))


def waveform(pcm: Pcm, bars: int) -> tuple[int, ...]:
    """The loudest sample of each of so many stretches, 0 to 99 of the loudest of all; a hum stays flat."""
    if not len(pcm):
        return ()
    borders = np.linspace(0, len(pcm), min(bars, len(pcm)) + 1).astype(np.int64)
    peaks = np.maximum.reduceat(np.abs(pcm.astype(np.int32)), borders[:-1])
    scale = max(int(peaks.max()), round(_QUIETEST * audio.FULL_SCALE))
    return tuple((peaks * 99 // scale).tolist())


def pieces(text: str, words: Sequence[Word]) -> Iterator[tuple[str, Word | None]]:
    """The text in order, cut into its words and what lies between them; a word that is not in it is left out."""
    at = 0
    for word in words:
        start = text.find(word.text, at) if word.text else -1
        if start < 0:
            continue
        if start > at:
            yield text[at:start], None
        yield word.text, word
        at = start + len(word.text)
    if at < len(text):
        yield text[at:], None
