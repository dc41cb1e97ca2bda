"""Ratings: blind, equal for all raters, saved before they are confirmed; agreement is Krippendorff's alpha."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import llaso_model
from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_model.evaluate import conditions, store
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.rate import ratings
from llaso_model.evaluate.rate.server import RateServer
from llaso_model.evaluate.report import scores_page as report
from tests.conftest import Clip
from tests.llaso_model.evaluate.report.test_scores_page import lines, scored
from tests.support.browser import Browser, browser  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(tmp_path_factory.mktemp("rate"), first=lines("first", 30), second=lines("second", 10, hostile=True))


@pytest.fixture
def server(scores: Path) -> Iterator[RateServer]:
    with served(scores, 6, seed=1) as made:
        yield made


@contextmanager
def served(scores: Path, items: int, seed: int = 0, **options: Any) -> Iterator[RateServer]:
    with RateServer(str(scores), ratings.draw_items(rows(scores), items, seed), **options) as made:
        thread = threading.Thread(target=made.serve)
        thread.start()
        try:
            yield made
        finally:
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
    drawn = ratings.draw_items(rows(scores), 12, seed=0)
    assert [ratings.item_id(row) for row in drawn] == [
        ratings.item_id(row) for row in ratings.draw_items(rows(scores), 12, seed=0)
    ]
    assert [ratings.item_id(row) for row in drawn] != [
        ratings.item_id(row) for row in ratings.draw_items(rows(scores), 12, seed=1)
    ]
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
    item = ratings.item_id(server.items[0])
    assert ask(server, "rate", {"rater": " Ada  L ", "item": item, "rating": {"accuracy": 4}})[0] == 200
    assert ratings.read_ratings(str(scores), "Ada L") == {item: {"accuracy": 4}}
    assert json.loads(ask(server, "begin", {"rater": "Ada L"})[1])["ratings"] == {item: {"accuracy": 4}}
    assert ask(server, "rate", {"rater": "Ada L", "item": item, "rating": {}})[0] == 200
    assert ratings.read_ratings(str(scores), "Ada L") == {}


def test_what_is_no_rating_is_refused(server: RateServer) -> None:
    item = ratings.item_id(server.items[0])
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
    said = ratings.read_ratings(str(scores), "Bea")
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
    assert ratings.krippendorff_alpha("accuracy", said) == pytest.approx(0.815, abs=0.001)
    assert ratings.krippendorff_alpha("accuracy", [said[0], said[0]]) == 1.0
    assert ratings.krippendorff_alpha("accuracy", said[:1]) is None
    assert ratings.krippendorff_alpha("following", said) is None


def test_ratings_come_into_the_report(scores: Path, tmp_path: Path) -> None:
    drawn = ratings.draw_items(rows(scores), 20, seed=2)
    systems = {ratings.item_id(row): row.prediction.system for row in drawn}
    for name, shift in (("Cem", 0), ("Dua", 1)):
        with ratings.open_log(str(scores), name) as log:
            for item, system in systems.items():
                ratings.record_rating(log, item, system, {"accuracy": (5 if system == "first" else 2) - shift})
    html, path = report.report([str(scores)], str(tmp_path))
    said = json.loads(Path(path).read_text(encoding="utf-8"))["ratings"]
    assert {"Cem", "Dua"} <= {one["name"] for one in said["raters"]}
    assert said["aspects"]["accuracy"]["systems"]["first"]["value"] > 4
    assert "Krippendorff" in Path(html).read_text(encoding="utf-8")


def test_a_damaged_file_is_named_with_its_line_or_entry(tmp_path: Path) -> None:
    with ratings.open_log(str(tmp_path), "Eva") as log:
        ratings.record_rating(log, "a", "one", {"accuracy": 3})
        ratings.record_rating(log, "b", "one", {"accuracy": 4})
    (path,) = tmp_path.glob("ratings/*/ratings.json")
    whole = path.read_text()
    for text, where in (
        ('{"format": "other"}', "format other|format_version"),
        (whole.replace('"accuracy": 4', '"accuracy": 9'), "entry 2: a rating is 1 to 5"),
        (whole.replace('"accuracy": 4', '"accuracy": true'), "entry 2: a rating is 1 to 5"),
        (whole[:-20], "line [0-9]+"),
    ):
        path.write_text(text)
        with pytest.raises(LLaSOError, match=rf"ratings\.json is not a rater's ratings \(.*({where})"):
            ratings.results([str(tmp_path)])


# Ratings are kept.


def give(server: RateServer, rater: str, count: int, value: int) -> list[str]:
    """Rates the first so many items that are shown; the items."""
    items = [ratings.item_id(row) for row in server.items[:count]]
    for item in items:
        assert ask(server, "rate", {"rater": rater, "item": item, "rating": {"accuracy": value}})[0] == 200
    return items


def test_whatever_is_shown_later_every_rating_is_kept_and_counts_once(tmp_path: Path) -> None:
    scores = scored(tmp_path, first=lines("first", 30), second=lines("second", 10))
    with served(scores, 30) as server:
        said = dict.fromkeys(give(server, "Ada", 30, 3), 3)
    for items, seed, rater in ((10, 0, "Ada"), (5, 7, "Ada"), (60, 3, "Bo"), (3, 0, "Ada")):
        with served(scores, items, seed) as server:
            shown = {ratings.item_id(row) for row in server.items}
            before = json.loads(ask(server, "begin", {"rater": rater})[1])["ratings"]
            assert before.keys() == (said.keys() & shown if rater == "Ada" else set())
            clicked = give(server, rater, 1, 5)
        if rater == "Ada":
            said |= dict.fromkeys(clicked, 5)
        assert ratings.read_ratings(str(scores), "Ada") == {item: {"accuracy": value} for item, value in said.items()}
    other = scored(tmp_path, third=lines("third", 20))  # the same folder, other systems
    assert other == scores
    with served(other, 20) as server:
        said |= dict.fromkeys(give(server, " Ada ", 4, 2), 2)
    assert (
        len(said) > 33
        and {item: one["accuracy"] for item, one in ratings.read_ratings(str(scores), "Ada").items()} == said
    )
    found = ratings.results([str(scores), str(scores)])
    assert found is not None
    assert [(one["name"], one["items"]) for one in found["raters"]] == [("Ada", len(said)), ("Bo", 1)]
    counts = [figure["ratings"] for figure in found["aspects"]["accuracy"]["systems"].values()]
    assert sum(counts) == len(said) + 1


def test_ratings_of_earlier_versions_count_and_their_file_is_left_alone(tmp_path: Path) -> None:
    early = tmp_path / "ratings" / "zo-1234.json"
    early.parent.mkdir()
    rows = [{"item": "a", "system": "one", "accuracy": 2}, {"item": "b", "system": "one", "accuracy": 3}]
    decomposed = {"format": "llaso-ratings", "format_version": 1, "rater": "Zoe\u0308", "ratings": rows}
    early.write_text(json.dumps(decomposed))
    before = early.read_bytes()
    with ratings.open_log(str(tmp_path), "Zoë") as log:
        ratings.record_rating(log, "b", "one", {"accuracy": 5})
        ratings.record_rating(log, "c", "two", {"accuracy": 4})
        ratings.record_rating(log, "c", "two", {})
    assert ratings.read_ratings(str(tmp_path), "Zoë") == {"a": {"accuracy": 2}, "b": {"accuracy": 5}}
    assert early.read_bytes() == before
    found = ratings.results([str(tmp_path)])
    assert found is not None and found["raters"] == [{"name": "Zoë", "items": 2}]


def test_a_rater_is_at_work_in_one_server_and_nothing_confirmed_is_lost(tmp_path: Path) -> None:
    scores = scored(tmp_path, first=lines("first", 30))
    with served(scores, 40) as first, served(scores, 40, seed=1) as second:

        def rated(number: int) -> str | None:
            server = (first, second)[number % 2]
            item = ratings.item_id(server.items[number // 2])
            status, text = ask(server, "rate", {"rater": "Ada", "item": item, "rating": {"accuracy": 3}})
            # Who holds a lock writes its name a moment later.
            assert status == 200 or (status == 409 and ("ratings by Ada" in text or "another run" in text)), text
            return item if status == 200 else None

        with ThreadPoolExecutor(8) as pool:
            confirmed = set(filter(None, pool.map(rated, range(60))))
        assert len(confirmed) == 30 and ratings.read_ratings(str(scores), "Ada").keys() == confirmed
        give(first, "Bo", 3, 1)  # two servers may have a rater each
        assert ask(second, "begin", {"rater": "Bo"})[0] == 409
        give(second, "Cem", 3, 1)
    assert {name: len(log) for name, log in ratings.all_raters(str(scores)).items()} == {"Ada": 30, "Bo": 3, "Cem": 3}


@pytest.mark.slow
def test_confirmed_ratings_survive_a_kill(tmp_path: Path) -> None:
    scores = scored(tmp_path, first=lines("first", 30))
    environment = {**os.environ, "PYTHONPATH": str(Path(llaso_model.__file__).parents[1])}
    command = [sys.executable, "-m", "llaso_model.cli", "rate", str(scores), "--items", "20"]
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    url = run.stdout.readline().split()[-1]
    items = [ratings.item_id(row) for row in ratings.draw_items(rows(scores), 20, 0)]

    def rated(item: str) -> str | None:
        body = json.dumps({"rater": "Ada", "item": item, "rating": {"accuracy": 3}}).encode()
        request = urllib.request.Request(f"{url}rate", body, {"Content-Type": "application/json"})
        if item == items[9]:
            run.send_signal(signal.SIGKILL)
        try:
            with urllib.request.urlopen(request, timeout=10):
                return item
        except OSError:
            return None

    with ThreadPoolExecutor(4) as pool:
        confirmed = set(filter(None, pool.map(rated, items)))
    run.wait()
    run.stdout.close()
    assert len(confirmed) < 20 and confirmed <= ratings.read_ratings(str(scores), "Ada").keys()
    with served(scores, 20) as server:  # the lock died with its holder
        give(server, "Ada", 20, 4)
    assert len(ratings.read_ratings(str(scores), "Ada")) == 20


# Sounds.


@pytest.fixture(scope="module")
def sounding(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(scores, audio): a recording, one of a noisy condition, a long one, a broken one, one that is not there."""
    folder = tmp_path_factory.mktemp("sounding")
    root = folder / "audio"
    root.mkdir()
    clip = next(clip for clip in clips if clip.language == "en")
    pcm, _ = audio.decode(str(clip.path))
    (root / "clip.flac").write_bytes(audio.encode(pcm, "flac"))
    with tarfile.open(root / "shard.tar", "w") as tar:
        tar.add(root / "clip.flac", "k.flac")
    with soundfile.SoundFile(root / "long.flac", "w", 16_000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(11):
            file.write(np.zeros(60 * 16_000, np.int16))
    (root / "broken.wav").write_bytes(b"RIFF" + bytes(50))
    (folder / "outside.wav").write_bytes(audio.encode(pcm, "wav"))
    names = ["clip.flac", "long.flac", "broken.wav", "gone.wav", "../outside.wav", "shard.tar!k.flac"]
    said: list[dict[str, Any]] = [
        {"system": "s", "set": "dolly_input_1", "id": f"q{n}", "reference": "x", "answer": "y", "audio": name}
        for n, name in enumerate(names)
    ]
    noisy = {"id": "q0@snr:5", "tags": ["snr:5"], "seed": 3, "noise": "white"}
    said += [{**said[0], **noisy}, {**said[0], "id": "q0@snr:0", "tags": ["snr:0"]}]  # as an earlier version wrote it
    return scored(folder, s=said), root


def test_sounds_are_decoded_within_limits_and_what_is_cut_or_cannot_be_heard_is_said(
    sounding: tuple[Path, Path],
) -> None:
    scores, root = sounding
    with served(scores, 10, audio_root=str(root)) as server:
        items = {row.prediction.id: ratings.item_id(row) for row in server.items}

        def sound(id_: str) -> tuple[int, dict[str, Any]]:
            status, text = ask(server, f"sound/{items[id_]}")
            return status, json.loads(text)

        length_s = audio.probe(str(root / "clip.flac")).duration_s
        assert length_s is not None
        for id_ in ("q0", "q5"):  # a file, and a member of a shard
            status, said = sound(id_)
            assert status == 200 and not said["cut"] and said["seconds"] == pytest.approx(length_s, abs=0.001)
            opus = audio.decode_bytes(base64.b64decode(said["opus"]))
            assert len(opus) / audio.SAMPLE_RATE_HZ == pytest.approx(length_s, abs=0.001)
        status, said = sound("q1")  # 11 minutes
        assert (status, said["cut"], said["seconds"]) == (200, True, 600.0) and len(said["opus"]) < 1_000_000
        for id_, why in (("q2", "broken.wav"), ("q3", "gone.wav: no such file"), ("q4", "no such file below")):
            status, said = sound(id_)
            assert status == 409 and why in said["error"]
        assert ask(server, f"sound/{'0' * 16}")[0] == 409
        shown = {one["id"]: one for one in map(server._shown, server.items)}
        told = {id_: (shown[items[id_]]["condition"], shown[items[id_]]["unmade"]) for id_ in ("q0", "q0@snr:5")}
        assert told == {"q0": (None, None), "q0@snr:5": ("snr:5", None)}
        assert "does not say how it was made" in shown[items["q0@snr:0"]]["unmade"]
        clean, noisy, unmade = (
            audio.decode_bytes(base64.b64decode(sound(id_)[1]["opus"])) for id_ in ("q0", "q0@snr:5", "q0@snr:0")
        )
        assert np.array_equal(clean, unmade)
        speech = audio.to_float32(audio.decode(str(root / "clip.flac"))[0])
        wanted = conditions.noise_sweep("5", "white", 3)[0].apply(speech, conditions.sample_key("q0"))
        assert np.corrcoef(noisy, wanted)[0, 1] > 0.9 > np.corrcoef(noisy, clean)[0, 1]  # Opus loses some of a hiss
    with served(scores, 10) as silent:
        assert not any(silent._shown(row)["sound"] for row in silent.items)


@pytest.mark.slow
def test_the_page_plays_and_says_what_the_system_heard(
    sounding: tuple[Path, Path],
    browser: Browser,  # noqa: F811
) -> None:
    scores, root = sounding
    with served(scores, 10, audio_root=str(root)) as server:
        opened = browser.open(server.url, width=900)
        page = opened.page
        page.evaluate(
            "window.violations = []; "
            "document.addEventListener('securitypolicyviolation', (said) => violations.push(said.blockedURI))"
        )
        page.fill("#name", "Eve")
        page.keyboard.press("Enter")
        opened.until("!document.querySelector('#work').hidden", "the first item")
        for row in server.items:
            one = row.prediction
            settled = "document.querySelector('#sound').src || !document.querySelector('#sound-says').hidden"
            opened.until(settled, one.id)
            says = page.inner_text("#sound-says")
            if one.id in ("q0", "q5", "q0@snr:5", "q0@snr:0"):
                opened.until("document.querySelector('#sound').readyState > 0", "it is loaded")
                page.keyboard.press(" ")
                opened.until("document.querySelector('#sound').currentTime > 0.02", "it plays")
                assert ("With snr:5, as the system heard it" in says) == (one.id == "q0@snr:5")
                assert ("heard this with snr:0; here it is without" in says) == (one.id == "q0@snr:0")
            else:
                assert ("first 10 minutes" if one.id == "q1" else "cannot be heard") in says
            page.keyboard.press("ArrowDown")
        opened.until("!document.querySelector('#end').hidden", "the end")
        assert all("409" in error for error in opened.errors) and len(opened.errors) == 3
        assert page.evaluate("violations") == []
        assert all(asked.startswith((server.url, "blob:", "data:")) for asked in opened.requests)
