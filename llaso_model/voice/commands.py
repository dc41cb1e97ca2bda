"""The command ``llaso-model speak``."""

from __future__ import annotations

import os
from typing import Any

import click

from llaso_data.commands import fail
from llaso_data.errors import LLaSOError

_PAUSE_S = 0.25


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("audio", nargs=-1, metavar="[AUDIO]...")
@click.option("--text", metavar="TEXT", help="What is asked; <audio> marks the place of an audio.")
@click.option("--out", required=True, metavar="FILE", help="File to write: .wav, .mp3, .opus, .flac, .aac or .pcm.")
@click.option("--voice", metavar="NAME", help="Voice, ENGINE or ENGINE/VOICE.  [default: hibari]")
@click.option("--voices", metavar="FILE", help="YAML file of voices: engines with their settings, aliases.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="Times faster than the voice, 0.25 to 4.")
@click.option("--max-new-tokens", type=int, default=256, show_default=True, help="Most tokens of the answer.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: always the most likely token.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Draw among tokens of this probability.")
@click.option("--seed", type=int, help="Seed of what is drawn. Default: another one each time.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Precision of the model. Default: bf16 on a GPU, else fp32.",
)
def speak(
    model: str,
    audio: tuple[str, ...],
    text: str | None,
    out: str,
    voice: str | None,
    voices: str | None,
    speed: float,
    precision: str | None,
    **sampling: Any,
) -> None:
    """Let a model answer aloud.

    The answer to a question about recordings, or to a question without any, is printed and spoken sentence by
    sentence. Without --text the model is asked what is said. docs/serve.md explains voices. The exit code is 1 where a
    sentence could not be spoken. It is named.
    """
    from llaso_data.audio import limited, to_float32
    from llaso_data.io import outputs, storage
    from llaso_model import generation
    from llaso_model.processing import TRANSCRIBE
    from llaso_model.voice.answers import generate_speech
    from llaso_model.voice.encoding import MEDIA_TYPES, Encoder, closed_wav
    from llaso_model.voice.speaking import RATE_HZ, speaker_of

    form = os.path.splitext(out)[1].lstrip(".").lower().replace("ogg", "opus")
    if form not in MEDIA_TYPES:
        raise LLaSOError(f"--out {out}: the name ends in one of {', '.join(f'.{one}' for one in MEDIA_TYPES)}")
    if not audio and text is None:
        raise LLaSOError("name a recording, or ask something with --text")
    if outputs.is_there(out):
        raise LLaSOError(f"{out} exists; remove it, or write elsewhere with --out")
    speaker = speaker_of(voice, voices)
    loaded = generation.load(model, precision=precision)
    sounds = [to_float32(limited.decode(one, max_duration_s=limited.MAX_DURATION_S)[0]) for one in audio]
    conversation = loaded.processor.instruction(text or TRANSCRIBE, sounds)
    import numpy as np

    encoder, data, problems = Encoder(form), bytearray(), []
    for spoken in generate_speech(loaded, conversation, voice, speaker, speed, **sampling):
        click.echo(spoken.text)
        if spoken.problem is not None:
            problems.append(spoken)
            continue
        if data:
            data += encoder.encode(np.zeros(round(_PAUSE_S * RATE_HZ), np.int16))
        data += encoder.encode(spoken.pcm)
    data += encoder.finish()
    storage.write_bytes(out, closed_wav(bytes(data)) if form == "wav" else bytes(data))
    for one in problems:
        click.echo(f"not spoken: {one.problem}", err=True)
    if problems:
        fail(f"{len(problems)} sentences were not spoken")
