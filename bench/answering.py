"""CPU seconds of answers: the engine beside transformers' ``generate``, one row after another, the same weights, fp32.

    .venv/bin/python bench/answering.py --model demo-out/train/stage2/model --repeats 3
    .venv/bin/python bench/answering.py --onnx graphs
    .venv/bin/python bench/answering.py --pieces
    .venv/bin/python bench/answering.py --vllm $(.venv/bin/python -m tests.support.vllm_environment)

``make demo`` trains the model. 32 English prompts that it never heard are transcribed by ``generate`` one by one, and
by an engine of 1, 8 and 32 slots, which is then asked the same again; all read the recordings too. They take turns in
one process, and medians are printed. Then: how many of the 32 answers have other tokens than ``generate`` gives, and
how far apart the two best logits were where the first of these differs (fp32 leaves what is nearer than 1e-4 to
rounding); and how many CPU seconds the products alone take, at the best speed that this core has for large ones.
``--bf16`` adds the engine in bfloat16, ``--padded`` adds ``generate`` on padded batches. ``--onnx`` names the folder
that ``llaso-model export`` wrote of the same model: the engine with onnxruntime answers, too. ``--vllm`` names the
Python of an environment that has vLLM and this project (``tests/support/vllm_environment.py`` makes one): vLLM with our
plugin answers the same prompts, in a process of its own for each number of rows, without caches of earlier prompts.
``--vllm-caches`` adds what it takes with them, when it answers the same prompts for the second time. ``--pieces`` says
what the parts of an answer cost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PROMPTS = 32
TOGETHER = (1, 8, 32)
MAX_NEW_TOKENS = 60
ALONE = "`generate`, one by one"

Tokens = list[list[int]]
Found = dict[tuple[str, int], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-out/train/stage2/model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--together", type=int, nargs="+", default=list(TOGETHER))
    parser.add_argument("--padded", action="store_true", help="`generate` on padded batches, too")
    parser.add_argument("--onnx", metavar="FOLDER", help="the engine with onnxruntime, too")
    parser.add_argument("--vllm", metavar="PYTHON", help="vLLM with our plugin, too")
    parser.add_argument("--vllm-caches", action="store_true", help="vLLM that has heard the same prompts before, too")
    parser.add_argument("--pieces", action="store_true", help="what the parts of an answer cost, and nothing else")
    parser.add_argument("--bf16", action="store_true", help="the engine in bfloat16, too")
    args = parser.parse_args()
    import torch

    from llaso_model import generation

    torch.set_num_threads(args.threads)
    loaded = generation.load(args.model, precision="fp32")
    paths = held_out()
    conversations = [loaded.processor.instruction("Transcribe the speech.", [str(path)]) for path in paths]
    if args.pieces:
        import answering_pieces

        answering_pieces.print_pieces(loaded, conversations, paths, MAX_NEW_TOKENS)
        return
    print(f"warm: {len(by_generate(loaded, conversations[:1], 1)[0])} tokens", flush=True)
    by_engine(loaded, conversations[:1], 1)  # prepares the weights, once for all engines
    half = generation.load(args.model, precision="bf16") if args.bf16 else None
    if half is not None:
        by_engine(half, conversations[:1], 1)
    found: Found = {}
    tokens: dict[tuple[str, int], Tokens] = {}
    for _ in range(args.repeats):
        for (way, rows), work in _ways(loaded, half, conversations, args).items():
            tokens[way, rows], seconds = work()
            found.setdefault((way, rows), []).append(seconds)
            print(f"{way}, {rows}: {seconds:.1f} CPU s", flush=True)
    _print_table(args, found)
    _print_differences(loaded, conversations, tokens)
    import answering_pieces

    answering_pieces.print_floor(loaded, conversations, sum(map(len, tokens[ALONE, 1])))


def _ways(loaded: Any, half: Any, conversations: Sequence[Any], args: argparse.Namespace) -> dict[tuple[str, int], Any]:
    """What is measured in a repeat: (way, rows together) to a call that returns tokens and CPU seconds."""

    def timed(work: Callable[..., Tokens], rows: int, one: Any = loaded) -> Callable[[], tuple[Tokens, float]]:
        def call() -> tuple[Tokens, float]:
            start = time.process_time()
            return work(one, conversations, rows), time.process_time() - start

        return call

    ways: dict[tuple[str, int], Any] = {(ALONE, 1): timed(by_generate, 1)}
    for rows in args.together:
        ways["engine", rows] = timed(by_engine, rows)
        ways["engine, the same recordings again", rows] = lambda rows=rows: by_engine_again(loaded, conversations, rows)
        if half is not None:
            ways["engine in bfloat16", rows] = timed(by_engine, rows, half)
        if args.padded and rows > 1:
            ways["`generate`, padded", rows] = timed(by_generate, rows)
        if args.onnx:
            ways["engine, onnx", rows] = timed(by_onnx(args.onnx), rows)
        if args.vllm:
            ways["vLLM with our plugin", rows] = lambda rows=rows: by_vllm(args, rows, "cold")
        if args.vllm and args.vllm_caches:
            ways["vLLM, the same prompts again", rows] = lambda rows=rows: by_vllm(args, rows, "kept")
    return ways


def held_out() -> list[Path]:
    """Recordings of English prompts that are not in the demo's shards."""
    from llaso_model.demo import held_out_prompts

    return [Path(path) for path, _ in held_out_prompts(240, PROMPTS)]


def by_generate(loaded: Any, conversations: Sequence[Any], rows: int) -> Tokens:
    """The tokens of ``generate`` in batches of so many rows."""
    found: Tokens = []
    for first in range(0, len(conversations), rows):
        inputs = loaded.processor.batch(conversations[first : first + rows])
        out = loaded.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        found += [until_end(loaded, row) for row in out.tolist()]
    return found


def by_engine(loaded: Any, conversations: Sequence[Any], slots: int) -> Tokens:
    """The tokens of an engine with so many slots."""
    from llaso_model.engine.engine import Limits

    return _answered(loaded.engine(Limits(slots=slots)), conversations)


def by_engine_again(loaded: Any, conversations: Sequence[Any], slots: int) -> tuple[Tokens, float]:
    """The tokens of an engine that has answered the same prompts before, and its CPU seconds for the second time."""
    from llaso_model.engine.engine import Limits

    engine = loaded.engine(Limits(slots=slots))
    _answered(engine, conversations)
    start = time.process_time()
    return _answered(engine, conversations), time.process_time() - start


def by_onnx(folder: str) -> Callable[[Any, Sequence[Any], int], Tokens]:
    """What gives the tokens of an engine with the graphs of a folder."""
    from llaso_model.engine.backends import BACKENDS
    from llaso_model.engine.engine import Engine, Limits

    backend = BACKENDS["onnx"].open(folder, "--onnx", None)
    return lambda _, conversations, slots: _answered(Engine(backend, Limits(slots=slots)), conversations)


def _answered(engine: Any, conversations: Sequence[Any]) -> Tokens:
    from llaso_model.engine.engine import answers_of
    from llaso_model.engine.requests import Request, Sampling

    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
    return [list(one.tokens) for one in answers_of(engine.run(Request(each, sampling) for each in conversations))]


def by_vllm(args: argparse.Namespace, rows: int, caches: str) -> tuple[Tokens, float]:
    """The tokens of vLLM with at most so many rows together, and its CPU seconds without those of its start."""
    script = Path(__file__).with_name("answering_vllm.py")
    paths = json.dumps([str(path) for path in held_out()])
    sizes = [rows, args.threads, MAX_NEW_TOKENS, caches]
    command = [args.vllm, script, str(Path(args.model).resolve()), *map(str, sizes)]
    environment = {**os.environ}
    environment.pop("PYTHONPATH", None)  # a checkout there hides the plugin that is installed
    out = subprocess.run(command, input=paths, capture_output=True, text=True, check=False, env=environment)
    if out.returncode:
        raise SystemExit(f"vLLM ended with {out.returncode}:\n{out.stderr[-3000:]}")
    answer = json.loads(out.stdout.splitlines()[-1])
    return answer["tokens"], answer["cpu_s"]


def until_end(loaded: Any, row: list[int]) -> list[int]:
    """A row of ``generate`` up to the token that ended it, without padding."""
    from llaso_model.engine.sampling import stop_tokens

    ends = stop_tokens(loaded.model.generation_config)
    return row[: next((place + 1 for place, token in enumerate(row) if token in ends), len(row))]


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


def _print_table(args: argparse.Namespace, found: Found) -> None:
    medians = {key: statistics.median(runs) for key, runs in found.items()}
    alone = medians[ALONE, 1]
    print(f"\nCPU seconds for {PROMPTS} prompts, median of {args.repeats}, {args.threads} thread(s)")
    print(f"{ALONE}: {alone:.1f}\n")
    print(f"| rows together | {' | '.join(map(str, args.together))} |\n|---{'|---' * len(args.together)}|")
    for way in dict.fromkeys(way for way, _ in found if way != ALONE):
        own = [medians.get((way, rows)) for rows in args.together]
        cells = ["" if one is None else f"{one:.1f} ({alone / one:.1f}x)" for one in own]
        print(f"| {way} | {' | '.join(cells)} |")


def _print_differences(loaded: Any, conversations: Sequence[Any], tokens: dict[tuple[str, int], Tokens]) -> None:
    alone = tokens[ALONE, 1]
    print(f"\n{sum(map(len, alone))} tokens in {len(alone)} answers")
    for (way, rows), found in tokens.items():
        margins = []
        for number, (other, wanted) in enumerate(zip(found, alone, strict=True)):
            if other != wanted:
                pairs = enumerate(zip(other, wanted, strict=False))
                place = next((n for n, (a, b) in pairs if a != b), min(len(other), len(wanted)) - 1)
                margins.append(margin(loaded, conversations[number], place))
        print(f"{way}, {rows}: {len(margins)} of {len(alone)} differ {[f'{one:.1e}' for one in margins]}")


if __name__ == "__main__":
    main()
