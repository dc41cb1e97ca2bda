"""Blocks: every input once and in order, and a change of one input changes the block that it lies in and no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hypothesis import assume, given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from llaso_data.pipeline.blocks import PlannedBlock, ends_block, plan
from llaso_data.recipe import Blocks
from llaso_data.records import GIVEN, Input, Source, Utterance, utterance_id

ROOMY = Blocks(clips=4, max_clips=10**6, megabytes=1.0)


def an_input(path: str, container: str = "c", size_bytes: int = 0, version: str = "1", text: str = "hi") -> Input:
    id = utterance_id("corpus", path)
    utterance = Utterance(
        id=id, recording=id, source=Source(corpus="corpus", uri=f"/{path}"), text=text, text_origin=GIVEN
    )
    return Input(utterance=utterance, container=container, size_bytes=size_bytes, version=version)


def planned(inputs: Sequence[Input], settings: Blocks = ROOMY, observing: str = "o") -> list[PlannedBlock]:
    return list(plan(iter(inputs), settings, observing))


def names(inputs: Sequence[Input], settings: Blocks = ROOMY) -> set[str]:
    return {block.name for block in planned(inputs, settings)}


def runs(inputs: Sequence[Input], settings: Blocks) -> list[list[Input]]:
    """The inputs between borders that depend on one input alone."""
    found: list[list[Input]] = [[]]
    for item in inputs:
        found[-1].append(item)
        if ends_block(item, settings):
            found.append([])
    return found


paths = st.sets(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=80).map(sorted)
corpora = paths.map(lambda found: [an_input(path) for path in found])
settings = st.builds(
    Blocks, clips=st.integers(1, 30), max_clips=st.integers(1, 12), megabytes=st.sampled_from([0.001, 1.0, 64.0])
)


@run_with(deadline=None)
@given(
    st.lists(st.tuples(paths, st.integers(0, 200_000)), min_size=1, max_size=4),
    settings,
)
def test_every_input_is_in_one_block_in_order_and_no_block_is_too_long(
    containers: list[tuple[list[str], int]], settings: Blocks
) -> None:
    inputs = [
        an_input(f"{number}/{path}", container=str(number), size_bytes=size_bytes)
        for number, (found, size_bytes) in enumerate(containers)
        for path in found
    ]
    blocks = planned(inputs, settings)
    assert [item for block in blocks for item in block.inputs] == inputs
    assert all(0 < len(block.inputs) <= settings.max_clips for block in blocks)
    assert all(len({item.container for item in block.inputs}) == 1 for block in blocks)
    assert len({block.name for block in blocks}) == len(blocks)
    assert planned(inputs, settings) == blocks


@run_with(deadline=None)
@given(corpora, st.text("abcdefgh", min_size=1, max_size=6))
def test_an_added_input_changes_its_own_block_or_cuts_it_in_two(inputs: list[Input], path: str) -> None:
    added = an_input(path)
    assume(added not in inputs)
    more = sorted([*inputs, added], key=lambda item: item.utterance.source.uri)
    before, after = names(inputs), names(more)
    assert len(before - after) <= 1
    assert 1 <= len(after - before) <= 2
    touched = [block for block in planned(inputs) if block.name not in after]
    held = [item for block in planned(more) if block.name not in before for item in block.inputs]
    assert sorted(item.utterance.id for block in touched for item in block.inputs) == sorted(
        item.utterance.id for item in held if item != added
    )


@run_with(deadline=None)
@given(corpora, st.text("abcdefgh", min_size=1, max_size=6), settings)
def test_where_max_clips_binds_a_change_stays_between_two_borders(
    inputs: list[Input], path: str, settings: Blocks
) -> None:
    added = an_input(path)
    assume(added not in inputs)
    more = sorted([*inputs, added], key=lambda item: item.utterance.source.uri)
    around = next(run for run in runs(more, settings) if added in run)
    if ends_block(added, settings):  # it cuts what was one run
        following = runs(more, settings)[runs(more, settings).index(around) + 1]
        around = [*around, *following]
    before = names(more, settings)
    changed = [block for block in planned(inputs, settings) if block.name not in before]
    assert {item.utterance.id for block in changed for item in block.inputs} <= {item.utterance.id for item in around}


@run_with(deadline=None)
@given(corpora, st.data())
def test_a_changed_file_or_transcript_changes_one_block(inputs: list[Input], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(inputs) - 1))
    old = inputs[place]
    new = data.draw(
        st.sampled_from(
            [
                dataclasses.replace(old, version="2"),
                dataclasses.replace(old, utterance=dataclasses.replace(old.utterance, text="ho")),
                dataclasses.replace(old, utterance=dataclasses.replace(old.utterance, language="en")),
            ]
        )
    )
    changed = [*inputs[:place], new, *inputs[place + 1 :]]
    before, after = planned(inputs), planned(changed)
    different = [one for one, other in zip(before, after, strict=True) if one.name != other.name]
    assert len(different) == 1 and old in different[0].inputs


def test_what_observes_is_part_of_every_name() -> None:
    inputs = [an_input(path) for path in "abcdefghij"]
    assert not {b.name for b in planned(inputs)} & {b.name for b in planned(inputs, observing="another model")}


def test_names_do_not_change_between_releases() -> None:
    """A changed literal would observe every corpus again."""
    (block,) = planned([an_input("a.wav", text="grüß \N{SNOWMAN}\u200b")], Blocks(clips=1))
    assert block.name == "6dea79b9ae42003b5fa52295bf8b0ea8"


def test_blocks_have_about_the_expected_number_of_clips_and_bytes() -> None:
    inputs = [an_input(f"{number:05d}.wav", size_bytes=100_000) for number in range(20_000)]
    by_clips = planned(inputs, Blocks(clips=50, megabytes=1000.0))
    by_bytes = planned(inputs, Blocks(clips=1000, megabytes=2.0))  # twenty of these files
    assert 40 < len(inputs) / len(by_clips) < 60
    assert 16 < len(inputs) / len(by_bytes) < 24
