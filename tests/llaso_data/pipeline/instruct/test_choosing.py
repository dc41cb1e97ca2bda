"""Which rows go to which split, are paired, and become samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.tasks import all_tasks
from llaso_data.io.prng import noise
from llaso_data.pipeline.instruct.candidates import Candidates, OtherRecordings
from llaso_data.pipeline.instruct.mix import groups_of
from llaso_data.pipeline.instruct.pairs import partners, within_splits
from llaso_data.pipeline.instruct.selection import Selection
from llaso_data.pipeline.instruct.splits import NO_SPLIT, assign, empty_splits, shared_texts
from llaso_data.recipe import Instruct
from llaso_data.records import SPLITS

NAMES = ("asr", "gender")


def candidates(
    rows: int, speakers: int = 10, texts: npt.NDArray[np.uint64] | None = None, each: tuple[int, ...] = (0, 1)
) -> Candidates:
    """Rows of speakers in turn, each a candidate of the tasks ``each``."""
    zeros = np.zeros(rows, np.uint64)
    return Candidates(
        names=NAMES,
        row=np.repeat(np.arange(rows, dtype=np.uint32), len(each)),
        task=np.tile(np.array(each, np.uint8), rows),
        modalities=np.ones(rows * len(each), np.uint8),
        turn=np.zeros(rows * len(each), np.uint8),
        made_pairs=np.zeros(rows * len(each), bool),
        ids=noise(1, rows),
        speaker=noise(2, speakers)[np.arange(rows) % speakers],
        recording=noise(3, rows),
        text=zeros if texts is None else texts,
        repeats=np.zeros(rows, bool),
        split=np.full(rows, -1, np.int8),
        not_fed={},
    )


def test_a_speaker_is_in_one_split_and_new_rows_move_nobody() -> None:
    few, many = candidates(300, 30), candidates(3000, 30)
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    splits = assign(many, shares, "speaker", given=True)
    assert {*splits.tolist()} == {0, 1, 2}
    for speaker in range(30):
        assert len({*splits[speaker::30].tolist()}) == 1
    assert (assign(few, shares, "speaker", given=True) == splits[:300]).all()


def test_shares_are_kept_and_a_split_without_a_share_gets_nothing() -> None:
    found = candidates(20_000, 20_000)
    splits = assign(found, {"train": 0.9, "test": 0.1}, "speaker", given=True)
    assert 0.89 < (splits == SPLITS.index("train")).mean() < 0.91
    assert not (splits == SPLITS.index("validation")).any()
    assert (assign(found, {}, "speaker", given=True) == NO_SPLIT).all()


def test_the_split_that_a_source_names_counts_unless_told_otherwise() -> None:
    found = candidates(100, 100)
    found.split[:] = SPLITS.index("validation")
    assert (assign(found, {"train": 1.0}, "speaker", given=True) == SPLITS.index("validation")).all()
    assert (assign(found, {"train": 1.0}, "speaker", given=False) == SPLITS.index("train")).all()


def test_a_text_of_the_test_set_leaves_the_other_splits() -> None:
    texts = np.array([7, 7, 7, 8, 8, 9, 0, 0], np.uint64)
    splits = np.array([0, 2, 2, 0, 1, 0, 0, 2], np.int8)
    assert shared_texts(candidates(8, texts=texts), splits).tolist() == [
        True, False, False, True, False, False, False, False,
    ]  # fmt: skip


def chosen_rows(found: Candidates, selection: Selection) -> list[int]:
    return [int(row) for row in found.row[selection.next()]]


def test_the_same_rows_are_chosen_again_and_another_seed_chooses_others() -> None:
    found = candidates(1000)
    splits, usable = np.full(1000, NO_SPLIT, np.int8), np.ones(2000, bool)
    first, again, other = (chosen_rows(found, Selection(found, splits, usable, None, 100, seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 100


def test_what_fails_is_replaced_until_the_total_is_reached() -> None:
    found = candidates(200)
    groups = groups_of("balanced", NAMES, all_tasks())
    selection = Selection(found, np.full(200, NO_SPLIT, np.int8), np.ones(400, bool), groups, 100, 0)
    first = selection.next()
    assert np.bincount(found.task[first]).tolist() == [50, 50]
    failed = first[found.task[first] == 1][:20]
    selection.fail(failed)
    second = selection.next()
    assert np.bincount(found.task[second], minlength=2).tolist() == [0, 20]
    assert not np.isin(second, first).any()
    assert not len(selection.next())


def test_what_a_task_cannot_give_comes_from_the_others() -> None:
    found = candidates(60)
    groups = groups_of("balanced", NAMES, all_tasks())
    selection = Selection(found, np.full(60, NO_SPLIT, np.int8), np.ones(120, bool), groups, 100, 0)
    made = 0
    for _ in range(10):
        chosen = selection.next()
        failed = chosen[found.task[chosen] == 1]
        selection.fail(failed)
        made += len(chosen) - len(failed)
    assert made == 60  # all of the task that can be asked; the other gave nothing


def test_pairs_stay_in_their_split_and_half_of_them_are_of_one_speaker() -> None:
    found = candidates(2000, 20)
    splits = assign(found, {"train": 0.5, "test": 0.5}, "speaker", given=True)
    rows = np.arange(2000)
    other, same = partners(found, splits, rows, seed=0)
    assert (other >= 0).all()
    assert (other != rows).all()
    assert (splits[other] == splits).all()
    assert ((found.speaker[other] == found.speaker) == same).all()
    assert 0.45 < same.mean() < 0.55


def test_a_split_with_one_speaker_has_no_pairs() -> None:
    found = candidates(10, 1)
    other, same = partners(found, np.zeros(10, np.int8), np.arange(10), seed=0)
    assert (other == -1).all()
    assert not same.any()


def test_speakers_of_one_recording_are_never_paired_with_themselves() -> None:
    found = candidates(6, 6)
    other, same = partners(found, np.zeros(6, np.int8), np.arange(6), seed=3)
    assert not same.any()
    assert (other != np.arange(6)).all()


def test_rows_are_asked_again_only_where_there_are_no_others() -> None:
    found = candidates(100).times(2)
    splits, usable = np.full(100, NO_SPLIT, np.int8), np.ones(400, bool)
    once = Selection(found, splits, usable, None, 200, 0).next()
    assert not found.turn[once].any()
    more = Selection(found, splits, usable, None, 300, 0).next()
    assert np.bincount(found.turn[more]).tolist() == [200, 100]


def test_pairs_across_splits_are_taken_apart_and_paired_anew_where_the_speaker_is_known() -> None:
    builds = all_tasks().build
    names = ("asr", "speaker_verification")
    found = replace(candidates(6, 3), names=names)
    found.speaker[4] = 0
    splits = np.array([0, 0, 1, 2, 0, 2], np.int8)
    beside = np.array([1, 2, 4, 5], np.uint32)  # 1 goes with 0, 2 with 3, 4 and 5 with a recording that no row is about
    places = np.array([found.recording[0], found.recording[3], 99, 99], np.uint64)
    found.others = OtherRecordings(beside, np.zeros(4, np.uint8), places, found.recording)
    left, without = within_splits(found, splits, builds)
    assert np.flatnonzero(without[0]).tolist() == [2, 4]  # row 5, of the test split, keeps what 4 has too
    assert not without[1].any()
    assert left.not_fed == {"speaker_verification": {"the second recording is in another split": 1}}
    of_pairs = left.row[left.task == 1].tolist()
    assert of_pairs == [0, 1, 2, 3, 5] and left.row[left.task == 0].tolist() == [*range(6)]
    assert left.row[left.made_pairs].tolist() == [2]


def test_without_splits_no_pair_is_taken_apart() -> None:
    found = replace(candidates(3), names=("asr", "speaker_verification"))
    found.others = OtherRecordings(
        np.array([0], np.uint32), np.array([0], np.uint8), found.recording[1:2], found.recording
    )
    left, without = within_splits(found, np.full(3, NO_SPLIT, np.int8), all_tasks().build)
    assert left is found and not without.any()


def test_a_split_that_gets_no_row_is_said() -> None:
    shares = Instruct(split={"train": 0.9, "validation": 0.0, "test": 0.1})
    assert empty_splits(np.array([0, 2], np.int8), shares) == []
    (said,) = empty_splits(np.array([0, 0], np.int8), shares)
    assert said.startswith("no row is in the split test: rows go by their speaker")
