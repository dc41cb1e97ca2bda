"""Which members are one sample: WebDataset's rule, and where ours differs from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from llaso_data.io.sample_names import divide, group, split

PIECES = st.text("ab01._é -", min_size=1, max_size=6)
NAMES = st.lists(PIECES, min_size=1, max_size=3).map("/".join)


@given(NAMES)
def test_names_are_divided_as_webdataset_divides_them(name: str) -> None:
    found = split(name)
    key, part = base_plus_ext(name)
    if isinstance(found, tuple):
        assert found == (key, part.lower())
    elif found == "metadata":
        assert name.startswith("__")
    elif found == "no_ending":
        assert key is None
    else:  # WebDataset gives all of a folder's hidden files its own name as their key
        assert found == "hidden" and (key is None or key.endswith("/"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/b.c/d.left.WAV", ("a/b.c/d", "left.wav")),
        ("./utt.wav", ("./utt", "wav")),
        ("a.", ("a", "")),
        ("__info__", "metadata"),
        ("__meta__/x.json", "metadata"),
        ("__MACOSX/._x.wav", "hidden"),
        ("a.b/.hidden", "hidden"),
        ("a.b/readme", "no_ending"),
        ("", "no_ending"),
    ],
)
def test_names_of_every_kind(name: str, found: object) -> None:
    assert split(name) == found


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["utt.0001.wav", "utt.0001.txt", "utt.0002.wav", "utt.0002.txt"], ["utt.0001", "utt.0002"]),
        (["utt.00.wav", "utt.01.wav"], ["utt.00", "utt.01"]),
        (["utt.1.wav", "utt.2.wav"], ["utt.1", "utt.2"]),
        (["utt.0.wav", "utt.2.wav"], ["utt.0", "utt.2"]),
        (["utt.a.WAV", "utt.b.wav"], ["utt.a", "utt.b"]),
        (["utt.wav", "utt.x.wav"], ["utt", "utt.x"]),
        (["t_11.7_13.9.flac", "t_11.7_13.9.txt", "t_11.9_15.flac"], ["t_11.7_13.9", "t_11.9_15"]),
        (["x.y/u.0.flac", "x.y/u.1.flac", "x.y/u.json"], ["x.y/u"]),
        (["u.0.flac", "u.1.flac", "u.0.txt", "u.1.txt"], ["u"]),
        (["u.0.flac"], ["u"]),
        (["u.left.flac", "u.right.wav"], ["u"]),
        (["u.seg.png", "u.flac", "u.json"], ["u"]),
        (["u.wav", "u.WAV"], ["u"]),
    ],
)
def test_keys_end_at_the_last_dot_only_where_an_ending_stands_twice(names: list[str], keys: list[str]) -> None:
    found = divide(names)
    assert list(found.samples) == keys
    assert found.at_last_dot == (keys[0].rpartition("/")[2].count(".") > 0 or len(keys) > 1)


@given(st.lists(st.lists(st.sampled_from(["0", "1", "2", "x", "X"]), max_size=2).map(lambda m: ".".join(["k", *m]))))
def test_every_name_is_in_one_sample_or_repeated(stems: list[str]) -> None:
    names = [f"{stem}.{ending}" for stem in stems for ending in ("wav", "txt")]
    found = divide(names)
    positions = [p for parts in found.samples.values() for p in parts.values()] + [p for _, p in found.repeated]
    assert sorted(positions) == list(range(len(names)))
    for key, parts in found.samples.items():
        assert all(names[p].lower() == f"{key}.{part}".lower() for part, p in parts.items())
    if found.at_last_dot:  # then no two of one ending share a key but where they are one name
        assert all(names[p].rpartition(".")[0] == key for key, parts in found.samples.items() for p in parts.values())


@given(st.permutations(["a.0.wav", "a.1.wav", "b.x.wav", "b.y.wav", "b.x.txt", "c.wav", "c.txt", "d", "__e__", ".f.g"]))
def test_the_order_in_a_tar_decides_nothing(names: list[str]) -> None:
    found = group(names)
    assert {key: sorted(members) for key, members in found.samples.items()} == {
        "a": ["a.0.wav", "a.1.wav"],
        "b.x": ["b.x.txt", "b.x.wav"],
        "b.y": ["b.y.wav"],
        "c": ["c.txt", "c.wav"],
    }
    assert found.at_last_dot == 2
    assert found.left_out == {"no_ending": ["d"], "metadata": ["__e__"], "hidden": [".f.g"]}
