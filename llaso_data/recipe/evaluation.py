"""Test sets and what is kept for them: ``instruct.hold_out``, ``instruct.leakage`` and ``instruct.eval``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llaso_data.recipe.part import Part


class HoldOut(Part):
    """What training sets do not have, so that `build-instruct --eval` can ask for it as unseen."""

    tasks: tuple[str, ...] = Field((), description="Tasks, by name.")
    templates: tuple[str, ...] = Field((), description="Templates of instructions, by id; a prefix names several.")
    languages: tuple[str, ...] = Field((), description="Languages that are spoken or written in a row.")
    environments: tuple[str, ...] = Field((), description="Where rows were recorded: vehicle, outdoor …")
    speakers: tuple[str, ...] = Field((), description="Speakers, by id.")
    voices: tuple[str, ...] = Field((), description="Voices, as engine/voice.")


class LeakageCheck(Part):
    """What a set may not share with its other splits and with sets that it is tested on."""

    against: tuple[str, ...] = Field(
        (),
        description="Sets that models are tested on: anything that `convert` reads. Of a test set the training set: it "
        "has to keep the same rows apart.",
    )
    kinds: tuple[str, ...] = Field(
        ("sample", "audio", "sound", "text", "near_text"),
        description="What is looked for, as in `llaso-data leakage`. Empty: nothing.",
    )
    found: Literal["remove", "refuse"] = Field(
        "remove",
        description="remove: leave out and count what is found. refuse: end with an error, nothing is written.",
    )


class RobustShares(Part):
    """What the robustness layer of a test set is made of, as shares."""

    noise: float = Field(0.4, ge=0, description="Recordings in noise.")
    accent: float = Field(0.2, ge=0, description="Speakers whose accent is known.")
    pairs: float = Field(0.4, ge=0, description="Instructions of which one in two cannot be followed.")


LayerName = Literal["basic", "tasks", "generalisation", "robustness"]
_LAYERS: dict[LayerName, float] = {"basic": 6166.0, "tasks": 4439.0, "generalisation": 2219.0, "robustness": 2220.0}


class EvalSet(Part):
    """A test set of four layers, as `build-instruct --eval` makes it. Shares are of samples."""

    layers: dict[LayerName, float] = Field(default_factory=lambda: dict(_LAYERS), description="Shares of the layers.")
    tasks: dict[str, float] = Field(
        default_factory=dict, description="Shares of tasks within a layer. A task without one has 100."
    )
    pairs: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The share of each other layer that is instructions of which one in two cannot be followed.",
    )
    robustness: RobustShares = RobustShares()
    snr_db: tuple[float, ...] = Field(
        (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0), min_length=1, description="Signal-to-noise ratios in dB."
    )
    noises: tuple[Literal["white", "pink", "speech", "babble"], ...] = Field(
        ("white", "pink", "babble"),
        min_length=1,
        description="The noises. speech: noise with the recording's spectrum. babble: other recordings of the set.",
    )
