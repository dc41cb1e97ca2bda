"""Files of a hub arrive whole and right, whatever fails on the way, at the price of few requests."""

from __future__ import annotations

import email.utils
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io import hub_files, hub_requests
from llaso_data.io.hub_requests import Traffic
from llaso_data.io.store_errors import AddressError, StoreError
from tests.support.fake_hub import FakeHub, fake_hub

URI = "hf://datasets/me/speech"
BIG = os.urandom(3 << 20)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one data set: a card, a folder of small files, and one of 3 MiB."""
    monkeypatch.setattr(hub_requests, "_FIRST_WAIT_S", 0.002)
    folder = tmp_path / "hub" / "me" / "speech"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n", encoding="utf-8")
    (folder / "big one.zip").write_bytes(BIG)
    for number in range(3):
        (folder / "data" / f"{number}.bin").write_bytes(bytes([number]) * 2000)
    with fake_hub(tmp_path / "hub") as running:
        yield running


def fetched(tree: hub_files.HubTree, name: str, path: Path, traffic: Traffic | None = None) -> bytes:
    (file,) = (file for file in tree.files if file.path == name)
    hub_files.fetch(tree, file, str(path), traffic)
    return path.read_bytes()


def big(tree: hub_files.HubTree) -> hub_files.HubFile:
    return next(file for file in tree.files if file.path == "big one.zip")


def test_a_repository_is_listed_in_pages_at_one_commit(hub: FakeHub) -> None:
    traffic = Traffic()
    tree = hub_files.tree(URI, traffic)
    assert [file.path for file in tree.files] == ["README.md", "big one.zip", "data/0.bin", "data/1.bin", "data/2.bin"]
    assert big(tree).sha256 == hashlib.sha256(BIG).hexdigest()
    assert tree.files[0].sha256 is None and len(tree.files[0].oid) == 40
    assert traffic.requests == len(hub.seen) == 1 + 3  # the commit, and six entries (one is a folder) by two
    assert tree.uri == f"hf://datasets/me/speech@{hub.commit('datasets', 'me/speech')}"
    below = hub_files.tree(f"{tree.uri}/data", traffic)
    assert [file.path for file in below.files] == ["data/0.bin", "data/1.bin", "data/2.bin"]


def test_files_cost_two_requests_and_small_ones_one(hub: FakeHub, tmp_path: Path) -> None:
    tree, traffic = hub_files.tree(URI), Traffic()
    assert fetched(tree, "README.md", tmp_path / "card", traffic).startswith(b"---")
    assert traffic.requests == 1
    assert fetched(tree, "big one.zip", tmp_path / "big", traffic) == BIG
    assert traffic.requests == 3 and traffic.retries == 0
    assert traffic.received_bytes == len(BIG) + tree.files[0].size_bytes


@pytest.mark.parametrize("fault", ["502", "503", "504", "429", "cut", "flip", "other"])
def test_a_fault_changes_no_byte(hub: FakeHub, tmp_path: Path, fault: str) -> None:
    hub.faults["big one.zip"] = [fault, fault]
    hub.retry_after = "0"
    tree, traffic = hub_files.tree(URI), Traffic()
    (tmp_path / "part").write_bytes(BIG[: 1 << 20])
    assert fetched(tree, "big one.zip", tmp_path / "part", traffic) == BIG
    assert hub.faults["big one.zip"] == []
    assert traffic.requests == 4  # an address, two failures, the file


def test_a_slow_connection_is_broken_off_and_goes_on(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.1")
    hub.faults["big one.zip"] = ["slow"]
    hub.slow_s = 0.5
    assert fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part") == BIG
    assert hub.seen[-1].range == f"bytes={len(BIG) // 2}-{len(BIG) - 1}"


def test_a_connection_that_trickles_is_given_up_for_another(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of such a connection are believed no more than others: here they are wrong, and thrown away."""
    monkeypatch.setattr(hub_files, "_SLOW_S", 0.1)
    hub.faults["big one.zip"] = ["trickle"]
    traffic = Traffic()
    assert fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part", traffic) == BIG
    assert traffic.retries >= 1 and hub.seen[-1].range == ""


def test_what_is_there_is_not_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BIG[:-100])
    told: list[int] = []
    tree, traffic = hub_files.tree(URI), Traffic()
    hub_files.fetch(tree, big(tree), str(tmp_path / "part"), traffic, told.append)
    assert (tmp_path / "part").read_bytes() == BIG
    assert traffic.received_bytes == 100 and sum(told) == len(BIG)
    hub_files.fetch(tree, big(tree), str(tmp_path / "part"), traffic)
    assert traffic.requests == 2


@pytest.mark.parametrize("there", [b"another beginning", BIG + b"more"])
def test_a_wrong_beginning_is_found_by_the_sum_and_thrown_away(hub: FakeHub, tmp_path: Path, there: bytes) -> None:
    (tmp_path / "part").write_bytes(there)
    assert fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part") == BIG


def test_a_server_that_gives_the_whole_for_a_part_is_taken_at_that(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["big one.zip"] = ["norange"]
    (tmp_path / "part").write_bytes(BIG[:1000])
    assert fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part") == BIG


def test_a_file_beyond_what_one_answer_holds_comes_in_segments(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_files, "_SEGMENT_BYTES", 1 << 20)
    traffic = Traffic()
    assert fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part", traffic) == BIG
    assert traffic.requests == 1 + 3


def test_wrong_bytes_for_good_are_refused_with_both_sums(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["big one.zip"] = ["flip"] * 3
    tree = hub_files.tree(URI)
    with pytest.raises(LLaSOError, match=f"big one.zip: .*[0-9a-f]{{64}}, and {big(tree).sha256} is stated"):
        hub_files.fetch(tree, big(tree), str(tmp_path / "part"))
    assert (tmp_path / "part").stat().st_size == 0
    hub.faults["README.md"] = ["flip"] * 3
    with pytest.raises(LLaSOError, match=f"SHA-1 of git is .*{tree.files[0].oid} is stated"):
        hub_files.fetch(tree, tree.files[0], str(tmp_path / "card"))


def test_a_server_that_fails_for_good_is_given_up(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["big one.zip"] = ["503"] * 20
    (tmp_path / "part").write_bytes(BIG[:1000])
    with pytest.raises(StoreError, match=r"me/speech: big one.zip: the server answered 503, 8 times in a row"):
        fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == BIG[:1000]


def test_429_says_how_long_to_wait(hub: FakeHub, tmp_path: Path) -> None:
    tree = hub_files.tree(URI)
    hub.faults["0.bin"], hub.retry_after = ["429"], "1"
    start = time.monotonic()
    fetched(tree, "data/0.bin", tmp_path / "0")
    assert time.monotonic() - start >= 1
    at = int(time.time()) + 1
    hub.faults["1.bin"], hub.retry_after = ["429"], email.utils.formatdate(at, usegmt=True)
    fetched(tree, "data/1.bin", tmp_path / "1")
    assert time.time() >= at
    hub.faults["2.bin"], hub.retry_after = ["429"], "7200"
    with pytest.raises(StoreError, match=r"wait for 2\.0 hours"):
        fetched(tree, "data/2.bin", tmp_path / "2")


def test_ranges_share_a_signed_address_until_it_expires(hub: FakeHub) -> None:
    tree, traffic = hub_files.tree(URI), Traffic()
    assert hub_files.read_range(tree, big(tree), 0, 10, traffic) == BIG[:10]
    assert hub_files.read_range(tree, big(tree), len(BIG) - 5, len(BIG), traffic) == BIG[-5:]
    assert traffic.requests == 3
    hub.expire()
    assert hub_files.read_range(tree, big(tree), 7, 9, traffic) == BIG[7:9]
    assert traffic.requests == 6  # the expired one, a new one, the bytes
    assert hub_files.read_range(tree, tree.files[0], 0, 3, traffic) == b"---"


@pytest.mark.parametrize("fault", ["503", "cut", "other", "norange"])
def test_a_part_of_a_file_has_the_bytes_that_were_asked_for(hub: FakeHub, fault: str) -> None:
    hub.faults["big one.zip"] = [fault]
    tree = hub_files.tree(URI)
    assert hub_files.read_range(tree, big(tree), 1000, 5000) == BIG[1000:5000]


def test_the_token_is_the_hubs_only_and_terms_are_named(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add("me/speech")
    with pytest.raises(LLaSOError, match=rf"accept them at {hub.url}/datasets/me/speech, .*HF_TOKEN"):
        hub_files.tree(URI)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert fetched(hub_files.tree(URI), "big one.zip", tmp_path / "part") == BIG
    assert {one.token for one in hub.seen if one.is_cdn} == {""}
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(LLaSOError) as caught:
        hub_files.tree(URI)
    assert "accept them at" in str(caught.value) and "hf_of_another" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hf://datasets/me/other", "no such repository among the datasets, or it is private"),
        ("hf://me/speech", "no such repository among the models"),
        ("hf://datasets/me/speech@v9", "no such revision"),
        ("hf://datasets/me/speech/nowhere", "no such file or folder"),
        ("hf://datasets/me", "names no repository"),
        ("hf://spaces/me/speech", "names no repository"),
    ],
)
def test_what_is_not_there_is_said(hub: FakeHub, uri: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        hub_files.tree(uri)


def test_nothing_is_asked_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LLaSOError, match="HF_HUB_OFFLINE"):
        hub_files.tree(URI)
    assert not hub.seen


def test_the_list_survives_faults_too(hub: FakeHub) -> None:
    hub.api_faults["/api/datasets/me/speech/revision/main"] = ["503", "429"]
    hub.retry_after = "0"
    assert len(hub_files.tree(URI).files) == 5
    hub.api_faults["/main"] = ["502"] * 9
    with pytest.raises(StoreError, match="me/speech: the server answered 502, 8 times in a row"):
        hub_files.tree(URI)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//x", "a\nb", ""])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    from llaso_data.io.hub_listing import refuse_path

    with pytest.raises(LLaSOError, match="nothing is fetched"):
        refuse_path(path, "me/speech")
