"""Recipes: errors say where and what is allowed; what is written can be read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.filters.tiers import rules
from llaso_data.pipeline.load_recipe import dump, judging_digest, load
from llaso_data.pipeline.reference import recipe_reference
from llaso_data.recipe import Recipe
from llaso_data.records import Sample, Utterance, Verdict, schema
from llaso_data.stream import Mixture
from tests.support.paths import REPOSITORY


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the error that a recipe gives, without the folder."""
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LLaSOError) as caught:
        load(str(path), overrides)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "# comment\nobserve:\n  align:\n    haeds: 3\n",
            "recipe.yaml:4: observe.align.haeds: unknown key; did you mean heads? allowed: dtw, heads, median, energy, "
            "compute_type",
        ),
        ("blocks: {clips: many}", "recipe.yaml:1: blocks.clips: must be an integer, got 'many'"),
        ("blocks:\n  clips: 0", "recipe.yaml:2: blocks.clips: must be greater than or equal to 1, got 0"),
        ("run:\n  engine: spark", "recipe.yaml:2: run.engine: must be 'ray' or 'local', got 'spark'"),
        ("sources:\n  - path: a\n  - corpus: b", "recipe.yaml:3: sources.1.path: must be given"),
        ("sources: a", "recipe.yaml:1: sources: must be a list, got 'a'"),
        ("\nshard: 3", "recipe.yaml:2: shard: must be a section of keys (audio, samples_per_shard, seed), got 3"),
        (
            "judge: {confidence: {avg_logprob_min: .nan}}",
            "recipe.yaml:1: judge.confidence.avg_logprob_min: must be a finite number; null switches a threshold off",
        ),
        ("run:\n  threads: 1\n  threads: 2", 'recipe.yaml:3: found duplicate key "threads"'),
        (
            "judge:\n  consistency: {lm_delta_min: -1}",
            "recipe.yaml:2: judge.consistency.lm_delta_min: needs a model in observe.language_model.model",
        ),
        (
            "- run",
            "recipe.yaml:1: a recipe is a mapping of sections "
            "(sources, out, blocks, observe, judge, shard, convert, instruct, voices, run)",
        ),
        ("run:\n  threads: [1", "recipe.yaml:2: not YAML: while parsing a flow sequence; expected ',' or ']', but got"),
    ],
)
def test_a_wrong_recipe_is_an_error_with_file_line_key_and_what_is_allowed(
    tmp_path: Path, text: str, expected: str
) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(expected)


def test_all_problems_are_listed_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = problems(tmp_path, "run:\n  engin: ray\nblocks:\n  clips: x\n", "shard.audio=mp3")
    assert [line.split(": ")[:2] for line in found] == [
        ["recipe.yaml:2", "run.engin"],
        ["recipe.yaml:4", "blocks.clips"],
        ["--set shard.audio=mp3", "shard.audio"],
    ]


def test_an_override_wins_and_its_errors_name_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("sources: [{path: a, language: en}]\nblocks: {clips: 7, megabytes: 3}\njudge:\n", encoding="utf-8")
    recipe = load(
        str(path),
        [
            "blocks.clips=9",
            "sources.0.language=fr",
            "judge.confidence.avg_logprob_min=null",
            "observe.asr.languages=[en, no]",
        ],
        base={"blocks": {"clips": 1, "max_clips": 20}},
        options={"run.device": "cpu", "blocks.megabytes": 5, "observe.asr.model": None},
    )
    assert (recipe.blocks.clips, recipe.blocks.max_clips, recipe.blocks.megabytes) == (9, 20, 5)
    assert (recipe.sources[0].path, recipe.sources[0].language) == ("a", "fr")
    assert recipe.judge.confidence.avg_logprob_min is None
    assert recipe.observe.asr.languages == ("en", "no") and recipe.run.device == "cpu"
    assert recipe.observe.asr.model == Recipe().observe.asr.model
    with pytest.raises(LLaSOError, match=r"^--set sources\.3\.path=b: sources has 1 items"):
        load(str(path), ["sources.3.path=b"])
    with pytest.raises(LLaSOError, match=r"^--set blocks: write it as key\.key=value"):
        load(str(path), ["blocks"])
    with pytest.raises(LLaSOError, match=r"sources\.0\.path: must not be empty"):
        load(None, options={"sources": [{"path": ""}]})
    with pytest.raises(LLaSOError, match=r"^option for run\.num_workers: run\.num_workers: must be greater"):
        load(None, options={"run.num_workers": 0})


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"none\.yaml: no such recipe"):
        load(str(tmp_path / "none.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LLaSOError, match=r"binary\.yaml: a recipe is UTF-8 text"):
        load(str(tmp_path / "binary.yaml"))


@given(
    st.text(),
    st.dictionaries(st.sampled_from(["en", "no", "zh"]), st.lists(st.text(max_size=6), max_size=3).map(tuple)),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_is_dumped_loads_as_the_same_recipe(
    tmp_path_factory: pytest.TempPathFactory, name: str, phrases: dict[str, Any], threshold: float | None
) -> None:
    judge = {"consistency": {"phrases": phrases, "cer_max": threshold}}
    stage = {"stage": "a:B", "options": {"deep": {name: [{"x": None}, {"y": 1e-9}], "mixed": [{}, [name, {name: 1}]]}}}
    recipe = Recipe.model_validate(
        {"sources": [{"path": f"{name}."}] * 2, "judge": judge, "observe": {"stages": [stage]}}
    )
    path = tmp_path_factory.mktemp("dumped") / "recipe.yaml"
    path.write_text(dump(recipe), encoding="utf-8", errors="surrogatepass")
    assert load(str(path)) == recipe


def test_a_threshold_changes_the_judging_digest_and_nothing_else_does() -> None:
    blocks = ["b1", "b2"]
    name = judging_digest(load(None), blocks)
    assert judging_digest(load(None, ["judge.consistency.cer_max=0.2"]), blocks) != name
    assert judging_digest(load(None), ["b1"]) != name
    same = load(None, ["run.device=cpu", "observe.asr.beam_size=5", "judge.max_failures=1"])
    assert judging_digest(same, blocks) == name
    earlier = load(None, ["judge.confidence.avg_logprob_min=-1", "judge.consistency.min_word_logprob_min=-7"])
    assert judging_digest(earlier, blocks) == "ec7fdf38ae4fc4f17b6a42e898d4ca38"  # calibration has no part in it
    assert judging_digest(load(None, ["judge.calibrate=off", "judge.false_alarms=0.1"]), blocks) == name
    fitted = [{"corpus": None, "language": "en", "thresholds": {"consistency.llr_min": -2.0}}]
    assert judging_digest(load(None), blocks, fitted) != name
    assert judging_digest(load(None), blocks, [{**fitted[0], "language": "fr"}]) != judging_digest(
        load(None), blocks, fitted
    )


OURS = sorted(path for path in (REPOSITORY / "pipelines").glob("*.yaml") if not path.stem.startswith("train_"))


def test_the_full_recipes_show_every_key_with_its_default() -> None:
    keys: set[str] = set()
    for name in ("build_align.yaml", "build_instruct.yaml"):
        path = REPOSITORY / "pipelines" / name
        assert load(str(path)) == Recipe()
        keys |= {key for line in path.read_text(encoding="utf-8").splitlines() for key in re.findall(r"(\w+):", line)}
    for line in dump(Recipe()).splitlines():
        assert line.strip().lstrip("- ").split(":")[0] in keys or ":" not in line


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_the_recipes_that_come_along_are_valid(path: Path) -> None:
    if path.stem == "mixture":
        assert isinstance(Mixture.from_yaml(str(path)), Mixture)
    else:
        assert isinstance(load(str(path)), Recipe)


def test_the_reference_page_is_up_to_date() -> None:
    page = (REPOSITORY / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert page == recipe_reference(), "run: python -m llaso_data.pipeline.reference > docs/recipe.md"


def test_the_record_page_describes_every_field() -> None:
    page = (REPOSITORY / "docs" / "records.md").read_text(encoding="utf-8")
    described = [line.split("|")[1].strip().strip("`") for line in page.splitlines() if line.startswith("| `")]

    def leaves(fields: pa.Schema | pa.StructType, above: str = "") -> list[str]:
        """Dotted names; an attribute (value, origin) and an utterance within a sample are one field."""
        names: list[str] = []
        for item in fields:
            kind, name = item.type, above + item.name
            if pa.types.is_list(kind):
                kind, name = kind.value_type, name + "[]"
            inner = list(kind) if pa.types.is_struct(kind) else []
            single = not inner or [part.name for part in inner] in (["value", "origin"], schema(Utterance).names)
            names += [name] if single else leaves(kind, name + ".")
        return names

    assert described == leaves(schema(Utterance)) + leaves(schema(Sample)) + leaves(schema(Verdict))


def test_the_record_page_lists_the_rules_in_the_order_in_which_they_are_tried() -> None:
    page = (REPOSITORY / "docs" / "records.md").read_text(encoding="utf-8")
    section = load(None, ["observe.language_model.model=x", "judge.consistency.lm_delta_min=-1"]).judge
    place = page.index("The first rule that is violated")
    for name in dict.fromkeys(rule.name for rule in rules(section)):
        place = page.index(f"`{name.split('.')[1]}`", place)


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("&x {a: *x}", 1, "x"),
        ("sources: &x [*x]", 1, "x"),
        ("judge: &j\n  confidence: *j", 2, "j"),
        ("judge: &j\n  <<: *j", 2, "j"),
        ("judge: &a\n  confidence: &b\n    x: *a", 3, "a"),
        ("observe:\n  stages:\n    - stage: json:dumps\n      options: &o {a: [*o]}", 4, "o"),
    ],
)
def test_a_recipe_that_holds_itself_is_refused(tmp_path: Path, text: str, line: int, name: str) -> None:
    said = [f"recipe.yaml:{line}: *{name} stands inside &{name}: the recipe would contain itself; take it out"]
    assert problems(tmp_path, text) == said
    with pytest.raises(LLaSOError, match="stands inside"):
        load(None, [f"judge=&{name} {{confidence: *{name}}}"])


def test_anchors_that_are_named_twice_may_be_used(tmp_path: Path) -> None:
    text = "sources:\n  - &s {path: x, language: en}\n  - &t {<<: *s, path: &s y}\n  - {path: *s}"
    (tmp_path / "recipe.yaml").write_text(text)
    assert [source.path for source in load(str(tmp_path / "recipe.yaml")).sources] == ["x", "y", "y"]
