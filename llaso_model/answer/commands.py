"""The command ``llaso-model generate``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from llaso_data.commands import fail
from llaso_data.errors import LLaSOError

if TYPE_CHECKING:
    from llaso_model.answer.transcripts import Transcript

Format = Literal["text", "json", "srt", "vtt"]
_PROGRESS_EVERY_S = 10.0


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("audio", nargs=-1, required=True, metavar="AUDIO...")
@click.option(
    "--text", metavar="TEXT", help="What is asked about the audio; <audio> marks its place.  [default: a transcript]"
)
@click.option("--json", "form", flag_value="json", help="Write a JSON object for each audio, a line each.")
@click.option("--srt", "form", flag_value="srt", help="Write SubRip subtitles.")
@click.option("--vtt", "form", flag_value="vtt", help="Write WebVTT subtitles.")
@click.option(
    "--out",
    metavar="URI",
    help="File to write to; of subtitles of several audios a folder.  [default: standard output]",
)
@click.option("--words", is_flag=True, help="Compute when each word is said, with the Whisper of --whisper.")
@click.option("--whisper", metavar="MODEL", help="Whisper that times words. Default: the one in the model's config.")
@click.option("--language", metavar="CODE", help="Language that is spoken, for word times. Default: Whisper says.")
@click.option(
    "--cut/--no-cut",
    default=None,
    help="Cut longer audio than the model's window at pauses. Default: cut, where no --text is given.",
)
@click.option("--max-new-tokens", type=int, default=256, show_default=True, help="Most tokens of an answer.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: always the most likely token.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Draw among tokens of this probability.")
@click.option("--top-k", type=int, default=0, show_default=True, help="Draw among so many tokens; 0: all.")
@click.option("--repetition-penalty", type=float, help="Lower the tokens that the answer has. Default: the model's.")
@click.option("--no-repeat-ngram-size", type=int, help="No so many tokens twice. Default: the model's.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text. May be repeated.")
@click.option("--seed", type=int, help="Seed of what is drawn. Default: another one each time.")
@click.option(
    "--slots", type=click.IntRange(1), default=32, show_default=True, help="Answers that are decoded at once."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Precision of the model. Default: bf16 on a GPU, else fp32.",
)
@click.option("--backend", default="torch", show_default=True, metavar="NAME", help="What computes the answers.")
def generate(
    model: str,
    audio: tuple[str, ...],
    text: str | None,
    form: Format | None,
    out: str | None,
    words: bool,
    whisper: str | None,
    language: str | None,
    cut: bool | None,
    slots: int,
    precision: str | None,
    backend: str,
    **sampling: Any,
) -> None:
    """Transcribe recordings with a model, or ask it about them.

    AUDIO is a file, a folder, a corpus that `llaso-data` reads, or shards, whose samples are asked their own
    questions. docs/answer.md explains the options. The exit code is 1 where something was not answered. It is named.
    """
    from llaso_model.answer import sources
    from llaso_model.answer.transcripts import Cutting, transcripts
    from llaso_model.engine.backends import BACKENDS
    from llaso_model.engine.engine import Engine, Limits
    from llaso_model.engine.requests import Sampling
    from llaso_model.processing import TRANSCRIBE

    chosen = Sampling(**{**sampling, "stop": tuple(sampling["stop"])})
    writer = _Writer(form or "text", out)
    writer.refuse_what_is_there()
    computed = BACKENDS[backend].open(model, "MODEL", precision)
    words_of = _words_of(computed.config.whisper, whisper) if words else None
    processor = computed.processor
    window_s = processor.max_audio_length if cut or (cut is None and text is None) else None
    cutting = Cutting(window_s, lambda sound: processor.instruction(text or TRANSCRIBE, [sound]))
    engine = Engine(computed, Limits(slots=slots))
    found: list[Transcript] = []
    with _progress(engine, found) as update:
        for one in transcripts(engine, sources.read(audio, language, text), cutting, chosen, words_of):
            found.append(one)
            writer.add(one, alone=len(audio) == 1)
            update()
    writer.close()
    _report(found)


@dataclass(slots=True)
class _Writer:
    """Writes transcripts as they come to standard output, or when all are there to files."""

    form: Format
    out: str | None
    _kept: list[Transcript] | None = None

    def refuse_what_is_there(self) -> None:
        """Raises LLaSOError where the output has something already."""
        from llaso_data.io import outputs

        if self.out is not None and outputs.is_there(self.out):
            raise LLaSOError(f"{self.out} exists; remove it, or write elsewhere with --out")

    def add(self, transcript: Transcript, alone: bool) -> None:
        """Takes the next one."""
        self._kept = [*(self._kept or []), transcript]
        if self.out is None and self.form in ("text", "json") and transcript.problem is None:
            click.echo(self._line(transcript, alone))

    def close(self) -> None:
        """Writes what was not written yet."""
        from llaso_data.io import storage

        kept = [one for one in self._kept or [] if one.problem is None or self.form == "json"]
        if self.form in ("text", "json"):
            if self.out is not None:
                lines = [self._line(one, len(kept) == 1) for one in kept]
                storage.write_bytes(self.out, "".join(f"{line}\n" for line in lines).encode())
            return
        files = {name: self._subtitles(one) for name, one in zip(_file_names(kept, self.form), kept, strict=True)}
        if len(files) == 1 and (self.out is None or not self.out.endswith("/")):
            (content,) = files.values()
            if self.out is None:
                click.echo(content, nl=False)
            else:
                storage.write_bytes(self.out, content.encode())
        elif self.out is None and files:
            raise LLaSOError(f"{len(files)} files of subtitles: name a folder for them with --out")
        else:
            for name, content in files.items():
                storage.write_bytes(storage.join(str(self.out), name), content.encode())

    def _line(self, transcript: Transcript, alone: bool) -> str:
        from llaso_data.io.storage import json_bytes

        if self.form == "json":
            return json_bytes(transcript.as_json()).decode()
        return transcript.text if alone else f"{transcript.name}: {transcript.text}"

    def _subtitles(self, transcript: Transcript) -> str:
        from llaso_model.answer.subtitles import written

        assert self.form in ("srt", "vtt")
        return written([cue for piece in transcript.pieces for cue in piece.cues()], self.form)


def _file_names(transcripts: Sequence[Transcript], kind: str) -> list[str]:
    """A file name for each, by the audio's; a number sets apart those that would be the same."""
    names: list[str] = []
    for one in transcripts:
        stem = os.path.splitext(os.path.basename(one.name.replace("!", "/")))[0]
        count = sum(name == f"{stem}.{kind}" or name.startswith(f"{stem}-") for name in names)
        names.append(f"{stem}.{kind}" if not count else f"{stem}-{count + 1}.{kind}")
    return names


def _words_of(recorded: str | None, named: str | None) -> Any:
    """What times words. Raises LLaSOError where no Whisper is known."""
    from llaso_model.answer.words import WordAligner

    if named is None and recorded is None:
        raise LLaSOError("--words: the model's configuration names no Whisper to time words; name one with --whisper")
    return WordAligner(named or str(recorded), "--whisper").words


@contextmanager
def _progress(engine: Any, found: Sequence[Transcript]) -> Iterator[Any]:
    from llaso_data.io.live import LiveLine

    def line() -> str:
        seconds = sum(one.duration_s or 0.0 for one in found)
        return f"{len(found):,} answered, {seconds / 60:.1f} min of audio, {engine.counts.tokens:,} tokens"

    live = LiveLine(line, lambda: (len(found), None), log_every_s=_PROGRESS_EVERY_S)
    live.start()
    try:
        yield live.update
    finally:
        live.stop(show=False)


def _report(found: Sequence[Transcript]) -> None:
    """Names what was not answered, and ends with exit code 1 where there is any."""
    for one in found:
        if one.unaligned:
            click.echo(f"{one.name}: the words of {one.unaligned} of {len(one.pieces)} pieces have no times", err=True)
        if any(piece.finish_reason == "length" for piece in one.pieces):
            click.echo(f"{one.name}: an answer was cut off at --max-new-tokens", err=True)
        if one.problem is not None:
            click.echo(f"{one.name}: {one.problem}", err=True)
    if not found:
        raise LLaSOError("there is no audio to answer")
    if unanswered := sum(one.problem is not None for one in found):
        fail(f"{unanswered} of {len(found)} were not answered")
