"""Conversions by the local engine, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llaso_data.pipeline.convert.run import ConvertSummary, convert
from llaso_data.pipeline.load_recipe import load
from llaso_data.records import Sample
from llaso_data.shards import reader


def run(
    out: Path | str, *sources: Path | str | dict[str, Any], overwrite: bool = False, **options: Any
) -> ConvertSummary:
    return convert(recipe(out, *sources, **options), overwrite=overwrite)


def recipe(out: Path | str, *sources: Path | str | dict[str, Any], **options: Any) -> Any:
    named = [source if isinstance(source, dict) else {"path": str(source)} for source in sources]
    given = {f"convert.{key}": value for key, value in options.items()}
    return load(None, options={"run.engine": "local", "sources": named, "out": str(out), **given})


def shards_of(out: Path | str) -> list[tuple[Sample, dict[str, bytes]]]:
    return list(reader.samples(str(out)))
