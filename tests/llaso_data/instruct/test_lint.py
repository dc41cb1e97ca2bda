"""The templates of our own, and what is said of a file of a user's own tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.instruct import lint
from llaso_data.instruct.rendering import PLACE, Renderer, sides, templates_of
from llaso_data.instruct.tasks import all_tasks
from llaso_data.instruct.tasks.build import Form
from llaso_data.pipeline.reference import with_layouts

TASKS = all_tasks()
POLITE = {"en": re.compile(r"please|kindly|could you|would you|can you|may i", re.I), "zh": re.compile("请|麻烦|您")}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "tasks.md"

MOOD = """\
tasks:
  mood: {title: Mood of a caller, short: M, group: speaker}
labels:
  moods: {calm: [quiet], upset: [angry]}
sets:
  mood: {task: mood, kind: label, labels: moods}
build:
  mood:
    capability: paralinguistic
    needs: [mood]
    answer: {field: mood, form: label}
    scored_as: mood
    mentions: {en: [mood]}
    templates:
      en:
        command: |
          Name the mood of the caller in this recording: {options}.
"""


def test_our_templates_have_no_problems() -> None:
    assert list(lint.problems_of(TASKS)) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_task_has_twenty_templates_in_four_forms_polite_and_terse(language: str) -> None:
    for name, build in TASKS.build.items():
        by_form = build.templates[language]
        texts = [sides(build, line)[0] for lines in by_form.values() for line in lines]
        twins = [twin for lines in by_form.values() for line in lines if (twin := sides(build, line)[1])]
        assert len(texts) >= 20 and all(len(by_form[form]) >= 4 for form in get_args(Form)), name
        assert sum(bool(POLITE[language].search(text)) for text in texts) >= 2, name
        bare = [PLACE.sub("", text) for text in texts]
        terse = min(len(text.split()) if language == "en" else len(text) for text in bare)
        most = 15 if build.answer.form == "scores" or name == "entities" else 9  # which say the answer's form, too
        assert terse <= most * (1 if language == "en" else 2), name
        assert len(build.examples.get(language, ())) >= 2 or build.answer.form == "audio", name
        assert all(text[-1] in ".?。？" for text in texts + twins), name


@pytest.mark.parametrize(("language", "ngrams"), [("en", ("char_wb", (2, 5))), ("zh", ("char", (1, 2)))])
def test_a_classifier_tells_the_task_of_templates_that_it_has_not_seen(language: str, ngrams) -> None:
    templates = [one for name in TASKS.build for one in templates_of(TASKS, name) if one.language == language]
    texts, names = np.array([one.text for one in templates], object), [one.id.split("/")[0] for one in templates]
    names = ["refusal" if TASKS.build[name].expects != "answer" else name for name in names]  # of any subject
    seen = np.arange(len(texts)) % 2 == 0
    vectors = TfidfVectorizer(analyzer=ngrams[0], ngram_range=ngrams[1], sublinear_tf=True)
    model = LinearSVC().fit(vectors.fit_transform(texts[seen]), np.array(names)[seen])
    assert model.score(vectors.transform(texts[~seen]), np.array(names)[~seen]) > 0.95


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("replies", "build.refuse.replies: name right answers in en"),
        (" => Write down this clip.", "no template has a twin that can be followed; write it after =>"),
        (
            " clip.",
            "build.refuse.templates.en.command: it does not say what goes in, such as the recording: Write down",
        ),
    ],
)
def test_an_instruction_to_refuse_needs_right_answers_and_a_twin(tmp_path: Path, change: str, problem: str) -> None:
    (tmp_path / "own.yaml").write_text(
        """
        tasks: {refuse: {title: Refuse, short: R, group: refusal}}
        sets: {refuse: {task: refuse, kind: behaviour}}
        build:
          refuse:
            capability: understanding
            needs: [text]
            answer: {field: text}
            scored_as: refuse
            expects: refusal
            replies: {en: [I cannot do that.]}
            templates: {en: {command: [Paint this clip. => Write down this clip.]}}
        """.replace("replies: {en: [I cannot do that.]}" if change == "replies" else change, "")
    )
    with pytest.raises(LLaSOError) as refused:
        lint.load(str(tmp_path / "own.yaml"))
    assert problem in str(refused.value)


def test_a_task_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mood.yaml"
    path.write_text(MOOD)
    said = Renderer(lint.load(str(path)), "mood")({"audio": 1, "mood": "angry"}, "1")
    assert said.answer == "upset" and sorted(said.options) == ["calm", "upset"]
    shown = CliRunner().invoke(main, ["tasks", "--check", str(path)])
    assert shown.exit_code == 0 and "Name the mood of the caller" in shown.output and "no problems" in shown.output


LIKE = """\
tasks:
  host: {title: Host of the show, short: H, group: speaker}
labels:
  hosts: {Ann: [], Ben: []}
sets:
  host: {task: host, kind: label, labels: hosts}
build:
  host:
    capability: paralinguistic
    needs: [speaker]
    answer: {field: speaker, form: label}
    scored_as: host
    asked_like: speaker
"""


def test_a_task_of_ones_own_may_be_asked_like_one_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "host.yaml"
    path.write_text(LIKE)
    tasks = lint.load(str(path))
    said = Renderer(tasks, "host")({"audio": 1, "speaker": "ann"}, "1", example_share=1)
    assert (said.answer, sorted(said.options), said.has_example) == ("Ann", ["Ann", "Ben"], False)
    assert said.template in {one.id for one in templates_of(TASKS, "speaker")}
    path.write_text(LIKE.replace("asked_like: speaker", "asked_like: pitch"))
    with pytest.raises(LLaSOError, match=r"13: build.host.asked_like: the templates of pitch do not fit: they have \{"):
        lint.load(str(path))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("Say {mood} for the mood of the recording: {options}.", r"\{mood\} is the answer"),
        ("Say the mood of the recording.", r"\{options\} is missing"),
        ("Say the mood of the recording, {tone}: {options}.", r"\{tone\} is no place of the task; it has \{options\}"),
        ("Say the mood of the recording: {options}}.", "a brace is left"),
        ("说出录音里的 mood：{options}。", "it is not in English"),
        ("Say which it is in the recording: {options}.", "it does not say what it asks for; it needs one of mood"),
        ("Which mood is it, {options}?", "it does not say what goes in"),
    ],
)
def test_what_is_wrong_with_a_template_is_said_with_file_and_line(template: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mood.yaml"
    path.write_text(MOOD + f"          {template}\n")
    with pytest.raises(LLaSOError, match=rf"mood.yaml:16: build.mood.templates.en.command: .*{problem}"):
        lint.load(str(path))


@pytest.mark.parametrize(
    ("said", "instead", "problem"),
    [
        ("needs: [mood]", "needs: []", "11: build.mood.answer.field: mood is none of needs"),
        (
            "labels: moods}",
            "labels: none}",
            "12: build.mood.scored_as: an answer that is a label needs a set",
        ),
        ("scored_as: mood", "scored_as: gender", "12: build.mood.scored_as: gender is no set of the task"),
        ("scored_as: mood", "scored: mood", "12: build.mood.scored: unknown key; did you mean scored_as"),
        ("  mood: {title", "  gender: {title", "2: tasks.gender: there is one of this name already"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said(said: str, instead: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mood.yaml"
    path.write_text(MOOD.replace(said, instead, 1))
    with pytest.raises(LLaSOError) as error:
        lint.load(str(path))
    assert f"{path}:{problem}" in str(error.value)


def test_the_page_of_tasks_lists_them() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_layouts(page), "run: python -m llaso_data.pipeline.reference docs/tasks.md"
