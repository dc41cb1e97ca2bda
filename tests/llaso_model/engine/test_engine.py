"""The engine: rows come and go as they like, and each gets the tokens that it gets alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_model.engine.backends.flat_reader import FlatReader, flat_model
from llaso_model.engine.backends.flat_text import FlatText
from llaso_model.engine.backends.padded_reader import PaddedReader
from llaso_model.engine.backends.torch import TorchBackend
from llaso_model.engine.engine import Engine, Limits, answers_of
from llaso_model.engine.requests import Busy, Request, Sampling
from llaso_model.sounds import InputError
from tests.llaso_model.modeling.test_llaso import open_gates, sound
from tests.support.training_fixtures import small_model, small_tokenizer

NEAR = 1e-4  # where the two best logits are nearer, which is chosen is left to rounding


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return small_tokenizer()


def model_of(tokenizer: Any, fusion: str) -> tuple[Any, Any]:
    model, processor = small_model(tokenizer, "whisper", fusion)
    if fusion == "cross_attention":
        open_gates(model)
    with torch.no_grad():  # as training would: else all tokens are as likely
        model.get_output_embeddings().weight.mul_(50)
    processor.max_audio_length = 2.0  # so that audio of several windows is quick
    return model.eval(), processor


@pytest.fixture(scope="module", params=["splice", "cross_attention"])
def parts(request: pytest.FixtureRequest, tokenizer: Any) -> tuple[Any, Any]:
    """A small model with random weights, and its processor."""
    return model_of(tokenizer, request.param)


CONVERSATIONS: list[tuple[str, tuple[float, ...]]] = [
    ("What is said?", (1.3,)),
    ("Say it again", ()),
    ("First <audio> then <audio>: which is longer?", (1.0, 1.7)),
    ("Hear <audio> and answer", (0.3,)),
    ("What is it that is said in this rather long instruction of many words?", (1.9,)),
    ("And this?", (2.9, 5.1)),
]


def conversation(processor: Any, number: int) -> list[dict[str, Any]]:
    text, lengths = CONVERSATIONS[number]
    return list(processor.instruction(text, [sound(length, number + place) for place, length in enumerate(lengths)]))


@dataclass
class Alone:
    """What ``generate`` gives for each request by itself."""

    model: Any
    processor: Any
    known: dict[tuple[int, int], tuple[list[int], list[float]]] = field(default_factory=dict)

    def __call__(self, number: int, count: int) -> tuple[list[int], list[float]]:
        """(tokens, how far apart the two best logits of each were)."""
        if (number, count) not in self.known:
            inputs = self.processor.batch([conversation(self.processor, number)])
            out = self.model.generate(
                **inputs, max_new_tokens=count, do_sample=False, output_scores=True, return_dict_in_generate=True
            )
            best = [scores[0].topk(2).values for scores in out.scores]
            self.known[number, count] = out.sequences[0].tolist(), [float(a - b) for a, b in best]
        return self.known[number, count]


@pytest.fixture(scope="module")
def alone(parts: tuple[Any, Any]) -> Alone:
    return Alone(*parts)


def differs(found: Sequence[int], wanted: tuple[list[int], list[float]]) -> bool:
    """Whether tokens differ, which they may only where two logits are as good as equal."""
    tokens, margins = wanted
    if list(found) == tokens:
        return False
    place = next(n for n, (a, b) in enumerate(zip(found, tokens, strict=False)) if a != b)
    assert margins[place] < NEAR
    return True


@dataclass(frozen=True)
class Arrival:
    """A request.

    Attributes:
        number: Which conversation.
        count: How many tokens.
        after: Steps before it comes.
        cancelled_after: Tokens after which it is cancelled.
        wrong: Its answer is expected, with this token of it wrong; None: nothing is expected.
    """

    number: int
    count: int
    after: int
    cancelled_after: int | None
    wrong: int | None


arrivals = st.lists(
    st.builds(
        Arrival,
        st.integers(0, len(CONVERSATIONS) - 1),
        st.sampled_from([1, 4, 9]),
        st.integers(0, 3),
        st.sampled_from([None, None, None, 2]),
        st.sampled_from([None, None, 0, 3, 99]),
    ),
    min_size=1,
    max_size=7,
)


@pytest.fixture(scope="module")
def backends(parts: tuple[Any, Any]) -> dict[str, TorchBackend]:
    """Each way of reading: prompts by themselves, padded, in a line, and that with reordered weights."""
    return {
        "alone": TorchBackend(*parts),
        "padded": TorchBackend(*parts, padding=0.5),
        "flat": TorchBackend(*parts, flat=flat_model(parts[0], packs=False)),
        "packed": TorchBackend(*parts, flat=flat_model(parts[0])),
    }


@settings(max_examples=8)
@given(arrivals, st.integers(1, 4), st.sampled_from(["alone", "padded", "flat", "packed", "packed"]))
def test_each_row_has_the_tokens_that_it_has_alone(parts, backends, alone, arrivals, slots, way):
    assert isinstance(backends[way].reader, FlatReader if way in ("flat", "packed") else PaddedReader)
    engine = Engine(backends[way], Limits(slots=slots))
    handles = []
    for arrival in arrivals:
        for _ in range(arrival.after):
            engine.step()
        expected: tuple[int, ...] = ()
        if arrival.wrong is not None:
            tokens, _ = alone(arrival.number, arrival.count)
            expected = (*tokens[: arrival.wrong], 7, *tokens[arrival.wrong + 1 :])
        sampling = Sampling(max_new_tokens=arrival.count)
        asked = Request(conversation(parts[1], arrival.number), sampling, expected=expected)
        handles.append(engine.submit(asked))
    cancelled = {n: one for n, one in enumerate(arrivals) if one.cancelled_after is not None}
    while engine.step():
        assert engine.decoding <= slots
        for number in cancelled:
            if len(handles[number].tokens) >= 2:
                handles[number].cancel()
    different = 0
    for arrival, handle in zip(arrivals, handles, strict=True):
        answer = handle.result()
        tokens, margins = alone(arrival.number, arrival.count)
        if answer.finish_reason == "cancelled":
            tokens, margins = tokens[: len(answer.tokens)], margins
            assert arrival.cancelled_after is not None
        different += differs(answer.tokens, (tokens, margins))
    assert different <= len(arrivals) // 4
    assert engine.decoding == engine.waiting == 0


def test_both_ways_of_reading_prompts_and_both_kinds_of_cache_are_used(parts):
    """Rows of more than 512 tokens have a cache of their own; like prompts are read together."""
    model, processor = parts
    backend = TorchBackend(model, processor, padding=1.0)
    prompts = {
        slot: backend.prepare(Request(conversation(processor, 0), Sampling(max_new_tokens=count)))
        for slot, count in enumerate((4, 4, 600))
    }
    reader = backend.reader
    assert list(reader._groups(prompts)) == [[0, 1, 2]]
    backend.admit(prompts)
    first = backend.step([0, 1, 2])
    assert sorted(reader._caches) == [0, 1]
    assert first[0] == first[1] == first[2]
    backend.retire([0, 1, 2])
    assert not reader._caches and not reader._rows and not backend._rows


def test_a_row_that_leaves_makes_room_and_moves_no_other(parts):
    """Rows of two stores, in a line: as many as there are, the last takes the place of one that leaves."""
    model, processor = parts
    backend = TorchBackend(model, processor, flat=flat_model(model))
    asked = [(0, 4), (4, 600), (1, 4), (5, 4)]
    prompts = {
        slot: backend.prepare(Request(conversation(processor, number), Sampling(max_new_tokens=count)))
        for slot, (number, count) in enumerate(asked)
    }
    backend.admit(prompts)
    found = backend.step([0, 1, 2, 3])
    assert len(backend.reader._stores) > (model.config.fusion == "splice")
    backend.retire([0])
    for slots in ([1, 2, 3], [3], [2, 3, 1]):
        for slot, tokens in backend.step(slots).items():
            found[slot] += tokens
    alone = Alone(model, processor)
    for slot in (1, 2, 3):
        assert not differs(found[slot], alone(asked[slot][0], len(found[slot])))
    backend.retire([1, 2, 3])
    assert not backend.reader._stores and not backend.reader._rows


def test_a_language_model_that_cannot_share_steps_is_decoded_row_by_row(tokenizer):
    model, processor = model_of(tokenizer, "splice")
    model.language_model.config.sliding_window = 8
    model.language_model.config.layer_types = ["sliding_attention", "full_attention"]
    model.config.text_config = model.language_model.config
    backend = TorchBackend(model, processor)
    assert not backend.reader.shares_steps and flat_model(model) is None
    alone = Alone(model, processor)
    requests = [Request(conversation(processor, number), Sampling(max_new_tokens=6)) for number in (0, 2, 4)]
    for number, answer in zip((0, 2, 4), answers_of(Engine(backend).run(requests)), strict=True):
        assert not differs(answer.tokens, alone(number, 6))


def test_what_is_drawn_depends_on_the_seed_alone(parts):
    def drawn(seeds: Sequence[int], slots: int) -> list[tuple[int, ...]]:
        engine = Engine(TorchBackend(*parts, flat=flat_model(parts[0])), Limits(slots=slots))
        sampling = [Sampling(max_new_tokens=6, temperature=3.0, top_p=0.9, top_k=50, seed=seed) for seed in seeds]
        requests = [Request(conversation(parts[1], 0), one) for one in sampling]
        return [answer.tokens for answer in answers_of(engine.run(requests))]

    together = drawn([1, 2, 1, 3], 4)
    assert together[0] == together[2] and len(set(together)) == 3
    assert drawn([3], 1) == together[3:]


@pytest.mark.parametrize(
    "values", [{"repetition_penalty": 0.3}, {"repetition_penalty": 0.3, "no_repeat_ngram_size": 1}]
)
def test_repetitions_are_weighed_as_generate_weighs_them(parts, values):
    model, processor = parts
    inputs = processor.batch([conversation(processor, 0)])
    wanted = model.generate(**inputs, max_new_tokens=9, do_sample=False, **values)[0].tolist()
    others = model.generate(**inputs, max_new_tokens=9, do_sample=False, **dict(list(values.items())[:-1]))[0].tolist()
    request = Request(conversation(processor, 0), Sampling(max_new_tokens=9, **values))
    (answer,) = answers_of(Engine(TorchBackend(*parts, flat=flat_model(model))).run([request]))
    assert list(answer.tokens) == wanted != others


def test_text_streams_as_it_comes_and_ends_before_a_stop_string(parts):
    engine = Engine(TorchBackend(*parts))
    whole = engine.run([Request(conversation(parts[1], 2), Sampling(max_new_tokens=12))])[0].result().text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
    pieces: list[str] = []
    sampling = Sampling(max_new_tokens=12, stop=("never so", stop))
    handle = engine.submit(Request(conversation(parts[1], 2), sampling), pieces.append)
    while engine.step():
        pass
    answer = handle.result()
    assert "".join(pieces) == answer.text == whole[: whole.index(stop)] and len(pieces) > 1
    assert answer.finish_reason == "stop" and "".join(handle) == answer.text


def test_an_error_is_that_of_its_request(parts):
    class Damaged(TorchBackend):
        """Raises whenever slot 1 goes on after its second token."""

        def step(self, slots: Sequence[int]) -> dict[int, list[int]]:
            if 1 in slots and len(self._rows[1].tokens) == 2:
                raise RuntimeError("out of memory")
            return super().step(slots)

    engine = Engine(Damaged(*parts, flat=flat_model(parts[0], packs=False)))
    good = [Request(conversation(parts[1], number), Sampling(max_new_tokens=5)) for number in (0, 1, 3)]
    bad = Request([{"role": "user", "content": [{"type": "audio", "audio": b"no sound"}]}])
    first, hit, refused, last = engine.run([good[0], good[1], bad, good[2]])
    assert len(first.result().tokens) == len(last.result().tokens) == 5
    with pytest.raises(LLaSOError, match="RuntimeError: out of memory"):
        hit.result()
    assert refused.ended
    with pytest.raises(LLaSOError):
        refused.result()
    assert (engine.counts.answered, engine.counts.failed, engine.decoding) == (2, 1, 0)
    listener = engine.submit(good[0], lambda text: 1 / 0)
    while engine.step():
        pass
    assert isinstance(listener.error, ZeroDivisionError)


@pytest.mark.parametrize("is_flat", [True, False])
def test_a_prompt_that_cannot_be_read_leaves_the_rows_beside_it_as_they_are(parts, alone, is_flat: bool) -> None:
    class Damaged(TorchBackend):
        """Takes half of the mel bands of conversation 4."""

        def prepare(self, request: Request) -> Any:
            prompt = super().prepare(request)
            if "rather long" not in str(request.conversation):
                return prompt
            inputs = {**prompt.inputs, "input_features": prompt.inputs["input_features"][:, ::2]}
            return replace(prompt, inputs=inputs)

    backend = Damaged(*parts, flat=flat_model(parts[0]) if is_flat else None)
    engine = Engine(backend, Limits(slots=4))
    handles = []
    for number in (0, 2, 4, 3, 1):  # the last has to wait for a slot
        handles.append(engine.submit(Request(conversation(parts[1], number), Sampling(max_new_tokens=9))))
        if number == 2:
            engine.step()  # two rows go on while the others are read
    while engine.step():
        pass
    with pytest.raises(LLaSOError):
        handles.pop(2).result()
    for number, handle in zip((0, 2, 3, 1), handles, strict=True):
        differs(handle.result().tokens, alone(number, 9))
    assert not backend._rows and not backend.reader._rows


def test_rows_go_on_while_prompts_wait_for_theirs(parts, alone, monkeypatch) -> None:
    """Few frames fit in a line, so prompts that came together are read in turn, with the tokens of others."""
    monkeypatch.setattr("llaso_model.engine.backends.flat_reader._FRAMES", 200)
    model, processor = parts
    engine = Engine(TorchBackend(model, processor, flat=flat_model(model)), Limits(slots=5))
    requests = [Request(conversation(processor, number), Sampling(max_new_tokens=9)) for number in (0, 2, 3, 4, 1)]
    handles = [engine.submit(request) for request in requests]
    engine.step()
    counts = [len(handle.tokens) for handle in handles]
    if model.config.fusion == "splice":
        assert counts[0] == 1 and counts[-1] == 0
        handles[-1].cancel()
    while engine.step():
        pass
    for number, handle in zip((0, 2, 3, 4), handles[:4], strict=True):
        differs(handle.result().tokens, alone(number, 9))
    assert not engine.backend.reader._rows and not engine.backend.reader._stores


def test_what_is_held_is_bounded(parts):
    backend = TorchBackend(*parts)
    request = Request(conversation(parts[1], 1), Sampling(max_new_tokens=10))
    size = backend.prepare(request).tokens + 10
    engine = Engine(backend, Limits(slots=9, tokens=2 * size, waiting=3))
    handles = [engine.submit(request) for _ in range(3)]
    with pytest.raises(Busy):
        engine.submit(request)
    engine.step()
    assert (engine.decoding, engine.waiting) == (2, 1)
    with pytest.raises(InputError, match="more than the"):
        engine.submit(Request(request.conversation, Sampling(max_new_tokens=2 * size)))
    while engine.step():
        pass
    assert all(handle.ended for handle in handles)


def test_a_thread_decodes_for_others_and_a_closed_engine_owes_nothing(parts):
    engine = Engine(TorchBackend(*parts), Limits(slots=2))
    engine.start()
    request = Request(conversation(parts[1], 0), Sampling(max_new_tokens=6))
    texts: list[str] = []

    def ask() -> None:
        texts.append("".join(engine.submit(request)))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 5 and len(set(texts)) == 1
    assert [handle.result().text for handle in engine.run([request])] == texts[:1]
    ended = threading.Event()
    long = [engine.submit(Request(request.conversation, Sampling(max_new_tokens=4000))) for _ in range(3)]
    long[2].cancel()
    last = engine.submit(request, on_end=lambda handle: ended.set())
    engine.close()
    assert ended.is_set() and last.result().finish_reason == "cancelled"
    assert {handle.result().finish_reason for handle in long} == {"cancelled"}
    with pytest.raises(Busy, match="closed"):
        engine.submit(request)


@pytest.mark.parametrize(
    ("name", "value"), [("max_new_tokens", 0), ("temperature", -1), ("top_p", 0.0), ("top_k", -1), ("stop", ("",))]
)
def test_a_parameter_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=name):
        Sampling(**{name: value})


@pytest.mark.parametrize("way", ["alone", "flat"])
def test_an_answer_goes_on_from_what_it_was_begun_with(parts: tuple[Any, Any], backends, way: str) -> None:
    _, processor = parts
    backend = backends[way]
    for rules in ({}, {"repetition_penalty": 0.2}):  # of which the second makes it say again what it has said
        sampling = Sampling(max_new_tokens=10, **rules)
        (whole,) = answers_of(Engine(backend).run([Request(conversation(processor, 0), sampling)]))
        request = Request(conversation(processor, 0), replace(sampling, max_new_tokens=7), begun=whole.tokens[:3])
        (rest,) = answers_of(Engine(backend).run([request]))
        assert rest.tokens == whole.tokens[3:]


@pytest.mark.parametrize("begun", [0, 2])
def test_an_answer_ends_with_the_first_token_that_was_heard_after_a_time(tokenizer: Any, begun: int) -> None:
    model, processor = model_of(tokenizer, "splice")
    model.config.alignment_heads = [(0, 1), (1, 0)]
    engine = Engine(TorchBackend(model, processor, flat=flat_model(model)))
    sampling = Sampling(max_new_tokens=12, details=True)
    whole = answers_of(engine.run([Request(conversation(processor, 0), sampling)]))[0]
    given, heard_s = whole.tokens[:begun], whole.details.heard_s
    until_s = sorted(heard_s[begun:])[-3] + 1e-6
    (cut,) = answers_of(engine.run([Request(conversation(processor, 0), sampling, given, until_s)]))
    last = next(place for place, heard in enumerate(heard_s) if place >= begun and heard > until_s)
    assert cut.tokens == whole.tokens[begun : last + 1] and cut.finish_reason == "stop"
    model.config.alignment_heads = []
    (plain,) = answers_of(engine.run([Request(conversation(processor, 0), sampling, given, until_s)]))
    assert plain.tokens[: len(whole.tokens) - begun] == whole.tokens[begun:]  # it is not known when tokens were heard


def test_an_answer_that_was_expected_comes_in_few_steps(parts: tuple[Any, Any], backends) -> None:
    _, processor = parts

    def steps(expected: tuple[int, ...], **values: Any) -> tuple[tuple[int, ...], int]:
        engine = Engine(backends["packed"])
        sampling = Sampling(max_new_tokens=12, **values)
        (answer,) = answers_of(engine.run([Request(conversation(processor, 0), sampling, expected=expected)]))
        return answer.tokens, engine.counts.steps

    plain, _ = steps(())
    assert steps(plain) == (plain, 2)
    drawn, _ = steps((), temperature=2.0, seed=4)
    assert steps(drawn, temperature=2.0, seed=4) == (drawn, 2)


def test_the_next_turn_of_a_conversation_reads_what_is_new(parts: tuple[Any, Any], monkeypatch) -> None:
    model, processor = parts
    read: list[int] = []
    plain = FlatText.read

    def counting(self: FlatText, embeds: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        read.append(len(embeds))
        return plain(self, embeds, *args, **options)

    monkeypatch.setattr(FlatText, "read", counting)
    engine = Engine(TorchBackend(model, processor, flat=flat_model(model)))
    first = conversation(processor, 4)
    other = conversation(processor, 5)
    (said,) = answers_of(engine.run([Request(first, Sampling(max_new_tokens=6))]))
    answered = {"role": "assistant", "content": said.text}
    for turns in ([*first, answered, *conversation(processor, 1)], [*first, answered, *other], first, other):
        read.clear()
        (answer,) = answers_of(engine.run([Request(turns, Sampling(max_new_tokens=6))]))
        if model.config.fusion == "splice":
            known = 0 if turns is other else processor.batch([first])["input_ids"].shape[1]
            assert read[0] == 1 if turns is first else read[0] <= answer.prompt_tokens - known
        inputs = processor.batch([turns])
        out = model.generate(
            **inputs, max_new_tokens=6, do_sample=False, output_scores=True, return_dict_in_generate=True
        )
        best = [scores[0].topk(2).values for scores in out.scores]
        differs(answer.tokens, (out.sequences[0].tolist(), [float(a - b) for a, b in best]))


def test_an_answer_that_was_begun_joins_rows_that_go_on(parts: tuple[Any, Any], alone, backends) -> None:
    _, processor = parts
    engine = Engine(backends["packed"])
    going = engine.submit(Request(conversation(processor, 2), Sampling(max_new_tokens=9)))
    engine.step()
    tokens, margins = alone(0, 9)
    begun = Request(conversation(processor, 0), Sampling(max_new_tokens=6), begun=tuple(tokens[:3]))
    joins = engine.submit(begun)
    while engine.step():
        pass
    differs(going.result().tokens, alone(2, 9))
    differs(joins.result().tokens, (tokens[3:], margins[3:]))


@pytest.mark.parametrize("wrong", [None, 0, 4, 7])
def test_details_are_those_of_a_forward_pass_over_the_whole_answer(tokenizer: Any, wrong: int | None) -> None:
    model, processor = model_of(tokenizer, "splice")
    model.config.alignment_heads = [(0, 1), (1, 0)]
    backend = TorchBackend(model, processor, flat=flat_model(model))
    detailed = Request(conversation(processor, 0), Sampling(max_new_tokens=8, details=True))
    if wrong is not None:
        (before,) = answers_of(Engine(backend).run([detailed]))
        expected = (*before.tokens[:wrong], 7, *before.tokens[wrong + 1 :])
        detailed = replace(detailed, expected=expected)
    answer, plain = answers_of(Engine(backend).run([detailed, Request(conversation(processor, 0), Sampling())]))
    assert answer.details is not None and plain.details is None and plain.tokens[:8] == answer.tokens
    inputs = processor.batch([conversation(processor, 0)])
    tokens = torch.tensor([answer.tokens])
    speech = model.get_audio_features(inputs["input_features"], inputs["feature_lengths"])
    embeds = torch.cat([model.merged_embeddings(inputs["input_ids"], speech), model.get_input_embeddings()(tokens)], 1)
    model.language_model.set_attn_implementation("eager")
    with torch.no_grad():
        out = model.language_model(inputs_embeds=embeds, output_attentions=True)
    choosing = slice(inputs["input_ids"].shape[1] - 1, -1)
    logprobs = out.logits[0, choosing].log_softmax(-1).gather(1, tokens.T)
    assert answer.details.mean_logprob == pytest.approx(float(logprobs.mean()), abs=1e-3)
    columns = (inputs["input_ids"][0] == processor.audio_token_id).nonzero()[:, 0]
    shares = [out.attentions[layer][0, head][choosing][:, columns] for layer, head in [(0, 1), (1, 0)]]
    weights = sum(one / one.sum(dim=1, keepdim=True) for one in shares)
    seconds = int(inputs["feature_lengths"][0]) / 100 / len(columns)
    assert answer.details.heard_s == pytest.approx([(int(one) + 0.5) * seconds for one in weights.argmax(dim=1)])
