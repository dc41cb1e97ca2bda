"""Live transcription: word error rate beside that of whole recordings, and how late words are confirmed, by policy.

    .venv/bin/python bench/live.py --model demo-out/train/stage2/model
    .venv/bin/python bench/live.py --model /tmp/learn/whisper/stage2/model --held-out learn [--socket]

English prompts that the model never heard are joined with pauses and come in pieces of 0.1 s, by a clock. A word's lag
is from its end (Whisper's decoder forced over what is said) to its confirmation. Changes of confirmed text are counted:
all deltas of an item must be its transcript.

By default the clock is the audio's, and what a realtime session runs is fed: server VAD, hypotheses, a policy of
``POLICIES``. A hypothesis takes its CPU seconds on one thread, so what else the machine does changes nothing. The lag's
parts are printed: until the hypothesis that confirms the word is asked for, until it is there, and until it is
confirmed (at the end of a turn). The policy ``none`` confirms all of a turn at its end: what early confirmation costs
is to be seen beside it, since VAD's turns are not the prompts. ``attention:0.6`` is ``attention`` with a guard of
0.6 s. ``--differences`` prints which words are wrong, and when they are said.

Offline are the prompts one by one, and the recording as ``llaso-model generate`` transcribes it: cut at its pauses into
pieces as long as the model takes.

``--socket`` starts `llaso-model serve` and sends the recording in real time through OpenAI's client: 24 kHz, words'
confirmation by this process's clock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHUNK_S = 0.1
PAUSE_S = 1.0
RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Recording:
    """Prompts joined with pauses.

    Attributes:
        pcm: At 16 kHz.
        text: What is said.
        ends: Its words with their ends in seconds.
        prompts: Samples of each prompt.
    """

    pcm: Any
    text: str
    ends: list[tuple[str, float]]
    prompts: list[Any]

    @property
    def seconds(self) -> float:
        return len(self.pcm) / RATE_HZ


@dataclass(slots=True)
class Confirmed:
    """Text that was confirmed.

    Attributes:
        text: One or more words.
        at_s: When.
        parts_s: What of its lag is known: when its hypothesis was asked for, and when it was there.
    """

    text: str
    at_s: float
    parts_s: tuple[float, float] | None = None


@dataclass(slots=True)
class Heard:
    """What a session has said.

    Attributes:
        texts: Of its items.
        confirmed: Its deltas.
        changes: How many items' deltas are not their transcript.
        cpu_s: What it took, for all together.
    """

    texts: list[str] = field(default_factory=list)
    confirmed: list[Confirmed] = field(default_factory=list)
    changes: int = 0
    cpu_s: float = 0.0


class AudioClock(asyncio.SelectorEventLoop):
    """An event loop whose time does not pass but while everything in it sleeps; then it passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now_s = max(self._now_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Asking:
    """Asks an engine in this thread. On the audio's clock it takes the CPU seconds that it took."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.cpu_s, self.times_s, self._one = engine, 0.0, (0.0, 0.0), asyncio.Lock()

    @asynccontextmanager
    async def ask(self, request: Any, patient: bool = False, streams: bool = True) -> AsyncIterator[Any]:
        clock = asyncio.get_running_loop()
        asked_s = clock.time()
        async with self._one:
            begun = time.process_time()
            (handle,) = self.engine.run([request])
            took_s = time.process_time() - begun
            self.cpu_s += took_s
            await asyncio.sleep(took_s)
        self.times_s = asked_s, clock.time()

        class Asked:
            async def result(self) -> Any:
                return handle.result()

        yield Asked()


async def session(model: Any, instruction: Any, pcm: Any) -> Heard:
    """What a session says to a recording on the audio's clock."""
    from llaso_model.serve.live.item import LiveItem
    from llaso_model.serve.live.turns import TurnDetector

    clock, turns, heard = asyncio.get_running_loop(), TurnDetector(), Heard()
    item: LiveItem | None = None
    running: list[asyncio.Future[None]] = []

    async def take(text: str, _: float) -> None:
        heard.confirmed.append(Confirmed(text, clock.time(), model.answering.times_s))

    async def transcribe(item: LiveItem, first: int) -> None:
        await item.run()
        heard.texts.append(item.text)
        heard.changes += "".join(one.text for one in heard.confirmed[first:]) != item.text

    step, padding = round(CHUNK_S * RATE_HZ), round(0.3 * RATE_HZ)
    for end in range(step, len(pcm) + 1, step):
        await asyncio.sleep(max(0.0, end / RATE_HZ - clock.time()))
        at = end - step
        for turn in turns.read(pcm[at:end]):
            if turn.kind == "starts":
                await asyncio.gather(*running)  # so that the order of what is confirmed is that of the items
                item, at = LiveItem(model, instruction, take), max(0, turn.sample - padding)
                running = [asyncio.ensure_future(transcribe(item, len(heard.confirmed)))]
            elif item is not None:
                item.append(pcm[at : turn.sample])
                at = turn.sample
                if turn.kind == "pauses":
                    item.pause()
                else:
                    item.end(quietly=True)
                    item = None
        if item is not None:
            item.append(pcm[at:end])
    if item is not None:
        item.end()
    await asyncio.gather(*running)
    heard.cpu_s = model.answering.cpu_s
    return heard


def recording(prompts: Sequence[tuple[str, str]], words: Callable[[Any, str, str | None], Sequence[Any]]) -> Recording:
    """Joins prompts, (path, text) each. ``words`` times their words."""
    import numpy as np

    from llaso_data import audio

    decoded = [audio.decode(path)[0] for path, _ in prompts]
    whole, ends, at = [np.zeros(RATE_HZ // 2, np.int16)], [], RATE_HZ // 2
    for pcm, (_, text) in zip(decoded, prompts, strict=True):
        ends += [(word.text, at / RATE_HZ + word.end_s) for word in words(pcm, text, "en")]
        whole += [pcm, np.zeros(round(PAUSE_S * RATE_HZ), np.int16)]
        at += len(pcm) + round(PAUSE_S * RATE_HZ)
    return Recording(np.concatenate(whole), " ".join(text for _, text in prompts), ends, decoded)


def lags(recorded: Recording, heard: Heard) -> list[tuple[float, Confirmed, float]]:
    """(lag, what confirmed it, its end) of each word that was said and confirmed."""
    from llaso_data.text import tokens

    known = [(token, end_s) for word, end_s in recorded.ends for token in tokens(word, "en")]
    came = [(token, one) for one in heard.confirmed for token in tokens(one.text, "en")]
    matcher = SequenceMatcher(None, [one for one, _ in known], [one for one, _ in came], autojunk=False)
    pairs = [(block.a + n, block.b + n) for block in matcher.get_matching_blocks() for n in range(block.size)]
    return [(came[b][1].at_s - known[a][1], came[b][1], known[a][1]) for a, b in pairs]


def differences(recorded: Recording, text: str) -> str:
    """Which words of a text are wrong, and when they are said."""
    from llaso_data.text import tokens

    known = [(token, end_s) for word, end_s in recorded.ends for token in tokens(word, "en")]
    said, heard = [one for one, _ in known], tokens(text, "en")
    matcher = SequenceMatcher(None, said, heard, autojunk=False)
    changes = [
        (known[min(a, len(known) - 1)][1], " ".join(said[a:after_a]), " ".join(heard[b:after_b]))
        for kind, a, after_a, b, after_b in matcher.get_opcodes()
        if kind != "equal"
    ]
    return "\n".join(f"  {end_s:6.1f} s: {one or '-'} -> {other or '-'}" for end_s, one, other in changes)


def policy_of(name: str) -> Any:
    """The policy of a name: one of ``POLICIES``, ``none``, or ``attention:SECONDS``."""
    from llaso_model.serve.live.policies import POLICIES, Policy, attention

    if name == "none":
        return Policy(lambda before, now: 0)
    if name.startswith("attention:"):
        guard_s = float(name.partition(":")[2])
        return Policy(partial(attention, guard_s=guard_s), guard_s)
    return POLICIES[name]


def line(name: str, recorded: Recording, heard: Heard) -> str:
    """A line of the table."""
    from llaso_data.text import wer

    found = lags(recorded, heard)
    lag = sorted(one for one, _, _ in found)
    late = f"{statistics.median(lag):.2f}, {lag[int(0.9 * len(lag))]:.2f} ({len(lag)} words)"
    parts = [
        (one.parts_s[0] - end_s, one.parts_s[1] - one.parts_s[0], one.at_s - one.parts_s[1])
        for _, one, end_s in found
        if one.parts_s is not None
    ]
    means = ", ".join(f"{statistics.mean(one):.2f}" for one in zip(*parts, strict=True))
    error = wer(recorded.text, " ".join(heard.texts), "en")
    return f"| {name} | {error:.3f} | {heard.changes} | {late} | {means} | {heard.cpu_s / recorded.seconds:.2f} |"


def show(name: str, recorded: Recording, heard: Heard, differ: bool) -> None:
    """Prints a line of the table, and what is wrong where that is wanted."""
    print(line(name, recorded, heard), flush=True)
    if differ:
        print(differences(recorded, " ".join(heard.texts)), flush=True)


def offline(engine: Any, instruction: Callable[[Any], Any], recorded: Recording) -> dict[str, str]:
    """What a model says without a clock: to the prompts one by one, and to the recording cut at its pauses."""
    from llaso_data import audio
    from llaso_model.answer.sources import Asked
    from llaso_model.answer.transcripts import Cutting, transcripts
    from llaso_model.engine.requests import Request, Sampling
    from llaso_model.serve.live.item import most_tokens

    requests = [
        Request(instruction(audio.to_float32(pcm)), Sampling(max_new_tokens=most_tokens(len(pcm))))
        for pcm in recorded.prompts
    ]
    prompts = " ".join(handle.result().text.strip() for handle in engine.run(requests))
    window_s = engine.backend.config.max_audio_length
    cutting, sampling = Cutting(window_s, instruction), Sampling(max_new_tokens=most_tokens(round(window_s * RATE_HZ)))
    (whole,) = transcripts(engine, [Asked("joined", recorded.pcm)], cutting, sampling)
    return {"whole prompts": prompts, "the recording, cut at pauses": whole.text}


def held_out(kind: str, count: int) -> list[tuple[str, str]]:
    """(path, text) of prompts that a model never heard: that of the demo, or that of ``bench/learn.py``."""
    from llaso_data.demo import assets

    if kind == "demo":
        from llaso_model.demo import held_out_prompts

        return held_out_prompts(240, count)
    from learn_sets import split

    texts, prompts = split()["heldout"], assets.english_prompts()
    return [(str(prompts[name][0]), texts[name]) for name in list(texts)[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-out/train/stage2/model")
    parser.add_argument("--held-out", choices=["demo", "learn"], default="demo", help="from whose training")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--policies", nargs="+", default=["agreement", "attention"], help="`none` confirms at the end")
    parser.add_argument("--differences", action="store_true", help="print the words that are wrong")
    parser.add_argument("--socket", action="store_true", help="in real time, through a server's socket")
    parser.add_argument("--threads", type=int, default=1, help="of the server")
    args = parser.parse_args()
    import torch

    from llaso_data.demo import weights
    from llaso_data.text import wer
    from llaso_model.serve.live.item import LiveModel
    from llaso_model.serve.loading import ModelOptions, load

    torch.set_num_threads(1)
    served = load(args.model, ModelOptions(whisper=str(weights.whisper_base()), slots=1, precision="fp32"))
    recorded = recording(held_out(args.held_out, args.prompts), served.aligner.words)

    def instruction(sound: Any) -> Any:
        return served.processor.instruction("Transcribe the speech.", [sound])

    whole = offline(served.engine, instruction, recorded)
    heads = served.engine.backend.config.alignment_heads
    print(f"{recorded.seconds:.0f} s, {len(recorded.ends)} words; heads {heads}")
    print(
        "\n| policy | WER | items whose confirmed words changed | lag of words: median, p90 (s) "
        "| mean until asked, answered, confirmed (s) | CPU s for a s of audio |\n|---|---|---|---|---|---|"
    )
    for name, text in whole.items():
        print(f"| {name} | {wer(recorded.text, text, 'en'):.3f} | | | | |", flush=True)
        if args.differences:
            print(differences(recorded, text), flush=True)
    if args.socket:
        from live_socket import through_socket
        from serve import serving

        whisper = ["--whisper", str(weights.whisper_base())]
        with serving(args.model, args.threads, *whisper, "--live", "attention") as one:
            for policy in args.policies:
                show(policy, recorded, asyncio.run(through_socket(one, recorded, policy)), args.differences)
        return
    for policy in args.policies:
        stop = served.engine.backend.stop_tokens
        model = LiveModel(Asking(served.engine), served.processor, stop, policy_of(policy), None)  # type: ignore[arg-type]
        clock = AudioClock()
        heard = clock.run_until_complete(session(model, instruction, recorded.pcm))
        clock.close()
        show(policy, recorded, heard, args.differences)


if __name__ == "__main__":
    main()
