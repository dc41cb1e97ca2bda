"""The dataset card of published shards: a section of Markdown made of :class:`~llaso_data.publish.facts.Facts`.

What comes from the data goes through :func:`llaso_data.publish.markdown.text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.languages import language_name
from llaso_data.publish import licences
from llaso_data.publish.facts import NAME, Facts
from llaso_data.publish.markdown import table, text
from llaso_data.publish.metadata import by_name
from llaso_data.publish.sets import DEFAULT, Config
from llaso_data.records import UNKNOWN
from llaso_data.shards import layout
from llaso_data.shards.manifest import hours

_MOST_ROWS = 30  # of a table; stats.json has all
_NOTHING = "–"


def section(facts: Facts, repo: str, revision: str, contact: str | None) -> str:
    """The card's own section.

    Args:
        facts: What is published.
        repo: ``OWNER/NAME``.
        revision: The branch.
        contact: Whom to ask for a removal, as the user puts it; None for the repository's discussions.
    """
    parts = (
        _contents(facts),
        _languages(facts),
        _tasks(facts),
        _voices(facts),
        _sources(facts),
        _made(facts),
        _loading(facts, repo, revision),
        _removal(contact),
    )
    return "\n".join(line for part in parts for line in part).rstrip("\n") + "\n"


def _contents(facts: Facts) -> Iterator[str]:
    yield "## Contents"
    yield ""
    yield (
        f"{facts.samples:,} samples with {facts.hours:,.3f} hours of audio ({SAMPLE_RATE_HZ // 1000} kHz, mono), as "
        "WebDataset tars. A sample is a conversation of texts and audios: `json` holds the messages, and of each audio "
        "its text, words, speaker, scores and source."
    )
    yield ""
    rows = [
        [f"`{config.name}`", config.split, _kind(config), f"{config.samples:,}", f"{config.hours:,.3f}", _size(config)]
        for splits in by_name([one for one, _ in facts.sets]).values()
        for config in splits
    ]
    yield from table(["configuration", "split", "parts of a sample", "samples:", "hours:", "MB:"], rows)


def _languages(facts: Facts) -> Iterator[str]:
    yield "## Languages"
    yield ""
    rows = [
        [text(_language(code)), text(code), f"{stated['samples']:,.0f}", f"{stated['hours']:,.3f}"]
        for code, stated in sorted(facts.languages.items(), key=lambda item: (-item[1]["hours"], item[0]))
    ]
    yield from _cut(["language", "code", "samples:", "hours:"], rows)


def _tasks(facts: Facts) -> Iterator[str]:
    yield "## Tasks"
    yield ""
    yield "What asks is a text, an audio, or both in this order."
    yield ""
    rows = [
        [text(task), text(modality) or _NOTHING, f"{count:,.0f}", f"{hours(seconds):,.3f}"]
        for (task, modality), (count, seconds) in sorted(facts.asked.items())
    ]
    yield from _cut(["task", "what asks", "samples:", "hours:"], rows)


def _voices(facts: Facts) -> Iterator[str]:
    counts = facts.counts
    audios = sum(counts.genders.values())
    yield "## Speakers"
    yield ""
    if not audios:
        yield "No sample has audio."
        yield ""
        return
    known = [f"{text(name)} {count:,}" for name, count in sorted(counts.genders.items())]
    yield f"{len(counts.speakers):,} speakers are known by an id. Audios by the speaker's gender: {', '.join(known)}."
    yield ""
    origins = [f"{text(name)} {count:,}" for name, count in sorted(counts.origins.items())]
    yield (
        f"Texts of the {audios:,} audios: {', '.join(origins)} (*given* came with the recordings, *asr* was "
        f"transcribed). {counts.words:,} words have their times."
    )
    yield ""


def _sources(facts: Facts) -> Iterator[str]:
    yield "## Sources, licences and consent"
    yield ""
    rows = [
        [
            text(name),
            f"{stated['audios']:,}",
            f"{hours(stated['seconds']):,.3f}",
            _values(stated.get("licenses")),
            _values(stated.get("consents")),
        ]
        for name, stated in sorted(facts.counts.corpora.items())
    ]
    yield from _cut(["corpus", "audios:", "hours:", "licences", "consent"], rows)
    licence = licences.of_audios(facts.audios_by("licenses"))
    if licence.warning:
        yield f"**Licence: {text(licence.warning)}.** Each audio's own stands in its `source`. Respect each of them."
        yield ""
    if licence.non_commercial:
        yield "**A part may not be used commercially, so the whole may not.**"
        yield ""
    if not any(facts.audios_by("consents").keys() - {""}):
        yield "Nothing is said of the speakers' consent."
        yield ""


def _made(facts: Facts) -> Iterator[str]:
    yield "## How it was made and checked"
    yield ""
    for one, stated in facts.sets:
        name = f"`{one.folder}`: " if one.folder else ""
        yield f"- {name}{_origin(one.declared)} {text(stated.audit[:1].upper() + stated.audit[1:])}."
    yield ""
    yield (
        f"Every tar has its SHA-256 in `{layout.MANIFEST}`, and every part its CRC-32 in `{layout.INDEX}`; "
        "`llaso-data validate` compares them. "
        f"`{NAME}` has the numbers of this page."
    )
    yield ""


def _loading(facts: Facts, repo: str, revision: str) -> Iterator[str]:
    configs = by_name([one for one, _ in facts.sets])
    name, splits = next(iter(configs.items()))
    branch = "" if revision == "main" else f', revision="{revision}"'
    wanted = f'"{repo}"' if list(configs) == [DEFAULT] else f'"{repo}", "{name}"'
    sound = next((part for part in splits[0].parts if part != layout.JSON_PART), None)
    first = splits[0].paths[0]
    at = f"{repo}@{revision}" if revision != "main" else repo
    yield "## How to load it"
    yield ""
    yield "```python"
    yield "from datasets import load_dataset  # 5.0 or newer; torchcodec decodes the audio"
    yield ""
    yield f'rows = load_dataset({wanted}, split="{splits[0].split}", streaming=True{branch})'
    yield "for row in rows:"
    reads = ['row["json"]["messages"]', *([f'row["{sound}"]["array"]'] if sound else [])]
    yield f"    {', '.join(reads)}"
    yield "```"
    yield ""
    yield "As a copy on a disk, for LLaSO's own loader (exact resume, any number of ranks) or `webdataset`:"
    yield ""
    yield "```"
    yield f"llaso-data download {repo} --out copy" + ("" if revision == "main" else f" --revision {revision}")
    yield "```"
    yield ""
    folder = facts.sets[0][0].folder
    place = f"copy/{folder}" if folder else "copy"
    yield "```python"
    yield "from llaso_data.stream import Mixture, StreamingLoader"
    yield ""
    yield f'for batch in StreamingLoader(Mixture.of("{place}"), "300s"):'
    yield "    batch.audio, batch.lengths, batch.samples"
    yield "```"
    yield ""
    yield f"`webdataset` reads the tars as they are, such as `{first}`. The files lie at `hf://datasets/{at}/`."
    yield ""


def _removal(contact: str | None) -> Iterator[str]:
    whom = f"write to {text(contact)}" if contact else "open a discussion in this repository (its Community tab)"
    yield "## Removal"
    yield ""
    yield (
        f"Is your voice, or your recording, in here, and should not be? Please {whom}, and name the speaker's id, or "
        "the `id` of the audio in `json`. It is then taken out of the shards. Who has a copy: fetch the set anew from "
        "time to time, so that what was taken out leaves your copy, too."
    )
    yield ""


def _origin(declared: Mapping[str, Any]) -> str:
    source = declared.get("source") or {}
    if "verdicts" in source:
        return (
            "the records that `llaso-data build-align` accepted: transcribed, aligned and judged by the recipe "
            f"`{_digest(source.get('recipe'))}`, verdicts `{_digest(source['verdicts'])}`."
        )
    return "converted by `llaso-data` as the sources have it; no filter judged it."


def _digest(value: object) -> str:
    """A digest of a manifest, and nothing else."""
    return str(value) if isinstance(value, str) and value.isalnum() and value.isascii() else UNKNOWN


def _kind(config: Config) -> str:
    return ", ".join(f"`{part}`" for part in config.parts)


def _size(config: Config) -> str:
    return f"{config.bytes / 1e6:,.1f}"


def _language(code: str) -> str:
    return "unknown" if code == UNKNOWN else language_name(code)


def _values(counted: Mapping[str, int] | None) -> str:
    if not counted:
        return "not stated"
    shown = [f"{text(value)} ({count:,})" for value, count in sorted(counted.items())[:_MOST_ROWS]]
    return "; ".join(shown) + (f"; and {len(counted) - _MOST_ROWS} more" if len(counted) > _MOST_ROWS else "")


def _cut(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table, of the first rows where there are many."""
    yield from table(heads, rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        yield f"… and {len(rows) - _MOST_ROWS:,} more, in `{NAME}`."
        yield ""
