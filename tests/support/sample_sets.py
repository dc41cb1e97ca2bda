"""Samples of a test's own as a set that every command reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from llaso_data import records
from llaso_data.formats.samples import METADATA, VERSION
from llaso_data.records import Sample


def write_samples(samples: Sequence[Sample], folder: Path) -> Path:
    """The samples as one Parquet file of the layout ``samples``."""
    folder.mkdir(parents=True, exist_ok=True)
    table = records.to_table(list(samples), Sample)
    metadata = {**(table.schema.metadata or {}), METADATA: VERSION}
    pq.write_table(table.replace_schema_metadata(metadata), folder / "samples-000000.parquet")
    return folder
