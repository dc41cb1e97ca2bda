"""Flip bits in everything that is written to be read again, one at a time, and count what nobody notices.

    .venv/bin/python bench/flips.py --flips 500

One small real instance of each kind is made (tests/support/flip_targets.py); flips are spread evenly over kinds and,
within a kind, over its files by their size. After each the kind's own readers run. *Noticed*: they refuse with a
message, or say that something is made again. *Identical*: what they give is the very same, bit for bit. *Silent*: they
give something else and say nothing. *Crashed*: an exception that does not speak to the user. Exit code 1 where a flip
was silent or a reader crashed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for tests.support.flip_targets

from tests.support.flip_targets import OUTCOMES, flipped  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="", help="only kinds whose name holds this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, bad = flipped(Path(folder), args.flips, args.seed, args.kind)
    print(f"{'kind':<28}" + "".join(f"{name:>11}" for name in OUTCOMES))
    for kind, found in {**counts, "all": sum(counts.values(), Counter())}.items():
        print(f"{kind:<28}" + "".join(f"{found[name]:>11}" for name in OUTCOMES))
    for line in bad:
        print(line)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
