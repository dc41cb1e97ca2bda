"""Teacher forcing: what a text scores does not depend on its neighbours, and is what transformers says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperForConditionalGeneration

from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.engine import Statistics
from llaso_data.whisper.flat_decoder import HeadChoice
from llaso_data.whisper.teacher_forcing import CHARACTER_HEADS, MAX_SEQUENCES, Decoder, batch_boundaries
from llaso_data.whisper.token_logprobs import TokenLogprobs
from tests.conftest import Clip
from tests.support.asr_fixtures import named, own_frames, pcm, states, whisper

NAMES = ("en/counting", "en/hello_world", "en/quick_brown_fox")


def test_scores_and_attention_do_not_depend_on_what_shares_the_batch(tiny_en: Path, clips: list[Clip]) -> None:
    model, chosen = whisper(tiny_en), named(clips, *NAMES)
    decoder, vocabulary = model.decoder, model.vocabulary
    slices = [
        s[: own_frames(pcm(c.path))] for s, c in zip(states(model, [pcm(c.path) for c in chosen]), chosen, strict=True)
    ]
    targets = [[*vocabulary.bpe_tokens(clip.text)[0], vocabulary.end] for clip in chosen]
    prompts = [vocabulary.prompt("en")] * len(chosen)
    together = decoder.force(prompts, targets, slices, heads=6)
    for i, shared in enumerate(together):
        (alone,) = decoder.force(prompts[:1], [targets[i]], [slices[i]], heads=6)
        assert shared.logprobs.shape == (len(targets[i]),)
        assert np.abs(shared.logprobs - alone.logprobs).max() <= 1e-4
        assert shared.attention_HTS is not None and alone.attention_HTS is not None
        assert shared.attention_HTS.shape == (6, len(targets[i]), own_frames(pcm(chosen[i].path)))
        assert np.abs(shared.attention_HTS - alone.attention_HTS).max() <= 1e-4


def test_padded_attention_is_that_of_each_sequence_alone(tiny_en: Path, clips: list[Clip]) -> None:
    """A GPU reads sequences with padding under a mask, a CPU without."""
    model, chosen = whisper(tiny_en), named(clips, *NAMES)
    slices = [
        s[: own_frames(pcm(c.path))] for s, c in zip(states(model, [pcm(c.path) for c in chosen]), chosen, strict=True)
    ]
    sequences = [[*model.vocabulary.prompt("en"), *model.vocabulary.bpe_tokens(clip.text)[0]] for clip in chosen]
    spans = [slice(1, len(tokens)) for tokens in sequences]
    flat = model.decoder._decoder
    for choice in (HeadChoice(6), HeadChoice(named={1: [2], 2: [0, 3]}), HeadChoice(0, {2: [1]}, without_states=True)):
        with torch.inference_mode():
            hidden, maps = flat.read(sequences, slices, spans, choice, padded=False)
            padded_hidden, padded_maps = flat.read(sequences, slices, spans, choice, padded=True)
        assert len(hidden) == len(padded_hidden) == len(maps) == len(padded_maps) == 3
        for a, b in zip(maps, padded_maps, strict=True):
            assert torch.equal(a[1], b[1]) and a[0].shape == b[0].shape and (a[0] - b[0]).abs().max() <= 1e-5
        if not choice.without_states:
            assert all((a - b).abs().max() <= 1e-3 for a, b in zip(hidden, padded_hidden, strict=True))


def test_in_bfloat16_scores_are_near_and_depend_on_no_neighbour(tiny_en: Path, clips: list[Clip]) -> None:
    model, chosen = whisper(tiny_en), named(clips, *NAMES)
    checkpoint = WhisperForConditionalGeneration.from_pretrained(tiny_en, attn_implementation="eager").eval()
    decoder = Decoder(checkpoint.requires_grad_(False), model.vocabulary, Statistics(), "bfloat16")
    whole = states(model, [pcm(clip.path) for clip in chosen])
    targets = [[*model.vocabulary.bpe_tokens(clip.text)[0], model.vocabulary.end] for clip in chosen]
    prompts = [model.vocabulary.prompt("en")] * len(chosen)
    wanted, together = model.decoder.force(prompts, targets, whole), decoder.force(prompts, targets, whole)
    (alone,) = decoder.force(prompts[1:2], targets[1:2], whole[1:2])
    apart = np.concatenate([np.abs(a.logprobs - b.logprobs) for a, b in zip(wanted, together, strict=True)])
    assert 1e-5 < apart.mean() < 0.02 and apart.max() < 0.2
    assert np.abs(alone.logprobs - together[1].logprobs).max() < 1e-3


def test_the_largest_logits_are_computed_again_in_float32() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 9000, bias=False).requires_grad_(False)
    hidden = torch.randn(7, 64) * 20
    ids = torch.stack([(hidden @ layer.weight.T).topk(9).indices[:, 8], torch.arange(7)], dim=1)
    wanted = (hidden @ layer.weight.T).log_softmax(dim=1).gather(1, ids)
    assert torch.allclose(TokenLogprobs(layer, torch.float32, packs=False)(hidden, ids), wanted, atol=1e-4)
    rough = TokenLogprobs(layer, torch.bfloat16, packs=False)(hidden, ids)
    uncorrected = hidden.bfloat16() @ layer.weight.T.bfloat16()
    plain = uncorrected.float().log_softmax(dim=1).gather(1, ids)
    assert (rough - wanted).abs().max() < 0.3 * (plain - wanted).abs().max()


def test_what_is_the_same_is_read_once(tiny_en: Path, clips: list[Clip]) -> None:
    model = whisper(tiny_en)
    (clip,) = named(clips, "en/quick_brown_fox")
    (whole,) = states(model, [pcm(clip.path)])
    tokens = model.vocabulary.bpe_tokens(clip.text)[0]
    prompts, targets = [model.vocabulary.prompt("en")] * 400, [tokens, tokens[:3]] * 200
    before = model.statistics.passes_forced
    forced = model.decoder.force(prompts, targets, [whole] * 400)
    assert model.statistics.passes_forced == before + 1  # 400 sequences have too many positions for one
    assert [len(one.logprobs) for one in forced] == [len(tokens), 3] * 200


@given(st.lists(st.integers(1, 400), max_size=9).map(sorted), st.integers(0, 500))
def test_passes_are_cut_where_they_have_the_fewest_positions(lengths: list[int], besides: int) -> None:
    def cost(cuts: Sequence[int]) -> int:
        return sum(besides + lengths[b - 1] * (b - a) for a, b in pairwise(cuts))

    found = batch_boundaries(lengths, besides)
    inner = range(1, len(lengths))
    ways = [(0, *some, len(lengths)) for count in range(len(lengths)) for some in combinations(inner, count)]
    assert cost(found) == min(map(cost, ways), default=0)
    many = batch_boundaries(sorted(lengths * 9), 10**6)
    assert many == sorted(set(many)) and all(b - a <= MAX_SEQUENCES for a, b in pairwise(many))


def test_results_come_in_the_order_asked_for_however_many_there_are(tiny_en: Path, clips: list[Clip]) -> None:
    model = whisper(tiny_en)
    (clip,) = named(clips, "en/quick_brown_fox")
    (whole,) = states(model, [pcm(clip.path)])
    tokens = model.vocabulary.bpe_tokens(clip.text)[0]
    lengths = [1 + (7 * n) % len(tokens) for n in range(18)]  # more than one batch, unordered
    slices = [whole[: 40 + 5 * n] for n in range(18)]
    forced = model.decoder.force([model.vocabulary.prompt("en")] * 18, [tokens[:n] for n in lengths], slices)
    assert [len(one.logprobs) for one in forced] == lengths
    assert all(one.attention_HTS is None for one in forced)


@pytest.mark.parametrize("weights", ["tiny_en", pytest.param("whisper_base", marks=pytest.mark.slow)])
def test_log_probabilities_are_those_of_transformers(
    weights: str, clips: list[Clip], request: pytest.FixtureRequest
) -> None:
    from transformers.modeling_outputs import BaseModelOutput

    folder: Path = request.getfixturevalue(weights)
    model = whisper(folder)
    (clip,) = named(clips, "en/quick_brown_fox")
    (whole,) = states(model, [pcm(clip.path)])
    prompt, tokens = model.vocabulary.prompt("en"), [*model.vocabulary.bpe_tokens(clip.text)[0], model.vocabulary.end]
    (forced,) = model.decoder.force([prompt], [tokens], [whole], heads=4)
    reference = WhisperForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        output = reference(
            encoder_outputs=BaseModelOutput(last_hidden_state=whole.hidden_SW[None]),
            decoder_input_ids=torch.tensor([[*prompt, *tokens[:-1]]]),
            output_attentions=True,
        )
    wanted = torch.log_softmax(output.logits[0, len(prompt) - 1 :], dim=-1)[range(len(tokens)), tokens].numpy()
    assert np.abs(forced.logprobs - wanted).max() <= 1e-4
    ends = torch.log_softmax(output.logits[0, len(prompt) - 1 :], dim=-1)[:, model.vocabulary.end].numpy()
    assert np.abs(forced.end_logprobs - ends).max() <= 1e-3
    maps = torch.cat([layer[0, :, len(prompt) - 1 :] for layer in output.cross_attentions])
    best = sorted(range(len(maps)), key=lambda h: -float(torch.linalg.vector_norm(maps[h])))[:4]
    assert forced.attention_HTS is not None
    assert np.abs(forced.attention_HTS - maps[best].numpy()).max() <= 1e-4
    assert list(forced.heads) == best
    (read,) = model.decoder.force([prompt], [tokens], [whole], heads=4, alignment_heads=True)
    own = frozenset(map(tuple, reference.generation_config.alignment_heads))
    chosen = torch.stack(
        [output.cross_attentions[layer][0, head, len(prompt) - 1 :] for layer, head in CHARACTER_HEADS[own]]
    )
    assert read.attention_HTS is not None
    assert np.abs(read.attention_HTS - chosen.numpy()).max() <= 1e-4


def test_a_sequence_longer_than_whispers_positions_is_an_error(tiny_en: Path) -> None:
    model = whisper(tiny_en)
    state = EncoderStates(torch.zeros((10, 384)))
    with pytest.raises(ValueError, match="449 tokens are more than Whisper's 448 positions"):
        model.decoder.force([model.vocabulary.prompt("en")], [[13] * 448], [state])


def test_keys_and_values_of_the_window_are_those_of_the_slice(tiny_en: Path, clips: list[Clip]) -> None:
    """Sliced, joined or made anew: the same scores and attention; attention alone costs no scores."""
    model = whisper(tiny_en)
    chosen = named(clips, *NAMES)
    whole = states(model, [pcm(clip.path) for clip in chosen])
    slices = [s[: own_frames(pcm(c.path))].followed_by(s[-100:]) for s, c in zip(whole, chosen, strict=True)]
    for s in slices:
        joined = s.key_and_value(1)
        assert joined is not None and joined[0].shape[1] == joined[1].shape[1] == s.frames == len(s.hidden)
    anew = [s.without_projections() for s in slices]
    assert all(s.key_and_value(1) is None for s in anew)
    targets = [[*model.vocabulary.bpe_tokens(clip.text)[0], model.vocabulary.end] for clip in chosen]
    prompts = [model.vocabulary.prompt("en")] * len(chosen)
    ready = model.decoder.force(prompts, targets, slices, heads=6, alignment_heads=True)
    made = model.decoder.force(prompts, targets, anew, heads=6, alignment_heads=True)
    alone = model.decoder.force(prompts, targets, slices, heads=6, alignment_heads=True, score=False)
    for a, b, c in zip(ready, made, alone, strict=True):
        assert np.abs(a.logprobs - b.logprobs).max() <= 1e-4 and len(c.logprobs) == 0
        assert a.attention_HTS is not None and b.attention_HTS is not None and c.attention_HTS is not None
        assert np.abs(a.attention_HTS - b.attention_HTS).max() <= 1e-4
        assert np.array_equal(a.attention_HTS, c.attention_HTS)


def test_nothing_to_score(tiny_en: Path) -> None:
    assert whisper(tiny_en).decoder.force([], [], []) == []


def test_language_probabilities_find_the_language(whisper_base: Path, clips: list[Clip]) -> None:
    model = whisper(whisper_base)
    chosen = named(clips, "en/quick_brown_fox", "ja/konnichiwa_sekai", "zh/pangrama")
    probs = model.decoder.language_probs(states(model, [pcm(clip.path) for clip in chosen]))
    codes = list(model.vocabulary.languages)
    assert probs.shape == (len(chosen), len(codes)) == (3, 99)
    assert np.allclose(probs.sum(axis=1), 1.0, atol=1e-4)
    assert [codes[int(best)] for best in probs.argmax(axis=1)] == [clip.language for clip in chosen]
