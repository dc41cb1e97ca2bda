"""Live transcription: word error rate beside that of whole recordings, and how late words are confirmed, by policy.

    .venv/bin/python bench/live.py --model demo-out/train/stage2/model

English prompts that the model never heard are joined with pauses and fed in pieces of 0.1 s to what a realtime session
runs: server VAD, hypotheses every 0.32 s, a policy of ``POLICIES``. The clock is the audio's: a hypothesis takes its
CPU seconds on one thread, so what else the machine does changes nothing. A word's lag is from its end (Whisper's
decoder forced over the transcript of the whole prompt) to its confirmation. Changes of confirmed text are counted; by
construction there are none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from difflib import SequenceMatcher
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHUNK_S = 0.1
PAUSE_S = 1.0
RATE_HZ = 16_000


class Blocking:
    """Asks an engine in this thread, and counts the CPU seconds."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.cpu_s = engine, 0.0

    @asynccontextmanager
    async def ask(self, request: Any, patient: bool = False, streams: bool = True) -> AsyncIterator[Any]:
        begun = time.process_time()
        (handle,) = self.engine.run([request])
        self.cpu_s += time.process_time() - begun

        class Asked:
            async def result(self) -> Any:
                return handle.result()

        yield Asked()


async def session(model: Any, instruction: Any, pcm: Any, asking: Blocking) -> tuple[str, list[tuple[str, float]], int]:
    """(transcript, (words, when they were confirmed), changes of confirmed text) of a recording."""
    from llaso_model.serve.live.item import _FIRST_S, STEP_S, LiveItem
    from llaso_model.serve.live.turns import TurnDetector

    turns, item, texts, confirmed = TurnDetector(), None, [], []
    free_s = heard = changes = 0.0
    for end in range(round(CHUNK_S * RATE_HZ), len(pcm) + 1, round(CHUNK_S * RATE_HZ)):
        chunk, now_s = pcm[end - round(CHUNK_S * RATE_HZ) : end], end / RATE_HZ
        kinds = [turn.kind for turn in turns.read(chunk)]
        came: list[str] = []

        async def take(text: str, _: float, came: list[str] = came) -> None:
            came.append(text)

        if "starts" in kinds and item is None:
            item, heard = LiveItem(model, instruction, take), 0.0
            item.append(pcm[max(0, end - round(0.5 * RATE_HZ)) : end - len(chunk)])
        if item is None:
            continue
        item.confirmed = take
        item.append(chunk)
        is_due = item.unread_s - heard >= STEP_S and item.unread_s >= _FIRST_S
        if not ("stops" in kinds or (is_due and free_s <= now_s)):
            continue
        before, known = asking.cpu_s, item.text
        samples = round(item.unread_s * RATE_HZ)
        if "stops" in kinds:
            await item._finish(samples)
        else:
            heard = item.unread_s
            await item._guess(samples)
        free_s = max(now_s, free_s) + asking.cpu_s - before
        changes += not item.text.startswith(known)
        confirmed += [(word, free_s) for text in came for word in text.split()]
        if "stops" in kinds:
            texts.append(item.text)
            item = None
    if item is not None:
        await item._finish(round(item.unread_s * RATE_HZ))
        texts.append(item.text)
    return " ".join(texts), confirmed, int(changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-out/train/stage2/model")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--policies", nargs="+", default=["agreement", "attention"])
    args = parser.parse_args()
    import numpy as np
    import torch

    from llaso_data import audio
    from llaso_data.demo import weights
    from llaso_data.text import tokens, wer
    from llaso_model.demo import held_out_prompts
    from llaso_model.serve.live.item import LiveModel, most_tokens
    from llaso_model.serve.live.policies import POLICIES
    from llaso_model.serve.loading import ModelOptions, load

    torch.set_num_threads(1)
    served = load(args.model, ModelOptions(whisper=str(weights.whisper_base()), slots=1, precision="fp32"))
    prompts = [(audio.decode(path)[0], text) for path, text in held_out_prompts(240, args.prompts)]

    def instruction(sound: Any) -> Any:
        return served.processor.instruction("Transcribe the speech.", [sound])

    from llaso_model.engine.requests import Request, Sampling

    requests = [
        Request(instruction(audio.to_float32(pcm)), Sampling(max_new_tokens=most_tokens(len(pcm))))
        for pcm, _ in prompts
    ]
    offline = [handle.result().text.strip() for handle in served.engine.run(requests)]
    whole, ends, at = [np.zeros(RATE_HZ // 2, np.int16)], [], RATE_HZ // 2
    for (pcm, _), text in zip(prompts, offline, strict=True):
        ends += [(word.text, at / RATE_HZ + word.end_s) for word in served.aligner.words(pcm, text, "en")]
        whole += [pcm, np.zeros(round(PAUSE_S * RATE_HZ), np.int16)]
        at += len(pcm) + round(PAUSE_S * RATE_HZ)
    reference = " ".join(text for _, text in prompts)
    print(f"{at / RATE_HZ:.0f} s, {len(ends)} words; heads {served.engine.backend.config.alignment_heads}")
    print("\n| policy | WER | confirmed words that changed | lag of words: median, p90 (s) | CPU s for a s of audio |")
    print("|---|---|---|---|---|")
    print(f"| whole prompts | {wer(reference, ' '.join(offline), 'en'):.3f} | | | |")
    for policy in args.policies:
        asking = Blocking(served.engine)
        stop = served.engine.backend.stop_tokens
        model = LiveModel(asking, served.processor, stop, POLICIES[policy], None)  # type: ignore[arg-type]
        said, confirmed, changes = asyncio.run(session(model, instruction, np.concatenate(whole), asking))
        known = [(token, end_s) for word, end_s in ends for token in tokens(word, "en")]
        came = [(token, when_s) for word, when_s in confirmed for token in tokens(word, "en")]
        matcher = SequenceMatcher(None, [one for one, _ in known], [one for one, _ in came], autojunk=False)
        pairs = [(block.a + n, block.b + n) for block in matcher.get_matching_blocks() for n in range(block.size)]
        lags = sorted(came[b][1] - known[a][1] for a, b in pairs)
        late = f"{statistics.median(lags):.2f}, {lags[int(0.9 * len(lags))]:.2f} ({len(lags)} words)"
        share = asking.cpu_s / (at / RATE_HZ)
        print(f"| {policy} | {wer(reference, said, 'en'):.3f} | {changes} | {late} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
