"""What the parts of an answer cost in CPU seconds: ``bench/answering.py --pieces`` prints it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STEPS = 4
ROWS = (1, 8, 32)


def print_pieces(loaded: Any, conversations: Sequence[Any], paths: Sequence[Path], max_new_tokens: int) -> None:
    """A table: the model's own forward beside ours, without and with reordered weights."""
    import torch

    from llaso_model.engine.backends.flat_reader import FlatReader, flat_model
    from llaso_model.engine.backends.padded_reader import PaddedReader
    from llaso_model.engine.backends.prompts import TorchPrompt
    from llaso_model.engine.requests import Sampling
    from llaso_model.sounds import samples

    model, processor = loaded.model, loaded.processor
    sounds = timed("decode the recordings", lambda: [samples(str(path)) for path in paths])
    timed("log-mel frames", lambda: [processor.features(processor.windows(sound)) for sound in sounds])
    inputs = timed("all of the processor", lambda: [dict(processor.batch([one])) for one in conversations])
    sampling = Sampling(max_new_tokens=max_new_tokens)
    prompts = {slot: TorchPrompt(one, sampling) for slot, one in enumerate(inputs)}
    print(f"{sum(one.tokens for one in prompts.values())} tokens, {sum(one.frames for one in prompts.values())} frames")
    plain, packed = flat_model(model, packs=False), timed("reorder the weights", lambda: flat_model(model))
    readers = {"model's own": PaddedReader(model), "in a line": FlatReader(model, plain)}
    readers["in a line, reordered"] = FlatReader(model, packed)
    with torch.no_grad():
        for name, reader in readers.items():
            speech = speech_of(model, reader)
            timed(f"{name}: encoder and projection", lambda s=speech: [s(one) for one in inputs])
            timed(f"{name}: encoder and prompts", lambda r=reader: dict(r.read(prompts, {})))
            for rows in ROWS:
                last = {slot: [5] for slot in range(rows)}
                list(reader.read({}, last))
                timed(
                    f"{name}: a step of {rows}",
                    lambda r=reader, t=last: [list(r.read({}, t)) for _ in range(STEPS)],
                    STEPS,
                )


def speech_of(model: Any, reader: Any) -> Callable[[Any], Any]:
    """What encodes the speech of a prompt for a reader."""
    flat = getattr(reader, "_flat", None)
    if flat is None or flat.speech is None:
        return lambda one: model.get_audio_features(one["input_features"], one["feature_lengths"])
    return lambda one: flat.speech(list(one["input_features"]), one["feature_lengths"].tolist())


def timed(name: str, work: Callable[[], Any], times: int = 1) -> Any:
    """Does work, and prints its CPU seconds, divided by how often it does the same."""
    start = time.process_time()
    found = work()
    print(f"{name:45} {(time.process_time() - start) / times:.3f} CPU s", flush=True)
    return found


def print_floor(loaded: Any, conversations: Sequence[Any], tokens: int) -> None:
    """The least CPU seconds that the products of all answers take on this core, whatever the engine.

    Args:
        loaded: The model.
        conversations: That are answered, each read at its own length.
        tokens: Of all answers.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from llaso_data.whisper.linear import Linear
    from llaso_model.engine.backends.padded_reader import PaddedReader
    from llaso_model.engine.backends.prompts import TorchPrompt
    from llaso_model.engine.requests import Sampling

    reader = PaddedReader(loaded.model)
    with torch.no_grad():
        with FlopCounterMode(display=False) as prompts:
            for slot, one in enumerate(conversations):
                inputs = dict(loaded.processor.batch([one]))
                list(reader.read({slot: TorchPrompt(inputs, Sampling())}, {}))
        with FlopCounterMode(display=False) as step:
            list(reader.read({}, {0: [5]}))
        flops = prompts.get_total_flops() + tokens * step.get_total_flops()
        best = 0.0
        for inner, outer in ((512, 2048), (576, 1536), (1536, 576)):
            product, x = Linear(torch.nn.Linear(inner, outer, bias=False), packs=True), torch.randn(1024, inner)
            product(x)
            for _ in range(20):
                start = time.process_time()
                product(x)
                best = max(best, 2 * x.numel() * outer / (time.process_time() - start))
    print(
        f"\nproducts: {flops / 1e9:.0f} GFLOP; a large one at best {best / 1e9:.0f} GFLOP/s: {flops / best:.1f} CPU s"
    )
