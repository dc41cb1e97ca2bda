"""vLLM's part of bench/answering.py, which starts it in vLLM's own environment. It prints tokens and CPU seconds.

arguments: MODEL ROWS THREADS MAX_NEW_TOKENS CACHES; on standard input the paths of recordings, as JSON. Everything runs
in this one process, so that all of its CPU seconds count. CACHES is ``cold``: prefixes and encoded audio of earlier
prompts are not kept; or ``kept``: they are, as vLLM does by default, the prompts are answered twice, and the second
time counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR", OMP_WAIT_POLICY="PASSIVE")
COLD: dict[str, Any] = {"enable_prefix_caching": False, "mm_processor_cache_gb": 0}


def main() -> None:
    model, rows, threads, max_new_tokens = sys.argv[1], *map(int, sys.argv[2:5])
    is_cold = sys.argv[5] == "cold"
    paths = json.load(sys.stdin)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    from llaso_model.processing import LLaSOProcessor
    from llaso_model.sounds import samples

    engine = LLM(
        model,
        dtype="float32",
        max_num_seqs=rows,
        max_model_len=2048,
        enforce_eager=True,
        disable_log_stats=True,
        **(COLD if is_cold else {}),
    )
    processor = LLaSOProcessor.from_pretrained(model)
    sampling = SamplingParams(temperature=0.0, max_tokens=max_new_tokens)

    def prompt(path: str) -> dict[str, object]:
        sound = samples(path)
        conversation = processor.instruction("Transcribe the speech.", [sound])
        text = str(processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
        return {"prompt": text, "multi_modal_data": {"audio": (sound, 16_000)}}

    engine.generate([prompt(path) for path in (paths[:1] if is_cold else paths)], sampling, use_tqdm=False)  # warm
    start = time.process_time()
    out = engine.generate([prompt(path) for path in paths], sampling, use_tqdm=False)
    cpu_s = time.process_time() - start
    print(json.dumps({"tokens": [list(one.outputs[0].token_ids) for one in out], "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
