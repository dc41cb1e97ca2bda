"""Whether a task can be told by its instruction: a classifier learns half of the templates and names the other half.

    .venv/bin/python bench/template_confusion.py [TASKS.yaml]

For each language a linear support vector machine over TF-IDF of character n-grams (2 to 5 within words; 1 and 2 in
languages without spaces between words) is trained on a random half of each task's templates and asked for the task of
the others, then the halves change places; ten times. Places such as ``{options}`` stay as they are written, so that no
label gives a task away. A file adds tasks of one's own. Printed are the mean and the lowest accuracy, which tasks are
taken for which, and the templates that are mistaken most often. The kinds of instructions that cannot be followed count
as one task, ``refusal``: what they talk of is anything.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from llaso_data import text
from llaso_data.instruct import lint
from llaso_data.instruct.rendering import Template, templates_of
from llaso_data.instruct.tasks import Tasks, all_tasks

REPEATS = 10
REFUSAL = "refusal"
NEAR = (
    ("speaker", "speaker_verification"),
    ("pronunciation_word", "pronunciation_sentence"),
    ("pitch", "velocity"),
    ("emotion", "emotion_intensity"),
    ("instrument", "music_source"),
    ("aqa", "instruction_following"),
    ("asr", "text_to_speech"),
)


@dataclass(frozen=True)
class Confusion:
    """What the classifier did with the templates of one language.

    ``accuracies`` has the share of right tasks for each half that was asked; ``mistakes`` counts by (number of the
    template, task that it was taken for).
    """

    templates: list[Template]
    accuracies: list[float]
    mistakes: Counter[tuple[int, str]]


def main(path: str | None = None) -> None:
    tasks = lint.load(path) if path else all_tasks()
    start = time.process_time()
    for language in sorted({language for build in tasks.build.values() for language in build.templates}):
        found = confusion(tasks, language)
        mean, lowest = np.mean(found.accuracies), min(found.accuracies)
        print(
            f"{language}: {len(found.templates)} templates, accuracy {100 * mean:.1f} % (lowest {100 * lowest:.1f} %)"
        )
        show(found)
    print(f"{time.process_time() - start:.1f} s of CPU")


def confusion(tasks: Tasks, language: str, repeats: int = REPEATS) -> Confusion:
    """Trains and asks ``2 * repeats`` times."""
    own = [name for name, build in tasks.build.items() if build.asked_like is None]
    templates = [one for name in own for one in templates_of(tasks, name) if one.language == language]
    templates = [replace(one, id=f"{REFUSAL}/{one.id}") if of_refusal(tasks, one) else one for one in templates]
    texts = np.array([one.text for one in templates], dtype=object)
    names = np.array([task_of(one) for one in templates])
    accuracies, mistakes = [], Counter[tuple[int, str]]()
    for seed in range(repeats):
        half = halved(names, seed)
        for trained in (half, ~half):
            vectors = vectorizer(language)
            model = LinearSVC().fit(vectors.fit_transform(texts[trained]), names[trained])
            said = model.predict(vectors.transform(texts[~trained]))
            accuracies.append(float((said == names[~trained]).mean()))
            asked = np.flatnonzero(~trained)
            mistakes.update((int(i), str(name)) for i, name in zip(asked, said, strict=True) if name != names[i])
    return Confusion(templates, accuracies, mistakes)


def of_refusal(tasks: Tasks, template: Template) -> bool:
    return tasks.build[task_of(template)].expects != "answer"


def task_of(template: Template) -> str:
    return template.id.partition("/")[0]


def halved(names: np.ndarray, seed: int) -> np.ndarray:
    """A random half of each task's templates, as a mask."""
    rng, half = np.random.default_rng(seed), np.zeros(len(names), bool)
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        half[rng.permutation(own)[: len(own) // 2]] = True
    return half


def vectorizer(language: str) -> TfidfVectorizer:
    if text.is_spaced(language):
        return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)


def show(found: Confusion) -> None:
    pairs, templates = Counter[tuple[str, str]](), Counter[int]()
    for (number, said), count in found.mistakes.items():
        pairs[task_of(found.templates[number]), said] += count
        templates[number] += count
    asked = len(found.accuracies) // 2
    for task, said in [(a, b) for a, b in NEAR] + [(b, a) for a, b in NEAR]:
        own = sum(task_of(one) == task for one in found.templates)
        if own:
            print(f"  {task} taken for {said}: {100 * pairs.pop((task, said), 0) / (own * asked):.1f} %")
    print(
        "  others:", ", ".join(f"{task} for {said} {count}" for (task, said), count in pairs.most_common(12)) or "none"
    )
    for number, count in templates.most_common(8):
        print(f"  {count} of {asked}: {task_of(found.templates[number])}: {found.templates[number].text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
