"""The YAML of the dataset card: what the hub's pages show, and how its viewer and ``datasets`` load the files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS, SAMPLE_RATE_HZ
from llaso_data.publish import licences
from llaso_data.publish.facts import Facts
from llaso_data.publish.sets import Config, ShardSet
from llaso_data.records import SPLITS, UNKNOWN
from llaso_data.shards.layout import JSON_PART

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_TAGS = ["audio", "speech", "webdataset", "llaso"]


def metadata(facts: Facts, name: str) -> dict[str, Any]:
    """The keys of the YAML.

    Args:
        facts: What is published.
        name: Of the repository, without its owner.
    """
    spoken = {code.partition("-")[0] for code in facts.languages if code != UNKNOWN}
    stated: dict[str, Any] = {"pretty_name": name, **licences.of_audios(facts.audios_by("licenses")).metadata}
    if languages := sorted(code for code in spoken if _LANGUAGE.fullmatch(code)):
        stated["language"] = languages
    stated["task_categories"] = _categories(facts)
    stated["size_categories"] = [size_category(facts.samples)]
    stated["tags"] = _TAGS
    return stated | _loading([one for one, _ in facts.sets])


def size_category(samples: int) -> str:
    """The hub's name for a number of samples: ``1K<n<10K``."""
    for power, size in enumerate(_SIZES):
        if samples < 1000 * 10**power:
            return f"n<{size}" if not power else f"{_SIZES[power - 1]}<n<{size}"
    return f"n>{_SIZES[-1]}"


def by_name(sets: Iterable[ShardSet]) -> dict[str, list[Config]]:
    """The splits of each configuration, in the order train, validation, test."""
    configs: dict[str, list[Config]] = {}
    for config in sorted(
        (config for one in sets for config in one.configs), key=lambda one: (one.name, SPLITS.index(one.split))
    ):
        configs.setdefault(config.name, []).append(config)
    return configs


def _categories(facts: Facts) -> list[str]:
    found = {_category(task, modality) for task, modality in facts.asked}
    return sorted(found)


def _category(task: str, modality: str) -> str:
    """The hub's name for a task whose prompt has this modality."""
    if task == "asr":
        return "automatic-speech-recognition"
    return "audio-text-to-text" if "audio" in modality.split("+") else "text-generation"


def _loading(sets: Iterable[ShardSet]) -> dict[str, Any]:
    """Which files are which split of which configuration, and the type of each column.

    The types are declared because ``datasets`` would infer them from the first samples of one tar. A sample's JSON has
    the type ``json``: what it holds differs from sample to sample, and any other type would lose some of it.
    """
    configs, infos = [], []
    for name, splits in by_name(sets).items():
        files = [{"split": one.split, "path": _paths(one.paths)} for one in splits]
        configs.append({"config_name": name, "data_files": files})
        infos.append(
            {
                "config_name": name,
                "features": features(sorted({part for one in splits for part in one.parts})),
                "splits": [{"name": one.split, "num_bytes": one.bytes, "num_examples": one.samples} for one in splits],
            }
        )
    return {"configs": configs, "dataset_info": infos}


def features(parts: list[str]) -> list[dict[str, Any]]:
    """The columns of samples with these parts, as the YAML of a card has them."""
    columns: list[dict[str, Any]] = []
    for part in parts:
        if part == JSON_PART:
            columns.append({"name": part, "dtype": "json"})
        elif part.rpartition(".")[2] in AUDIO_EXTENSIONS:
            columns.append({"name": part, "dtype": {"audio": {"sampling_rate": SAMPLE_RATE_HZ}}})
        else:
            columns.append({"name": part, "dtype": "binary"})
    return [*columns, {"name": "__key__", "dtype": "string"}, {"name": "__url__", "dtype": "string"}]


def _paths(paths: tuple[str, ...]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else list(paths)
