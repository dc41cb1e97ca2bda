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
MAX_SOUND_S = 30.0  # of a longer utterance the beginning is embedded
BARS = 110  # of the card's waveforms
_MIN_PEAK = 0.02  # of full scale: what is quieter is not blown up to full height


@dataclass(frozen=True, slots=True, order=True)
class RowLocation:
    """Where a record lies: the number of its block in the manifest, and of its row in the block."""

    block: int
    row: int


@dataclass(slots=True)
class ExampleSampler:
    """Draws at most ``count`` examples of each group, its languages in proportion.

    It keeps the candidates with the smallest tickets of each group and language. A ticket depends on the id alone, so
    that the draw does not depend on the order of the rows.
    """

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
        """Add rows, in any order: their groups, languages, hashed ids, and where they lie; all of the same length."""
        tickets = audit_draw.ticket(ids, SEED)
        stratum = pc.binary_join_element_wise(groups, languages, "\n")
        for name in pc.unique(stratum).to_pylist():
            group, language = name.split("\n", 1)
            members = np.flatnonzero(np.asarray(pc.equal(stratum, name)))
            sizes = self.sizes.setdefault(group, {})
            sizes[language] = sizes.get(language, 0) + len(members)
            smallest = members[np.argsort(tickets[members], kind="stable")[: self.count]]
            candidates = self.candidates.setdefault(group, {}).setdefault(language, [])
            candidates += [(int(tickets[i]), RowLocation(int(blocks[i]), int(rows[i]))) for i in smallest]
            candidates.sort()
            del candidates[self.count :]

    def chosen(self) -> dict[str, list[RowLocation]]:
        """The examples of each group, in the order of their tickets."""
        result = {}
        for group, by_language in sorted(self.candidates.items()):
            names = sorted(by_language)
            quotas = audit_draw.quotas([self.sizes[group][name] for name in names], self.count)
            drawn = [entry for name, n in zip(names, quotas, strict=True) for entry in by_language[name][:n]]
            result[group] = [place for _, place in sorted(drawn)]
        return result


def read_rows(align: str, blocks: Sequence[str], places: Sequence[RowLocation]) -> dict[RowLocation, Utterance]:
    """Read the records at ``places``; each block is read once."""
    records: dict[RowLocation, Utterance] = {}
    for block in sorted({place.block for place in places}):
        block_places = sorted({place for place in places if place.block == block})
        with columns.reading(commit.block_uri(align, blocks[block])) as file:
            table = pq.read_table(file, use_threads=False)
        rows = from_table(table.take([place.row for place in block_places]), Utterance)
        records.update(zip(block_places, rows, strict=True))
    return records


def find_rows(align: str, blocks: Sequence[str], ids: Sequence[str]) -> dict[str, RowLocation]:
    """Find utterances by their ids. Only ids are read, until all are found."""
    wanted_ids = pa.array(sorted(set(ids)), pa.string())
    locations: dict[str, RowLocation] = {}
    for number, block in enumerate(blocks):
        if len(locations) == len(wanted_ids):
            break
        with columns.reading(commit.block_uri(align, block)) as file:
            column = pq.ParquetFile(file).read(["id"], use_threads=False)["id"]
        for row in np.flatnonzero(np.asarray(pc.is_in(column, value_set=wanted_ids))).tolist():
            locations.setdefault(column[row].as_py(), RowLocation(number, row))
    return locations


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound for a page.

    Attributes:
        opus: Ogg Opus as base64.
        bars: of the waveform, from 0 to 99.
        seconds: its length.
        trouble: why there is no sound; else empty.
    """

    opus: str = ""
    bars: tuple[int, ...] = ()
    seconds: float = 0.0
    trouble: str = ""


def load_sound(utterance: Utterance) -> Sound:
    """Load an utterance's sound, its first 30 s. An error is stored in ``trouble``, not raised."""
    source = utterance.source
    start_s = source.start_s or 0.0
    end_s = None if source.end_s is None else min(source.end_s, start_s + MAX_SOUND_S)
    if end_s is None and (utterance.duration_s or 0.0) > MAX_SOUND_S:
        end_s = start_s + MAX_SOUND_S
    try:
        pcm = limited.decode_source(replace(source, end_s=end_s))
    except LLaSOError as error:
        return Sound(trouble=str(error))
    return encode_sound(pcm, BARS)


def encode_sound(pcm: Pcm, bars: int) -> Sound:
    """Encode int16 samples at 16 kHz, shape (samples,), for a page, with a waveform of so many bars."""
    opus = base64.b64encode(audio.encode(pcm, "opus")).decode("ascii")
    return Sound(opus, waveform(pcm, bars), len(pcm) / SAMPLE_RATE_HZ)


def waveform_path(bars: Sequence[int]) -> str:
    """The waveform as an SVG path, 100 units high and one unit wide for each bar."""
    return "".join(f"M{i} {50 - max(1, bar // 2)}v{2 * max(1, bar // 2)}" for i, bar in enumerate(bars))


def waveform(pcm: Pcm, bars: int) -> tuple[int, ...]:
    """The bars of a waveform: the peak of each part, from 0 to 99 of the loudest; noise stays low.

    Args:
        pcm: int16 samples, shape (samples,).
        bars: how many, where there are enough samples.
    """
    if not len(pcm):
        return ()
    edges = np.linspace(0, len(pcm), min(bars, len(pcm)) + 1).astype(np.int64)
    peaks = np.maximum.reduceat(np.abs(pcm.astype(np.int32)), edges[:-1])
    scale = max(int(peaks.max()), round(_MIN_PEAK * audio.FULL_SCALE))
    return tuple((peaks * 99 // scale).tolist())


def text_pieces(text: str, words: Sequence[Word]) -> Iterator[tuple[str, Word | None]]:
    """Cut a text into its words and what stands between them, in order.

    Args:
        text: all of it.
        words: with times; a word that the text does not have is left out.

    Yields:
        A part of the text, and its word or None.
    """
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
