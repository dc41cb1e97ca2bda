"""How good the voices of an instruction set are, by the lines that they spoke for it, as those lie beside the set."""

from __future__ import annotations

from collections.abc import Collection

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices.cache import sound_uri
from llaso_data.instruct.voices.drawing import voice_name
from llaso_data.io import storage
from llaso_data.pipeline import recipe_file
from llaso_data.pipeline.instruct.speech import cache_folder
from llaso_data.pipeline.instruct.speech_job import Try, read_job
from llaso_data.pipeline.instruct.spoken import SpeechRequest, SpokenLine
from llaso_data.pipeline.instruct.voice_quality import LINES, VoiceReport, voice_quality
from llaso_data.pipeline.load_recipe import load
from llaso_data.records import from_table

WORK = ".build-instruct"
NOT_THERE = "The lines that voices spoke do not lie beside the set, so that they are not measured."


def measured(out: str, voices: Collection[str]) -> tuple[VoiceReport, list[str]]:
    """Measure the voices of a set: DNSMOS, and how like each other they are.

    Args:
        out: build-instruct's output.
        voices: Those of the set; an earlier run into the folder may have had others.

    Returns:
        By voice what was measured, and in sentences what could not be.
    """
    try:
        lines = [line for line in _kept_lines(out, LINES) if line.name in voices]
        if not lines:
            return VoiceReport({}), [NOT_THERE]
        report = voice_quality(lines)
    except FileNotFoundError:
        return VoiceReport({}), [NOT_THERE]
    except LLaSOError as error:
        return VoiceReport({}), [f"Voices are not measured: {error}."]
    return report, [f"Not measured: {why}." for why in report.skipped.values()]


def _kept_lines(out: str, most: int) -> list[SpokenLine]:
    """Of each voice the lines with the smallest keys that Whisper understood."""
    root = storage.absolute(out)
    work = storage.join(root, WORK)
    folder = storage.join(work, "speech")
    if not storage.exists(folder):
        return []
    cache = _cache(root, work)
    found: dict[str, list[SpokenLine]] = {}
    names = sorted(info["name"].rpartition("/")[2] for info in storage.listing(folder))
    for name in (name for name in names if name.endswith(".parquet")):
        for one in from_table(read_job(work, name.removesuffix(".parquet")), Try):
            if one.reason is None:
                found.setdefault(voice_name(one.engine, one.voice), []).append(_line(one, cache))
        for lines in found.values():
            lines.sort(key=lambda line: line.request.key)
            del lines[most:]
    return [line for lines in found.values() for line in lines]


def _line(one: Try, cache: str) -> SpokenLine:
    return SpokenLine(
        request=SpeechRequest(one.text, one.language, one.take),
        engine=one.engine,
        voice=one.voice,
        speed=one.speed,
        seed=one.seed,
        cer=one.cer,
        hypothesis=one.hypothesis,
        attempt=one.attempt,
        duration_s=one.duration_s,
        uri=sound_uri(cache, one.sound),
        licence=one.licence,
    )


def _cache(root: str, work: str) -> str:
    stored = storage.join(root, recipe_file.NAME)
    return cache_folder(load(stored), work) if storage.is_file(stored) else storage.join(work, "voices")
