"""How many requests an object store gets from `build-align` and `shard`: what a plan for a large corpus needs to know.

    .venv/bin/python bench/store_requests.py

English prompts on a real S3 server (moto) behind a gateway that counts, by method and folder. Reruns that have nothing
to do are counted too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for tests.support.object_stores

from llaso_data import audio  # noqa: E402
from llaso_data.demo import assets, weights  # noqa: E402
from llaso_data.pipeline import commit  # noqa: E402
from llaso_data.pipeline.build_align import build_align  # noqa: E402
from llaso_data.pipeline.shard import shard_dataset  # noqa: E402
from llaso_data.recipe import Asr, Blocks, Observe, Recipe, Run, Shard, SourceSpec  # noqa: E402
from tests.support.object_stores import BUCKET, gateway, s3_server, upload  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--per-block", type=int, default=12, help="at most; and so many samples in a shard")
    args = parser.parse_args()
    with s3_server() as url, tempfile.TemporaryDirectory() as folder, gateway(url) as counting:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        prompts = assets.demo_corpus(args.clips, 1)
        source = prompts.folders[prompts.languages.index("en")]
        for number, path in enumerate(sorted(source.rglob("*.g722"))[: args.clips]):
            (corpus / f"{number:04d}.flac").write_bytes(audio.encode(audio.decode(str(path))[0], "flac"))
        upload(corpus, f"{BUCKET}/corpus")

        def counted(what: str, call: Callable[[], object]) -> None:
            counting.seen.clear()
            call()
            kinds = Counter(f"{method} {kind(path)}" for method, path in counting.seen)
            print(f"{what}: {sum(kinds.values())} requests")
            for name, count in sorted(kinds.items()):
                print(f"  {count:5d}  {name}")

        recipe = Recipe(
            sources=(SourceSpec(path=f"{BUCKET}/corpus", language="en"),),
            out=f"{BUCKET}/align",
            blocks=Blocks(clips=args.clips, max_clips=args.per_block),
            observe=Observe(asr=Asr(model=str(weights.tiny_en()))),
            run=Run(engine="local", device="cpu"),
            shard=Shard(samples_per_shard=args.per_block),
        )
        counted(f"build-align of {args.clips} files", lambda: build_align(recipe))
        blocks, accepted = len(commit.committed(f"{BUCKET}/align")), build_align(recipe).counts["accepted"]
        print(f"({blocks} blocks, {accepted} accepted)")
        counted("the same again, with nothing to do", lambda: build_align(recipe))
        write = lambda: shard_dataset(f"{BUCKET}/align", f"{BUCKET}/shards", recipe.shard, recipe.run)  # noqa: E731
        counted(f"shard into {-(-accepted // args.per_block)} shards", write)
        counted("the same again, with nothing to do", write)


def kind(path: str) -> str:
    """The folder of an object, or that a folder was listed."""
    place = urlsplit(path)
    inside = place.path.strip("/").split("/")[1:]
    if "list-type" in place.query or not inside:
        return "listing"
    return "/".join(inside[:-1]) or inside[-1]


if __name__ == "__main__":
    main()
