"""Ratings: blind, equal for all raters, saved before they are confirmed; agreement is Krippendorff's alpha."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_model.evaluate import rate, report, store
from llaso_model.evaluate.rate_server import RateServer
from llaso_model.evaluate.rows import Row
from tests.browser import Browser, browser  # noqa: F401 (a fixture)
from tests.test_evaluate_report import lines, scored


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(tmp_path_factory.mktemp("rate"), first=lines("first", 30), second=lines("second", 10, hostile=True))


@pytest.fixture
def server(scores: Path) -> Iterator[RateServer]:
    with RateServer(str(scores), rate.draw(rows(scores), 6, seed=1)) as made:
        thread = threading.Thread(target=made.serve)
        thread.start()
        yield made
        made.stop()
        thread.join()


def rows(scores: Path) -> list[Row]:
    return store.read(str(scores / "rows.parquet"))


def ask(server: RateServer, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_draw_is_equal_for_all_and_takes_systems_and_sets_in_turn(scores: Path) -> None:
    drawn = rate.draw(rows(scores), 12, seed=0)
    assert [rate.item_id(row) for row in drawn] == [rate.item_id(row) for row in rate.draw(rows(scores), 12, seed=0)]
    assert [rate.item_id(row) for row in drawn] != [rate.item_id(row) for row in rate.draw(rows(scores), 12, seed=1)]
    counts = {system: sum(row.prediction.system == system for row in drawn) for system in ("first", "second")}
    assert counts == {"first": 6, "second": 6}
    assert len({row.prediction.set for row in drawn}) == 3


def test_the_page_does_not_say_whose_answer_it_is(server: RateServer) -> None:
    status, text = ask(server, "")
    assert status == 200
    payload = json.loads(text.split('id="payload">')[1].split("</script>")[0])
    assert len(payload["items"]) == 6
    assert not any("system" in item for item in payload["items"])


def test_ratings_are_saved_and_read_again(server: RateServer, scores: Path) -> None:
    item = rate.item_id(server.items[0])
    assert ask(server, "rate", {"rater": " Ada  L ", "item": item, "rating": {"accuracy": 4}})[0] == 200
    assert rate.read(str(scores), "Ada L") == {item: {"accuracy": 4}}
    assert json.loads(ask(server, "begin", {"rater": "Ada L"})[1])["ratings"] == {item: {"accuracy": 4}}
    assert ask(server, "rate", {"rater": "Ada L", "item": item, "rating": {}})[0] == 200
    assert rate.read(str(scores), "Ada L") == {}


def test_what_is_no_rating_is_refused(server: RateServer) -> None:
    item = rate.item_id(server.items[0])
    for body in (
        {"rater": "a", "item": item, "rating": {"accuracy": 6}},
        {"rater": "a", "item": item, "rating": {"beauty": 3}},
        {"rater": "a", "item": item, "rating": [3]},
        {"rater": "a", "item": "other", "rating": {}},
        {"rater": "", "item": item, "rating": {}},
        ["no object"],
    ):
        assert ask(server, "rate", body)[0] == 409


def test_others_are_refused(server: RateServer) -> None:
    assert ask(server, "begin", {"rater": "a"}, Origin="http://evil.example")[0] == 403
    assert ask(server, "begin", {"rater": "a"}, Host="evil.example")[0] == 403
    server.token, token = "other", server.token
    try:
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://localhost:{server.port}/{token}/", timeout=10)
    finally:
        server.token = token


def test_rating_by_keyboard(server: RateServer, scores: Path, browser: Browser) -> None:  # noqa: F811
    opened = browser.open(server.url, width=900)
    page = opened.page
    page.fill("#name", "Bea")
    page.keyboard.press("Enter")
    opened.until("!document.querySelector('#work').hidden", "the first item")
    for _ in server.items:
        for key in "4321":
            page.keyboard.press(key)
            opened.until("document.querySelector('#saved').textContent === 'saved'", "saving")
            page.wait_for_timeout(30)
    opened.until("!document.querySelector('#end').hidden", "the end")
    said = rate.read(str(scores), "Bea")
    assert len(said) == len(server.items)
    assert all(one == {"accuracy": 4, "following": 3, "naturalness": 2, "robustness": 1} for one in said.values())
    assert opened.errors == [] and page.evaluate("typeof hacked") == "undefined"


def test_alpha_is_krippendorffs_example() -> None:
    """Krippendorff (2011), his data of four observers and twelve units, ordinal: 0.815. Full agreement is 1."""
    nothing = None
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nothing, nothing, nothing],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nothing, 3],
        [nothing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nothing],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nothing],
    ]
    said = [{str(i): {"accuracy": v} for i, v in enumerate(row) if v is not None} for row in table]
    assert rate.alpha("accuracy", said) == pytest.approx(0.815, abs=0.001)
    assert rate.alpha("accuracy", [said[0], said[0]]) == 1.0
    assert rate.alpha("accuracy", said[:1]) is None
    assert rate.alpha("following", said) is None


def test_ratings_come_into_the_report(scores: Path, tmp_path: Path) -> None:
    drawn = rate.draw(rows(scores), 20, seed=2)
    systems = {rate.item_id(row): row.prediction.system for row in drawn}
    for name, shift in (("Cem", 0), ("Dua", 1)):
        given = {item: {"accuracy": (5 if system == "first" else 2) - shift} for item, system in systems.items()}
        rate.write(str(scores), name, given, systems)
    html, path = report.report([str(scores)], str(tmp_path))
    said = json.loads(Path(path).read_text(encoding="utf-8"))["ratings"]
    assert {"Cem", "Dua"} <= {one["name"] for one in said["raters"]}
    assert said["aspects"]["accuracy"]["systems"]["first"]["value"] > 4
    assert "Krippendorff" in Path(html).read_text(encoding="utf-8")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = Path(rate.path_of(str(tmp_path), "Eva"))
    path.parent.mkdir()
    path.write_text('{"format": "other"}')
    with pytest.raises(LLaSOError, match="is not a rater's file"):
        rate.results([str(tmp_path)])
