"""The named configurations, and checkpoints in the published layout."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, WhisperConfig, WhisperModel

from llaso import LLaSOModel
from llaso_data.errors import LLaSOError
from llaso_model.configuration import LLaSOConfig
from llaso_model.llaso_base_checkpoint import load_published, renamed
from tests.support.training_fixtures import WHISPER


def test_the_published_configuration_has_its_size_and_its_names():
    with torch.device("meta"):
        model = LLaSOModel(LLaSOConfig.named("published"))
    assert sum(value.numel() for value in model.parameters()) == pytest.approx(3.86e9, abs=0.005e9)
    names = set(model.state_dict())
    assert renamed("model.mm_audio_aligner.projector.0.weight") in names
    assert renamed("model.mm_audio_aligner.projector.2.bias") in names
    assert renamed("model.audio_tower.audio_tower.layers.31.fc2.weight") in names
    assert renamed("model.layers.27.mlp.down_proj.weight") in names
    assert model.state_dict()["aligner.projector.0.weight"].shape == (3072, 1280)


def test_the_mission_configuration_is_resnet_and_cross_attention():
    config = LLaSOConfig.named("mission")
    with torch.device("meta"):
        model = LLaSOModel(config)
    assert len(model.audio_tower.blocks) == 12 and config.audio_config.hidden_size == 768
    assert len(model.aligner.bridges) == 7
    with pytest.raises(ValueError, match="mission and published"):
        LLaSOConfig.named("other")


@pytest.fixture
def published(tmp_path) -> Any:
    """A small checkpoint of that layout, its encoder beside it, and the tensors."""
    torch.manual_seed(0)
    whisper = WhisperModel(WhisperConfig(**{**WHISPER.to_dict(), "decoder_attention_heads": 4, "decoder_ffn_dim": 64}))
    whisper.save_pretrained(tmp_path / "whisper")
    text = LlamaConfig(vocab_size=60, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
    state = {name: value.clone() for name, value in LlamaForCausalLM(text).state_dict().items()}
    for number, width in ((0, 32), (2, 48)):
        state[f"model.mm_audio_aligner.projector.{number}.weight"] = torch.randn(48, width)
        state[f"model.mm_audio_aligner.projector.{number}.bias"] = torch.randn(48)
    state |= {f"model.audio_tower.audio_tower.{name}": value for name, value in whisper.encoder.state_dict().items()}
    folder = tmp_path / "published"
    folder.mkdir()
    values = {**text.to_dict(), "model_type": "llava_llama", "mm_audio_hidden_size": 32, "mm_audio_tower": "whisper"}
    (folder / "config.json").write_text(json.dumps(values))
    return folder, tmp_path / "whisper", state


def test_a_checkpoint_of_the_published_layout_loads(published):
    folder, whisper, state = published
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    model = load_published(str(folder), str(whisper), torch.float32)
    for name, value in state.items():
        assert torch.equal(model.state_dict()[renamed(name)], value)


def test_an_encoder_that_was_left_out_comes_from_its_own_checkpoint(published):
    folder, whisper, state = published
    rest = {name: value.contiguous() for name, value in state.items() if "audio_tower" not in name}
    save_file(rest, folder / "model.safetensors")
    model = load_published(str(folder), str(whisper), torch.float32)
    tower = state["model.audio_tower.audio_tower.layers.1.fc1.weight"]
    assert torch.equal(model.audio_tower.layers[1].fc1.weight, tower)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("model.mm_audio_aligner.projector.2.bias"), "lacks aligner.projector.2.bias"),
        (lambda state: state.update({"model.vision_tower.x": torch.zeros(1)}), "has besides"),
        (lambda state: state.update({"model.norm.weight": torch.zeros(3)}), "has of another shape"),
    ],
)
def test_what_does_not_fit_is_named(published, change, said):
    folder, whisper, state = published
    change(state)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    with pytest.raises(LLaSOError, match=said):
        load_published(str(folder), str(whisper))


def test_pickled_weights_are_not_loaded(published):
    folder, whisper, state = published
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(LLaSOError, match="pickle"):
        load_published(str(folder), str(whisper))
