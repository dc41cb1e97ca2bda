"""vLLM's part of bench/answering.py, which starts it in vLLM's own environment. It prints tokens and CPU seconds.

arguments: MODEL THREADS MAX_NEW_TOKENS CACHES ROWS...; on standard input the paths of recordings, as JSON. Everything
runs in this one process, so that all of its CPU seconds count. CACHES is ``cold``: prefixes and encoded audio of
earlier prompts are not kept, or ``kept``: they are, as vLLM does by default. The prompts are answered once for each of
ROWS, so many at a time; with ``kept`` all but the first of these find what was read before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR", OMP_WAIT_POLICY="PASSIVE")
COLD: dict[str, Any] = {"enable_prefix_caching": False, "mm_processor_cache_gb": 0}


def main() -> None:
    model, threads, max_new_tokens, caches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    rows = [int(one) for one in sys.argv[5:]]
    paths = json.load(sys.stdin)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    engine = LLM(
        model,
        dtype="float32",
        max_num_seqs=max(rows),
        max_model_len=2048,
        enforce_eager=True,
        disable_log_stats=True,
        **(COLD if caches == "cold" else {}),
    )
    sampling = SamplingParams(temperature=0.0, max_tokens=max_new_tokens)
    prompts = prompts_of(model)
    engine.generate([prompts(paths[-1])], sampling, use_tqdm=False)  # warm
    runs = []
    for together in rows:
        start = time.process_time()
        tokens = []
        for some in batches(paths, len(paths) if len(rows) == 1 else together):
            out = engine.generate([prompts(path) for path in some], sampling, use_tqdm=False)
            tokens += [list(one.outputs[0].token_ids) for one in out]
        runs.append({"tokens": tokens, "cpu_s": time.process_time() - start})
    print(json.dumps(runs))


def prompts_of(model: str) -> Any:
    """What makes a prompt of a recording."""
    from llaso_model.processing import LLaSOProcessor
    from llaso_model.sounds import samples

    processor = LLaSOProcessor.from_pretrained(model)

    def prompt(path: str) -> dict[str, object]:
        sound = samples(path)
        conversation = processor.instruction("Transcribe the speech.", [sound])
        text = str(processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
        return {"prompt": text, "multi_modal_data": {"audio": (sound, 16_000)}}

    return prompt


def batches(paths: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(paths), size):
        yield paths[first : first + size]


if __name__ == "__main__":
    main()
