"""The dataset card: its YAML is read as it is meant, data stays text, and what others wrote stays theirs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.publish import card, licences, metadata, readme
from llaso_data.publish.facts import Facts
from llaso_data.publish.markdown import text
from llaso_data.publish.sets import Config, ShardSet
from llaso_data.shards.stats import Stats

HOSTILE = "a`b`|c\n---\n<!-- end llaso-data --><script>x</script> [l](http://e.org) # *h* \x00\u202e\nlicense: mit"
KEYS = {"pretty_name": "speech", "license": "mit", "configs": [{"config_name": "default"}]}


def facts(corpus: str, task: str = "asr", licence: str = "mit", config: str = "default") -> Facts:
    """Counts of a set whose every name is given."""
    shards = Config(config, "train", ("shard-*.tar",), ("flac", "json"), 2, 0.5, 10)
    one = ShardSet("shards", "", {"source": {"verdicts": corpus, "recipe": corpus}}, (shards,), ())
    counted = {corpus: {"samples": 2, "hours": 0.5}}
    stated = Stats("shards", "llaso", False, f"uncertified: {corpus}", 1, 2, 0.5, 10, counted, counted, counted, {})
    made = Facts(sets=[(one, stated)], asked={(task, "text+audio"): [2, 1800.0]})
    for _ in range(2):
        made.counts.add({"audios": [{
            "speaker": {"id": {"value": corpus}, "gender": {"value": corpus}}, "words": [], "duration_s": 900.0,
            "source": {"corpus": corpus, "license": licence, "consent": corpus}, "text_origin": "given",
        }]})  # fmt: skip
    return made


def composed(made: Facts, base: str = "", contact: str | None = None) -> str:
    section = card.section(made, "me/speech", "main", contact)
    return readme.compose(base, "README.md", metadata.metadata(made, "speech"), section).text


def test_the_hubs_own_reader_gets_every_key() -> None:
    from huggingface_hub import DatasetCard

    data = DatasetCard(composed(facts("prompts", licence="CC BY-NC 4.0"))).data.to_dict()
    assert (data["license"], data["size_categories"], data["task_categories"]) == (
        "cc-by-nc-4.0", ["n<1K"], ["automatic-speech-recognition"],
    )  # fmt: skip
    assert data["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.tar"}]}]
    (info,) = data["dataset_info"]
    assert info["features"][0] == {"name": "flac", "dtype": {"audio": {"sampling_rate": 16000}}}
    assert info["splits"] == [{"name": "train", "num_bytes": 10, "num_examples": 2}]


def test_names_and_texts_of_the_data_stay_text() -> None:
    from huggingface_hub import DatasetCard

    page = composed(facts(HOSTILE, HOSTILE, HOSTILE), contact=HOSTILE)
    plain = composed(facts("prompts", "asr", "own"), contact="me@x.org")
    assert page.count("\n") == plain.count("\n") and page.count("\n---\n") == 1
    assert "<script" not in page and page.count("<!--") == 2 and "](http" not in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [
        len(re.findall(r"(?<!\\)\|", row)) for row in plain.splitlines() if row.startswith("| ")
    ]
    assert DatasetCard(page).data.license == "other"


@given(st.text(max_size=60))
def test_any_text_is_one_line_without_structure(value: str) -> None:
    line = text(value)
    assert "\n" not in line and not re.search(r"(?<!\\)[`|*<\[\]>~]", line)
    assert not re.match(r"[#>+-]|={3}", line) and "://" not in line and "<" not in line


def test_a_card_that_somebody_wrote_keeps_every_word() -> None:
    base = "---\nlicense: cc0-1.0  # by us\npretty_name: Our voices\n---\n# Our voices\n\nHello.\n"
    once = readme.compose(base, "README.md", KEYS, "ours, 1\n")
    twice = readme.compose(once.text, "README.md", {**KEYS, "tags": ["x"]}, "ours, 2\n")
    assert once.kept == twice.kept == ("pretty_name", "license")
    assert "license: cc0-1.0  # by us\npretty_name: Our voices\n" in twice.text and "license: mit" not in twice.text
    assert "# Our voices\n\nHello.\n" in twice.text and "ours, 1" not in twice.text and "ours, 2" in twice.text
    assert readme.compose(once.text, "README.md", KEYS, "ours, 1\n").text == once.text
    assert readme.by_hand(twice.text) == readme.by_hand(base)
    around = twice.text + "\nAnd more.\n"
    assert readme.compose(around, "README.md", KEYS, "ours, 3\n").text.endswith("-->\n\nAnd more.\n")


def test_a_card_of_ours_alone_is_nobodys_words() -> None:
    made = readme.compose("", "README.md", KEYS, "ours\n").text
    assert made.count("# speech") == 1 and readme.is_untouched(made, KEYS)
    assert not readme.is_untouched(made + "Hello.\n", KEYS)


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("---\na: [\n---\n", "not YAML"),
        ("---\n- a\n---\n", "keys and values"),
        ("Hello.\n<!-- begin llaso-data: x -->\n", "no partner"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(base: str, why: str) -> None:
    with pytest.raises(LLaSOError, match=why):
        readme.compose(base, "README.md", KEYS, "ours\n")


@pytest.mark.parametrize(
    ("audios", "licence", "name", "non_commercial"),
    [
        ({"cc-by-4.0": 3}, "cc-by-4.0", None, False),
        ({"our own": 3}, "other", "see-card", False),
        ({"cc-by-4.0": 3, "cc-by-nc-sa-4.0": 1}, "other", "several-licences-non-commercial", True),
        ({"cc-by-4.0": 3, "": 1}, "other", "partly-unknown", False),
        ({"": 4}, "unknown", None, False),
        ({}, "unknown", None, False),
    ],
)
def test_the_licence_of_the_whole(audios: dict[str, int], licence: str, name: str | None, non_commercial: bool) -> None:
    whole = licences.of_audios(audios)
    assert (whole.metadata["license"], whole.metadata.get("license_name")) == (licence, name)
    assert whole.non_commercial is non_commercial and bool(whole.warning) is (licence not in licences.KNOWN)
