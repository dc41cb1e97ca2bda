"""CPU seconds of answers: the engine beside ``generate`` on padded batches, the same prompts and weights, fp32.

    .venv/bin/python bench/answering.py --model demo-out/train/stage2/model --repeats 3

``make demo`` trains the model. 32 English prompts that it never heard are transcribed by ``generate`` in padded batches
of 1, 8 and 32, and by an engine of 1, 8 and 32 slots; both read the recordings too. They take turns in one process, and
medians are printed. Then: how many of the 32 answers have other tokens than ``generate`` gives for the prompt alone,
and how far apart the two best logits were where the first of these differs (fp32 leaves what is nearer than 1e-4 to
rounding). The last row quotes issue 29, which measured vLLM's CPU build on another day: compare it with that issue's
``generate`` (36.5, 34.7 and 81.5 s), not with this run's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PROMPTS = 32
TOGETHER = (1, 8, 32)
MAX_NEW_TOKENS = 60
QUOTED = {1: 22.4, 8: 7.9, 32: 6.5}

Tokens = list[list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-out/train/stage2/model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--together", type=int, nargs="+", default=list(TOGETHER))
    args = parser.parse_args()
    import torch

    from llaso_model import generation

    torch.set_num_threads(args.threads)
    loaded = generation.load(args.model, precision="fp32")
    conversations = [loaded.processor.instruction("Transcribe the speech.", [str(path)]) for path in held_out()]
    ways: dict[str, Callable[[int], Tokens]] = {
        "`generate`, padded": lambda rows: padded(loaded, conversations, rows),
        "engine": lambda slots: engine(loaded, conversations, slots),
    }
    answer_of_one = padded(loaded, conversations[:1], 1) and engine(loaded, conversations[:1], 1)
    print(f"warm: {len(answer_of_one[0])} tokens", flush=True)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    tokens: dict[tuple[str, int], Tokens] = {}
    for _ in range(args.repeats):
        for rows in args.together:
            for way, work in ways.items():
                tokens[way, rows], seconds = timed(lambda work=work, rows=rows: work(rows))
                found.setdefault((way, rows), []).append(seconds)
                print(f"{way}, {rows}: {seconds[0]:.1f} CPU s, {seconds[1]:.1f} s", flush=True)
    _print_table(ways, args, found)
    _print_differences(loaded, conversations, ways, args.together, tokens)


def held_out() -> list[Path]:
    """Recordings of English prompts that are not in the demo's shards."""
    from llaso_model.demo import held_out_prompts

    return [Path(path) for path, _ in held_out_prompts(240, PROMPTS)]


def padded(loaded: Any, conversations: Sequence[Any], rows: int) -> Tokens:
    """The tokens of ``generate`` in batches of so many rows."""
    found: Tokens = []
    for first in range(0, len(conversations), rows):
        inputs = loaded.processor.batch(conversations[first : first + rows])
        out = loaded.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        found += [until_end(loaded, row) for row in out.tolist()]
    return found


def engine(loaded: Any, conversations: Sequence[Any], slots: int) -> Tokens:
    """The tokens of an engine with so many slots."""
    from llaso_model.engine.engine import Limits, answers_of
    from llaso_model.engine.requests import Request, Sampling

    running = loaded.engine(Limits(slots=slots))
    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
    return [list(one.tokens) for one in answers_of(running.run(Request(each, sampling) for each in conversations))]


def until_end(loaded: Any, row: list[int]) -> list[int]:
    """A row of ``generate`` up to the token that ended it, without padding."""
    from llaso_model.engine.sampling import stop_tokens

    ends = stop_tokens(loaded.model.generation_config)
    return row[: next((place + 1 for place, token in enumerate(row) if token in ends), len(row))]


def timed(work: Callable[[], Tokens]) -> tuple[Tokens, tuple[float, float]]:
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return found, (time.process_time() - cpu, time.perf_counter() - wall)


def margin(loaded: Any, conversation: Any, place: int) -> float:
    """How far apart the two best logits are at a place of the answer that ``generate`` gives alone."""
    out = loaded.model.generate(
        **loaded.processor.batch([conversation]),
        max_new_tokens=place + 1,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    best = out.scores[place][0].topk(2).values
    return float(best[0] - best[1])


def _print_table(ways: dict[str, Any], args: argparse.Namespace, found: dict[Any, list[tuple[float, float]]]) -> None:
    print(f"\nCPU seconds for {PROMPTS} prompts, median of {args.repeats}, {args.threads} thread(s)")
    print(f"| rows together | {' | '.join(map(str, args.together))} |\n|---{'|---' * len(args.together)}|")
    medians = {key: statistics.median(cpu for cpu, _ in runs) for key, runs in found.items()}
    for way in ways:
        print(f"| {way} | {' | '.join(f'{medians[way, rows]:.1f}' for rows in args.together)} |")
    first, second = ways
    print(f"| times | {' | '.join(f'{medians[first, n] / medians[second, n]:.1f}' for n in args.together)} |")
    print(f"| vLLM, as of issue 29 | {' | '.join(str(QUOTED.get(rows, '')) for rows in args.together)} |")


def _print_differences(
    loaded: Any, conversations: Sequence[Any], ways: dict[str, Any], together: Sequence[int], tokens: dict[Any, Tokens]
) -> None:
    first, _ = ways
    alone = tokens[first, 1] if (first, 1) in tokens else padded(loaded, conversations, 1)
    for way in ways:
        for rows in together:
            others = [n for n in range(PROMPTS) if tokens[way, rows][n] != alone[n]]
            margins = []
            for number in others:
                pairs = enumerate(zip(tokens[way, rows][number], alone[number], strict=False))
                margins.append(margin(loaded, conversations[number], next(n for n, (a, b) in pairs if a != b)))
            print(f"{way}, {rows}: {len(others)} of {PROMPTS} differ from alone {[f'{one:.1e}' for one in margins]}")


if __name__ == "__main__":
    main()
