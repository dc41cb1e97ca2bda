"""Judges: an endpoint of the OpenAI kind, what was recorded, votes, and orders that are swapped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import llaso_model
from llaso_data.demo import weights
from llaso_data.errors import LLaSOError
from llaso_data.io.journal import Journal
from llaso_data.io.lock import LockedError
from llaso_model.cli import main
from llaso_model.evaluate import score
from llaso_model.evaluate.llm_judge import judges, scoring
from llaso_model.evaluate.llm_judge.judges import Endpoint, RecordedJudge
from llaso_model.evaluate.llm_judge.scoring import JudgeQuestion, JudgeRequest, Unanswered
from llaso_model.evaluate.report import scores_page as report
from tests.conftest import obtained
from tests.llaso_model.evaluate.report.test_scores_page import lines
from tests.support.browser import Browser, browser  # noqa: F401 (a fixture)
from tests.support.chat_endpoint import QUICKLY, Chat, Does, answer_in, serving, usual


@pytest.fixture
def chat() -> Iterator[Chat]:
    with serving() as server:
        yield server


def question(id_: str, answer: str) -> JudgeQuestion:
    return JudgeQuestion(id_, "The capital of France?", "Paris.", answer)


def answers(count: int) -> list[dict[str, Any]]:
    """Open answers, every third of them right."""
    return [
        {
            "system": "one",
            "set": "dolly_input_1",
            "id": f"q{n:03d}",
            "reference": "Paris",
            "answer": f"{'Rome' if n % 3 else 'Paris'} {n}.",
        }
        for n in range(count)
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def made(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("scores.json", "rows.parquet", "judgements.jsonl")}


def open_set(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in said["sets"] if one["kind"] == "open")
    return found


def test_an_endpoint_is_asked_once_for_each_vote_and_prompt(chat: Chat, tmp_path: Path) -> None:
    kept = RecordedJudge(str(tmp_path / "said.jsonl"), Endpoint(chat.url, "judge-1", temperature=0.7))
    questions = [question("a", "Paris"), question("b", "Rome"), question("c", "Rome")]  # two are the same
    assert scoring.rate(kept, questions, votes=3) == {"a": 5.0, "b": 2.0, "c": 2.0}
    assert len(chat.asked) == 6 and {body["seed"] for body in chat.asked} == {0, 1, 2}
    assert scoring.rate(kept, questions, votes=3) == {"a": 5.0, "b": 2.0, "c": 2.0}
    assert len(chat.asked) == 6
    again = RecordedJudge(str(tmp_path / "said.jsonl"), name=kept.name)  # without a judge
    assert scoring.rate(again, questions, votes=3) == {"a": 5.0, "b": 2.0, "c": 2.0}
    with pytest.raises(LLaSOError, match="1 of 1 judgements are not recorded"):
        scoring.rate(again, [question("d", "Oslo")])


def test_requests_are_under_way_together_and_their_order_does_not_matter(chat: Chat) -> None:
    meeting = threading.Barrier(4, timeout=20)
    chat.does = lambda prompt: Does(usual(prompt), after_s=0.01 * (12 - int(answer_in(prompt).split()[1].strip("."))))

    class Meeting(Endpoint):
        def _reply(self, ask: JudgeRequest) -> scoring.Reply:
            meeting.wait()  # opens only where four are here at once
            return super()._reply(ask)

    questions = [question(row["id"], row["answer"]) for row in answers(12)]
    found = scoring.rate(Meeting(chat.url, "judge-1", requests=4), questions)
    assert found == {row["id"]: 2.0 if "Rome" in row["answer"] else 5.0 for row in answers(12)}
    assert 2 <= chat.together <= 4
    chat.together = 0
    scoring.rate(Endpoint(chat.url, "judge-1", requests=1), questions)
    assert chat.together == 1


def test_only_the_judges_own_key_is_sent(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-openai")
    scoring.rate(Endpoint(chat.url, "judge-1"), [question("a", "Paris")])
    monkeypatch.setenv("LLASO_JUDGE_KEY", "mine")
    scoring.rate(Endpoint(chat.url, "judge-1"), [question("a", "Paris")])
    assert [headers.get("authorization") for headers in chat.headers] == [None, "Bearer mine"]
    assert "of-openai" not in str(chat.headers)


# Faults of an endpoint.


def test_what_fails_for_a_while_is_asked_again(chat: Chat) -> None:
    seen: Counter[str] = Counter()
    first = {
        "Paris 0.": Does(status=503, headers=QUICKLY),
        "Rome 1.": Does(status=429, headers={"Retry-After": "0.2"}),
        "Rome 2.": Does("Score: 4", tear=True),
        "Paris 3.": Does(raw=b"<html>a proxy's page"),
        "Rome 4.": Does(raw=b'{"choices": []}'),
        "Rome 5.": Does(after_s=1.0),  # later than we wait
        "Paris 6.": Does("I would rather not say."),
        "Rome 7.": Does(""),
    }

    def does(prompt: str) -> Does | None:
        seen[answer_in(prompt)] += 1
        return first.get(answer_in(prompt)) if seen[answer_in(prompt)] == 1 else None

    chat.does = does
    start_s = time.monotonic()
    found = scoring.rate(
        Endpoint(chat.url, "judge-1", tries=2, timeout_s=0.5), [question(r["id"], r["answer"]) for r in answers(9)]
    )
    assert found == {row["id"]: 2.0 if "Rome" in row["answer"] else 5.0 for row in answers(9)}
    assert seen == {row["answer"]: 1 + (row["answer"] in first) for row in answers(9)}
    assert time.monotonic() - start_s > 0.2  # what Retry-After says
    again = [body for body in chat.asked if answer_in(body["messages"][0]["content"]) == "Paris 6."]
    assert [(body["seed"], body["temperature"]) for body in again] == [(0, 0.0), (1000, 0.7)]  # else it says the same


def test_a_wrong_model_or_key_is_said_at_once(chat: Chat) -> None:
    with pytest.raises(LLaSOError, match=r"no such model.*is the model's name other"):
        scoring.rate(Endpoint(chat.url, "other"), [question("a", "Paris")])
    assert len(chat.asked) == 1
    chat.does = lambda prompt: Does("who are you?", status=401)
    with pytest.raises(LLaSOError, match=r"who are you\?.*LLASO_JUDGE_KEY"):
        scoring.rate(Endpoint(chat.url, "judge-1"), [question("a", "Paris")])
    chat.does = lambda prompt: Does("unknown parameter: seed", status=400)
    with pytest.raises(LLaSOError, match="unknown parameter: seed"):
        scoring.rate(Endpoint(chat.url, "judge-1", requests=2), [question(r["id"], r["answer"]) for r in answers(100)])
    assert len(chat.asked) < 20  # a hundred refusals would say no more
    with pytest.raises(LLaSOError, match=r"127\.0\.0\.1:1/v1: no answer after 1 attempts"):
        scoring.rate(Endpoint("http://127.0.0.1:1/v1", "judge-1", tries=1), [question("a", "Paris")])


@pytest.mark.parametrize("after", [0, 49])
def test_what_was_paid_for_is_kept_and_only_the_rest_is_asked_for(chat: Chat, tmp_path: Path, after: int) -> None:
    source = written(tmp_path / "one.jsonl", answers(60))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    score.score([source], str(whole), workers=1, judge=Endpoint(chat.url, "judge-1"))
    chat.asked.clear()
    answered: set[str] = set()

    def does(prompt: str) -> Does | None:
        if prompt not in answered and len(answered) >= after:
            return Does("out of credit", status=429, headers=QUICKLY)
        answered.add(prompt)
        return None

    chat.does = does
    with pytest.raises(LLaSOError, match=r"out of credit.*what was answered is kept"):
        score.score([source], str(broken), workers=1, judge=Endpoint(chat.url, "judge-1", tries=2))
    kept = Journal(str(broken / "judgements.jsonl")).lines if after else []
    assert len(kept) == after and not (broken / "scores.json").exists()
    chat.does = lambda prompt: None
    chat.asked.clear()
    said = score.score([source], str(broken), workers=1, judge=Endpoint(chat.url, "judge-1"))
    assert len(chat.asked) == 60 - after and not {*chat.prompts} & answered
    assert open_set(said)["metrics"]["one"]["judge"]["value"] == 3.0
    assert made(broken) == made(whole)


@pytest.mark.slow
def test_killed_and_run_again_it_is_the_same_to_the_byte(chat: Chat, tmp_path: Path) -> None:
    source = written(tmp_path / "one.jsonl", answers(40))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    score.score([source], str(whole), workers=1, judge=Endpoint(chat.url, "judge-1"))
    chat.does = lambda prompt: Does(usual(prompt), after_s=0.05)
    code = (
        "import sys; from llaso_model.evaluate import score; "
        "from llaso_model.evaluate.llm_judge.judges import Endpoint; "
        "score.score([sys.argv[1]], sys.argv[2], workers=1, judge=Endpoint(sys.argv[3], 'judge-1', requests=3))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(llaso_model.__file__).parents[1])}
    path = killed / "judgements.jsonl"
    run = subprocess.Popen([sys.executable, "-c", code, source, str(killed), chat.url], env=environment)
    while not path.exists() or path.read_bytes().count(b"\n") < 11:
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    path.write_bytes(path.read_bytes().rpartition(b'"said"')[0])  # in the middle of an append, too
    kept = len(Journal(str(path)).lines)
    assert 10 <= kept < 40
    chat.does = lambda prompt: None
    chat.asked.clear()
    told: list[str] = []
    score.score([source], str(killed), workers=1, judge=Endpoint(chat.url, "judge-1"), on_progress=told.append)
    assert len(chat.asked) == 40 - kept and any(f"judgements.jsonl:{kept + 1}: cut off" in line for line in told)
    assert made(killed) == made(whole)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_under_way(chat: Chat, tmp_path: Path) -> None:
    source = written(tmp_path / "one.jsonl", answers(40))
    chat.does = lambda prompt: Does(usual(prompt), after_s=0.3)
    command = ["score", source, "--out", str(tmp_path / "out"), "--judge", chat.url, "--judge-model", "judge-1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(llaso_model.__file__).parents[1])}
    run = subprocess.Popen(
        [sys.executable, "-m", "llaso_model.cli", *command], env=environment, stderr=subprocess.PIPE, text=True
    )
    while len(chat.asked) < 12:
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130 and "what is finished is kept" in said
    assert len(Journal(str(tmp_path / "out" / "judgements.jsonl")).lines) == len(chat.asked) < 40


# Answers without a judgement.


def test_the_judge_stays_the_figure_of_the_set_and_what_it_did_not_judge_is_said(
    chat: Chat,
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    other = [{**row, "system": "two", "answer": row["answer"].replace("Rome", "Paris")} for row in answers(30)]
    rows = [*answers(30), *other, *lines("one", 30)[:40]]
    rows.append({"system": "one", "set": "dolly_input_1", "id": "r", "expected": "refusal", "answer": "I cannot."})
    source = written(tmp_path / "both.jsonl", rows)

    def does(prompt: str) -> Does | None:
        """Two are never readable; one is refused by a filter; one has the endpoint fail, whatever is done."""
        return {
            "Rome 1.": Does("It is a matter of taste."),
            "Rome 4.": Does("Score: eleven"),
            "Rome 7.": Does("content_filter", status=400),
            "Rome 10.": Does("it crashed", status=500, headers=QUICKLY),
        }.get(answer_in(prompt))

    chat.does = does
    out = tmp_path / "out"
    command = ["score", source, "--out", str(out), "--judge", chat.url, "--judge-model", "judge-1", "--workers", "1"]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    asked = Counter(map(answer_in, chat.prompts))
    assert (asked["Rome 1."], asked["Rome 4."], asked["Rome 7."], asked["Rome 2."]) == (3, 3, 1, 1)
    said = json.loads((out / "scores.json").read_text())
    opened = open_set(said)
    assert opened["primary"] == "judge"
    assert opened["metrics"]["one"]["judge"] | {"low": 0, "high": 0} == {
        "value": round((10 * 5 + 16 * 2) / 26, 6), "low": 0, "high": 0, "rows": 26, "clusters": 26,
    }  # fmt: skip
    assert (said["unjudged"]["rows"], said["unjudged"]["of"]) == (4, 60)
    assert said["unjudged"]["sets"] == [
        {"set": "dolly_input_1", "system": "one", "rows": 4, "of": 30, "figure": "judge"}
    ]
    assert said["made"]["judged_by"]["unjudged"] == {"no answer": 1, "refused": 1, "unreadable": 2}
    (pair,) = [pair for pair in said["pairs"] if pair["on"] == "set"]
    assert (pair["metric"], pair["rows"]) == ("judge", 26)  # the rows that both have
    head = "Not judged: 4 of 60 open answers (1 no answer, 1 refused, 2 unreadable)."
    assert head in " ".join(told.output.split("scores out of 100")[0].split())
    page = browser.open(Path(report.report([str(out)])[0]))
    assert head in page.page.inner_text("header.head") and page.errors == []
    before, count = made(out), len(chat.asked)
    assert CliRunner().invoke(main, command).exit_code == 0
    assert made(out) == before
    assert {*map(answer_in, chat.prompts[count:])} == {"Rome 7.", "Rome 10.", ""}  # what no words came for; and a probe


def test_where_nothing_of_a_system_is_judged_rouge_stands_in_and_that_is_said(chat: Chat, tmp_path: Path) -> None:
    rows = [*answers(9), *({**row, "system": "two", "answer": f"no {row['answer']}"} for row in answers(9))]
    chat.does = lambda prompt: Does("hm") if answer_in(prompt).startswith("no") else None
    source = written(tmp_path / "both.jsonl", rows)
    command = ["score", source, "--out", str(tmp_path), "--judge", chat.url, "--judge-model", "judge-1"]
    told = CliRunner().invoke(main, command).output
    assert open_set(json.loads((tmp_path / "scores.json").read_text()))["primary"] == "rouge_l"
    assert "Scored by ROUGE-L, because nothing of some system was judged: dolly_input_1." in " ".join(told.split())


def test_fewer_votes_than_asked_for_are_said(chat: Chat, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    def does(prompt: str) -> Does | None:
        seen[prompt] += 1
        return Does("hm") if answer_in(prompt) == "Rome 1." and seen[prompt] != 1 else None

    chat.does = does
    judging = Endpoint(chat.url, "judge-1", temperature=0.7, requests=1)
    source = written(tmp_path / "one.jsonl", answers(3))
    said = score.score([source], str(tmp_path), workers=1, judge=judging, votes=3)
    assert said["made"]["judged_by"]["fewer_votes"] == 1 and said["unjudged"]["rows"] == 0
    assert open_set(said)["metrics"]["one"]["judge"]["value"] == 3.0


def test_the_primary_metric_of_open_answers_is_the_judges(chat: Chat, tmp_path: Path) -> None:
    source = written(tmp_path / "one.jsonl", lines("one", 30))  # one of them is a refusal that is right
    said = score.score([source], str(tmp_path / "out"), workers=1, judge=Endpoint(chat.url, "judge-1"))
    opened = open_set(said)
    assert opened["primary"] == "judge" and opened["metrics"]["one"]["judge"]["value"] == 5.0
    assert said["made"]["judged_by"]["judge"] == "judge-1 at temperature 0"
    assert said["unjudged"] == {"rows": 0, "of": 6, "sets": []}


# The record.


def test_a_damaged_line_is_named_and_a_torn_one_is_asked_again(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    questions = [question(row["id"], row["answer"]) for row in answers(4)]
    judging = Endpoint(chat.url, "judge-1")
    scoring.rate(RecordedJudge(str(path), judging), questions)
    whole = path.read_bytes()
    for cut in (1, 10, len(whole.splitlines()[-1]), len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        chat.asked.clear()
        scoring.rate(RecordedJudge(str(path), judging), questions)
        assert path.read_bytes() == whole and len(chat.asked) == (cut > 1)
    for number, line in ((2, b'{"digest": "x", "said'), (1, b"[]"), (4, b'{"digest": "x"}'), (3, b"\xff\xfe")):
        damaged = whole.splitlines()
        damaged[number - 1] = line
        path.write_bytes(b"\n".join(damaged) + b"\n")
        with pytest.raises(LLaSOError, match=rf"said\.jsonl:{number}: no "):
            RecordedJudge(str(path), judging)
        assert path.read_bytes() == b"\n".join(damaged) + b"\n"


def test_words_of_any_kind_come_back_as_they_were(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    words = "Score: 4\u2028\x85\r\n\x00 \ud800 日本"
    chat.does = lambda prompt: Does(words)
    assert scoring.rate(RecordedJudge(str(path), Endpoint(chat.url, "judge-1")), [question("a", "x")]) == {"a": 4.0}
    assert [line["said"] for line in Journal(str(path)).lines] == [words]


def test_lines_of_earlier_versions_and_of_other_judges_are_kept_and_used(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    judging = Endpoint(chat.url, "judge-1")
    key = RecordedJudge(str(path), judging).key(JudgeRequest("p"))
    assert key == scoring.digest("judgement", "judge-1 at temperature 0", "p", 0)
    ours = {"digest": key, "judge": judging.name, "vote": 0, "said": "Score: 1"}
    theirs = {"digest": "0" * 32, "judge": "another", "vote": 0, "said": "Score: 3"}
    path.write_text("".join(json.dumps(line) + "\n" for line in (ours, theirs)))
    assert RecordedJudge(str(path), judging).ask([JudgeRequest("p"), JudgeRequest("q")]) == ["Score: 1", "Score: 5"]
    assert chat.prompts == ["q"]
    assert {line["judge"] for line in Journal(str(path)).lines} == {"another", judging.name}


def test_two_runs_do_not_add_to_one_record_at_once(chat: Chat, tmp_path: Path) -> None:
    kept = RecordedJudge(str(tmp_path / "said.jsonl"), Endpoint(chat.url, "judge-1"))
    with Journal(kept.path).writing(), pytest.raises(LockedError, match="another run is adding to it"):
        kept.ask([JudgeRequest("p")])
    assert kept.ask([JudgeRequest("p")]) == ["Score: 5"]


def test_a_full_disk_leaves_whole_lines(chat: Chat, tmp_path: Path) -> None:
    import resource

    kept = RecordedJudge(str(tmp_path / "said.jsonl"), Endpoint(chat.url, "judge-1"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(LLaSOError, match=r"said\.jsonl"):
            kept.ask([JudgeRequest(str(n)) for n in range(20)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    found = Journal(kept.path)
    assert found.torn is None and 1 <= len(found.lines) < 20


# Votes and orders.


def test_a_judge_that_follows_the_order_is_seen(chat: Chat) -> None:
    """Two equal answers: this judge prefers what comes first, so the preference is 1/2 and not consistent."""
    first = [question("same", "Paris"), question("better", "Paris"), question("worse", "Rome")]
    second = [question("same", "Paris!"), question("better", "Rome"), question("worse", "Paris")]
    found = scoring.compare(Endpoint(chat.url, "judge-1"), first, second)
    assert (found["same"].share, found["same"].consistent) == (0.5, False)
    assert (found["better"].share, found["better"].consistent) == (1.0, True)
    assert (found["worse"].share, found["worse"].consistent) == (0.0, True)
    with pytest.raises(LLaSOError, match="the same questions"):
        scoring.compare(Endpoint(chat.url, "judge-1"), first, second[:2])
    chat.does = lambda prompt: Does("hm") if "Answer B: Paris!" in prompt else None
    assert scoring.compare(Endpoint(chat.url, "judge-1"), first, second).keys() == {"better", "worse"}


def test_scores_and_choices_are_read() -> None:
    assert scoring.parse_score("**Score:** 4\nExplanation") == 4
    assert scoring.parse_score("Score: 3.5") == 3.5
    assert scoring.parse_score("I would give 4 of 5") is None
    assert scoring.parse_score("Score: 7") is None
    assert [scoring.parse_choice(said) for said in ("Better: B", "**Better**: tie", "A is better")] == [
        "B",
        "tie",
        None,
    ]


@pytest.mark.slow
def test_a_local_model_is_a_judge(tmp_path: Path) -> None:
    """SmolLM2-135M is no good judge, but it answers, the same in any company, and is asked once."""
    model = judges.LocalModel(str(obtained(weights.smollm2)), temperature=0.7, max_new_tokens=12)
    kept = RecordedJudge(str(tmp_path / "said.jsonl"), model)
    asks = [JudgeRequest("Say Score: 4"), JudgeRequest("Say Score: 2"), JudgeRequest("Say Score: 2", attempt=1)]
    first = kept.ask(asks)
    assert all(isinstance(one, str) and one and not isinstance(one, Unanswered) for one in first)
    assert RecordedJudge(kept.path, name=kept.name).ask(asks) == first
    assert model.ask(asks[1:2]) == first[1:2]
