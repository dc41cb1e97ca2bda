"""Live transcription: hypotheses of speech that goes on, and what of them is confirmed. A confirmed word never changes.

policies.py   POLICIES: which words of a hypothesis are confirmed
item.py       one stretch of speech: hypotheses, confirmed text, the end
turns.py      server VAD: where speech starts and stops
"""

from llaso_model.serve.live.policies import POLICIES

__all__ = ["POLICIES"]
