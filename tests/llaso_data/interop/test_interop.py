"""Shards as the datasets of other libraries: all give the samples of the reader, split exactly, shuffled by a seed."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
import torch.utils.data

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.interop import datasets as of_datasets
from llaso_data.interop import lhotse as of_lhotse
from llaso_data.interop import torch as of_torch
from llaso_data.interop import webdataset as of_webdataset
from llaso_data.shards import foreign, reader
from llaso_data.shards.tar import ShardError
from llaso_data.stream.fetch import BadSample
from tests.conftest import Clip
from tests.support.paths import REPOSITORY
from tests.support.shard_sets import write_set
from tests.support.tars import packed

datasets = pytest.importorskip("datasets")
lhotse = pytest.importorskip("lhotse")

GOLDEN = str(REPOSITORY / "shards" / "golden")

Told = tuple[list[bytes], list[str | None], str | None]
"""Of a sample: its sounds as bytes of float32, what is said in each, the language."""


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """40 samples in 8 shards."""
    out = tmp_path_factory.mktemp("interop") / "many"
    write_set(out, [0.1 + 0.01 * n for n in range(40)], 5, sound=True)
    return str(out)


def other_tars(clips: list[Clip]) -> bytes:
    """Real clips as other programs keep them: parts apart, links, several sounds, another rate, names with dots."""
    wav, other = (clip.path.read_bytes() for clip in clips[:2])
    return packed(
        [
            ("a.wav", wav),
            ("b.flac", stereo(clips[2].path)),
            ("b.json", b'{"sentence": "a sentence", "messages": "none of ours"}'),
            ("a.txt", f" {clips[0].text}\n".encode()),
            ("c.wav", "-> a.wav"),
            ("c.pyd", b"cos\nsystem\n(S'false'\ntR."),
            ("d.1.wav", other),
            ("d.0.wav", wav),
            ("d.0.txt", b"erstens"),
            ("talk_1.5_2.wav", wav),
            ("talk_1.5_2.json", b'{"text": "dotted"}'),
        ]
    )


def stereo(path: Path) -> bytes:
    """The clip at 44.1 kHz with two channels, as FLAC."""
    mono, _ = soundfile.read(path, dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, np.stack([mono, 0.5 * mono], axis=1), 44_100, format="FLAC", subtype="PCM_24")
    return file.getvalue()


@pytest.fixture(scope="module")
def elsewhere(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("interop") / "elsewhere"
    out.mkdir()
    (out / "x.tar").write_bytes(other_tars(clips))
    foreign.index_foreign(str(out), language="nl", task="asr")
    return str(out)


def by_webdataset(uri: str, **options: Any) -> Iterator[tuple[str, list[bytes]]]:
    for sample in of_webdataset.pipeline(uri, **options):
        sounds = {name: value for name, value in sample.items() if isinstance(value, np.ndarray)}
        yield sample["__key__"], [sounds[name].tobytes() for name in sorted(sounds)]


def by_torch(uri: str, **options: Any) -> Iterator[tuple[str, list[bytes]]]:
    for sample in of_torch.dataset(uri, **options):
        yield sample.key, [one.tobytes() for one in sample.sounds]


def by_datasets(uri: str, **options: Any) -> Iterator[tuple[str, list[bytes]]]:
    for row in of_datasets.dataset(uri, **options):
        assert {one["sampling_rate"] for one in row["audios"]} == {audio.SAMPLE_RATE_HZ}
        assert {one["array"].dtype for one in row["audios"]} == {np.dtype("float32")}
        yield row["key"], [one["array"].tobytes() for one in row["audios"]]


def by_lhotse(uri: str, **options: Any) -> Iterator[tuple[str, list[bytes]]]:
    found: dict[str, list[bytes]] = {}
    for cut in of_lhotse.cut_set(uri, **options):
        found.setdefault(cut.custom["key"], []).append(cut.load_audio()[0].tobytes())
    yield from found.items()


VIEWS: dict[str, Callable[..., Iterator[tuple[str, list[bytes]]]]] = {
    "webdataset": by_webdataset,
    "torch": by_torch,
    "datasets": by_datasets,
    "lhotse": by_lhotse,
}


def stored(uri: str) -> list[tuple[str, list[bytes]]]:
    """Keys and sounds as the reader of shards and the one decoder give them, in the order of the index."""
    return [
        (
            key,
            [
                audio.to_float32(audio.decode_bytes(data)).tobytes()
                for name, data in sorted(parts.items())
                if name.rpartition(".")[2] in ("wav", "flac")
            ],
        )
        for key, parts in reader.iterate(uri)
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_gives_the_samples_of_the_shards(view: str, many: str) -> None:
    for uri in (GOLDEN, many):
        assert list(VIEWS[view](uri)) == stored(uri)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_gives_the_samples_of_tars_made_elsewhere(view: str, elsewhere: str) -> None:
    expected = stored(elsewhere)
    assert [(key, len(sounds)) for key, sounds in expected] == [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("talk_1", 1)]
    assert list(VIEWS[view](elsewhere)) == expected


@pytest.mark.parametrize("view", VIEWS)
def test_a_store_gives_what_a_disk_gives(view: str) -> None:
    store = fsspec.filesystem("memory")
    store.put(GOLDEN, "/interop", recursive=True)
    try:
        assert list(VIEWS[view]("memory://interop")) == stored(GOLDEN)
    finally:
        store.rm("/interop", recursive=True)


def test_texts_and_languages_are_those_of_the_records() -> None:
    expected = {
        "0c4393d5f8d8a7ecfb5d4df6b20c4438": (["Write this down.", "The sun shone."], "en"),
        "0e91aa4910f6166ccc64bc77329edffe": (["The north wind blew."], "en"),
        "868690f60750bc3595bd3785b9574dcf": (["Buenos días."], "es"),
        "9b8fe32417bda62544b7af31f9d752b8": (["你好"], "zh"),
    }
    assert {
        sample["__key__"]: ([one["text"] for one in sample["json"]["audios"]], sample["__language__"])
        for sample in of_webdataset.pipeline(GOLDEN)
    } == expected
    assert {
        sample.key: ([one["text"] for one in sample.content["audios"]], sample.language)
        for sample in of_torch.dataset(GOLDEN)
    } == expected
    for row in of_datasets.dataset(GOLDEN):
        texts, language = expected[row["key"]]
        assert [one["text"] for one in row["audios"]] == texts
        assert {row["language"], *(one["language"] for one in row["audios"])} == {language}
        assert row["messages"][-1]["content"] == [{"type": "text", "text": texts[-1], "audio": None}]
        asked = [part["audio"] for part in row["messages"][0]["content"] if part["type"] == "audio"]
        assert asked == [one["part"] for one in row["audios"]]
    told: dict[str, list[str]] = {}
    for cut in of_lhotse.cut_set(GOLDEN):
        (segment,) = cut.supervisions
        told.setdefault(cut.custom["key"], []).append(segment.text)
        assert segment.language == expected[cut.custom["key"]][1]
    assert told == {key: texts for key, (texts, _) in expected.items()}


def test_texts_of_tars_made_elsewhere_are_found_beside_their_audio(elsewhere: str, clips: list[Clip]) -> None:
    expected = {"a": [clips[0].text], "b": ["a sentence"], "c": [None], "d": ["erstens", None], "talk_1": ["dotted"]}
    rows = list(of_datasets.dataset(elsewhere))
    assert {row["key"]: [one["text"] for one in row["audios"]] for row in rows} == expected
    assert {row["language"] for row in rows} == {"nl"} and not any(row["messages"] for row in rows)
    told: dict[str, list[str | None]] = {}
    for cut in of_lhotse.cut_set(elsewhere):
        told.setdefault(cut.custom["key"], []).append(cut.supervisions[0].text)
        assert cut.supervisions[0].language == "nl"
    assert told == expected


def test_fields_that_other_programs_use_otherwise_are_left_out(tmp_path: Path) -> None:
    wav = audio.encode(np.arange(800, dtype=np.int16), "wav")
    fields: list[dict[str, Any]] = [
        {"messages": 5},
        {"messages": [{"content": [3]}], "text": {"a": 1}},
        {"audios": [{"part": "wav", "words": [{"text": "x", "start_s": "y", "end_s": 1}], "speaker": "b", "text": 5}]},
        {"audios": {"x": 1}, "language": 7},
    ]
    members = [(f"{n}.{kind}", data) for n, one in enumerate(fields) for kind, data in (("wav", wav), ("json", one))]
    (tmp_path / "x.tar").write_bytes(
        packed((name, data if isinstance(data, bytes) else json.dumps(data).encode()) for name, data in members)
    )
    foreign.index_foreign(str(tmp_path))
    rows = list(of_datasets.dataset(str(tmp_path)))
    assert [json.loads(row["json"]) for row in rows] == fields
    assert [(row["messages"], row["language"], row["audios"][0]["text"]) for row in rows] == [([], None, None)] * 4
    cuts = list(of_lhotse.cut_set(str(tmp_path)))
    segments = [cut.supervisions[0] for cut in cuts]
    assert [(one.text, one.speaker, one.alignment) for one in segments] == [(None, None, None)] * 4


def test_nothing_in_a_tar_is_run(elsewhere: str, tmp_path: Path) -> None:
    pickled = {sample["__key__"]: sample.get("pyd") for sample in of_webdataset.pipeline(elsewhere)}["c"]
    assert pickled == b"cos\nsystem\n(S'false'\ntR."
    made = tmp_path / "made"
    for uri in (f"pipe:touch {made}", f"pipe://touch {made}"):
        with pytest.raises(LLaSOError):
            list(of_webdataset.pipeline(uri))
    assert not made.exists()


def test_a_cut_has_the_words_the_speaker_and_stable_ids() -> None:
    cuts = of_lhotse.cut_set(GOLDEN)
    assert [cut.id for cut in cuts] == [
        "0e91aa4910f6166ccc64bc77329edffe",
        "868690f60750bc3595bd3785b9574dcf",
        "0c4393d5f8d8a7ecfb5d4df6b20c4438-0",
        "0c4393d5f8d8a7ecfb5d4df6b20c4438-1",
        "9b8fe32417bda62544b7af31f9d752b8",
    ]
    first = next(iter(cuts))
    (segment,) = first.supervisions
    assert (segment.speaker, segment.gender, segment.custom["environment"]) == ("espeak-en-us", "female", "synthetic")
    assert segment.alignment["word"][1] == ("north", 0.303, 0.385, -0.25)
    assert (first.num_samples, first.sampling_rate, first.duration) == (24_053, 16_000, 24_053 / 16_000)
    assert first.truncate(offset=0.3, duration=0.5).supervisions[0].alignment["word"][1].symbol == "north"
    lhotse.validate(first, read_data=True)


def by_workers(dataset: Any) -> list[Any]:
    return list(torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2))


class Ids(torch.utils.data.Dataset[list[str]]):
    def __getitem__(self, cuts: Any) -> list[str]:
        return [cut.id for cut in cuts]


def keys_of_rank(view: str, uri: str, rank: int) -> list[str]:
    """The keys that one of two ranks reads with two workers; the environment says which rank it is."""
    if view == "webdataset":
        return [sample["__key__"] for sample in by_workers(of_webdataset.pipeline(uri, shuffle=10))]
    if view == "torch":
        return [sample.key for sample in by_workers(of_torch.dataset(uri, shuffle=True))]
    if view == "datasets":
        from datasets.distributed import split_dataset_by_node

        split = split_dataset_by_node(of_datasets.dataset(uri).shuffle(seed=1), rank, 2)
        return [row["key"] for row in by_workers(split)]
    cuts = of_lhotse.cut_set(uri, shuffle_shards=True, split_for_dataloading=True)
    sampler = lhotse.dataset.DynamicCutSampler(cuts, max_cuts=2, rank=0, world_size=1)
    return [key for batch in by_workers(lhotse.dataset.IterableDatasetWrapper(Ids(), sampler)) for key in batch]


@pytest.mark.parametrize("view", VIEWS)
def test_ranks_and_workers_share_every_sample_once(view: str, many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[list[str]] = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        keys.append(keys_of_rank(view, many, rank))
    assert sorted([*keys[0], *keys[1]]) == sorted(key for key, _ in stored(many))
    assert len(keys[0]) == len(keys[1])


def shuffled(view: str, uri: str, seed: int) -> list[str]:
    if view == "webdataset":
        return [sample["__key__"] for sample in of_webdataset.pipeline(uri, shuffle=100, seed=seed)]
    if view == "torch":
        return [sample.key for sample in of_torch.dataset(uri, shuffle=True, seed=seed)]
    if view == "datasets":
        return [row["key"] for row in of_datasets.dataset(uri).shuffle(seed=seed, buffer_size=100)]
    return [cut.id for cut in of_lhotse.cut_set(uri, shuffle_shards=True, seed=seed)]


@pytest.mark.parametrize("view", VIEWS)
def test_the_seed_decides_the_order(view: str, many: str) -> None:
    in_order = [key for key, _ in stored(many)]
    one, again, other = (shuffled(view, many, seed) for seed in (1, 1, 2))
    assert one == again and one != other and one != in_order
    assert sorted(one) == sorted(other) == sorted(in_order)


def test_each_epoch_has_its_own_order(many: str) -> None:
    dataset = of_torch.dataset(many, shuffle=True, seed=1)
    first = [sample.key for sample in dataset]
    dataset.set_epoch(1)
    second = [sample.key for sample in dataset]
    dataset.set_epoch(0)
    assert first != second and sorted(first) == sorted(second) and [sample.key for sample in dataset] == first
    cuts = of_lhotse.cut_set(many, shuffle_shards=True)
    assert [cut.id for cut in cuts] != [cut.id for cut in cuts]
    pipeline = of_webdataset.pipeline(many, shuffle=10)
    assert [sample["__key__"] for sample in pipeline] != [sample["__key__"] for sample in pipeline]


def test_workers_that_stay_see_the_epoch(many: str) -> None:
    dataset = of_torch.dataset(many, shuffle=True)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    first = [sample.key for sample in loader]
    dataset.set_epoch(1)
    assert [sample.key for sample in loader] == [sample.key for sample in dataset] != first


@pytest.mark.parametrize("view", VIEWS)
def test_a_damaged_sample_is_named_and_left_out_only_on_request(view: str, tmp_path: Path) -> None:
    keys = write_set(tmp_path, [0.1] * 6, 3, sound=True)
    index = reader.open_index(str(tmp_path))
    row = index.rows_of(1)[1]
    part = next(part for part in row["parts"] if part["ext"] == "flac")
    with open(index.shards[1], "r+b") as file:
        file.seek(part["offset"] + 9)
        file.write(b"\xff\xff")
    with pytest.raises(ShardError, match=f"{row['key']} cannot be used: flac has another CRC-32"):
        list(VIEWS[view](str(tmp_path)))
    told: list[BadSample] = []
    assert [key for key, _ in VIEWS[view](str(tmp_path), on_bad=told.append)] == [k for k in keys if k != row["key"]]
    assert [one.key for one in told] == [row["key"]]


def test_all_go_to_another_process_as_they_are(many: str) -> None:
    cuts = pickle.loads(pickle.dumps(of_lhotse.cut_set(many)))
    assert [cut.id for cut in cuts] == [key for key, _ in stored(many)]
    for made in (
        of_webdataset.pipeline(many, shuffle=100),
        of_torch.dataset(many, shuffle=True),
        of_datasets.dataset(many).shuffle(seed=1),
    ):
        assert [str(one) for one in pickle.loads(pickle.dumps(made))] == [str(one) for one in made]


@pytest.mark.parametrize(
    ("package", "extra", "made"),
    [("datasets", "interop", of_datasets.dataset), ("lhotse", "lhotse", of_lhotse.cut_set)],
)
def test_a_package_that_is_not_there_is_named_with_its_extra(
    package: str, extra: str, made: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LLaSOError, match=rf"{package}.*pip install 'llaso\[{extra}\]'"):
        made(GOLDEN)


def test_a_folder_without_an_index_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    for view in VIEWS.values():
        with pytest.raises(LLaSOError, match="llaso-data index"):
            list(view(str(tmp_path)))


def test_the_package_loads_nothing() -> None:
    heavy = "torch", "webdataset", "datasets", "lhotse", "pyarrow"
    code = f"import sys, llaso_data.interop; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
