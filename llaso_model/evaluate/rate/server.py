"""The rating page on loopback. A rating is on the disk before it is confirmed."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.report import page as pages
from llaso_data.report.served import Json, Served
from llaso_data.report.worklog import Roster, WorkLog
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.predict import recordings as sounds
from llaso_model.evaluate.predict.recordings import Recordings
from llaso_model.evaluate.rate import ratings as rate

MAX_CLIP_S = 600.0
"""How much of a clip is sent; of a longer one the page says that it is the beginning."""


class RateServer(Served):
    """Serves the items of one draw to any number of raters."""

    command = "llaso-model rate"

    def __init__(
        self,
        folder: str,
        items: Sequence[Row],
        audio_root: str | None = None,
        port: int = 0,
        recordings: Recordings | None = None,
    ) -> None:
        """``recordings`` are those of the evaluation's noise. Raises LLaSOError where the port is taken."""
        self.folder = folder
        self.items = list(items)
        self.audio_root = audio_root
        self.recordings = recordings
        self._rows = {rate.item_id(row): row for row in self.items}
        self._lock = threading.Lock()
        self._raters = Roster(rate.KIND, lambda name: rate.open_log(folder, name))
        super().__init__(port=port)

    def close(self) -> None:
        """Closes the logs of all raters."""
        self._raters.close()

    def page(self) -> tuple[str, str]:
        """The page as HTML, and its Content-Security-Policy."""
        own = __package__
        scripts = [pages.joined("js", "asking") + pages.asset("rate.js", own)]
        policy = pages.policy(scripts, "connect-src 'self'")
        html = pages.render(
            "rate.html.j2",
            scripts,
            package=own,
            css=pages.asset("common.css") + pages.asset("rate.css", own),
            policy=policy,
            aspects=rate.ASPECTS,
            count=len(self.items),
            payload=pages.as_json({"aspects": list(rate.ASPECTS), "items": [self._shown(row) for row in self.items]}),
        )
        return html, policy

    def gets(self) -> Mapping[str, Callable[[str], Json]]:
        """The addresses that are read from."""
        return {"sound": self.sound}

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], Json]]:
        """The addresses that are written to."""
        return {"begin": self.begin, "rate": self.save_rating}

    def begin(self, request: Mapping[str, Any]) -> Json:
        """The current ratings of a rater, of the items that are shown."""
        name = self._rater(request).name
        ratings = rate.read_ratings(self.folder, name)
        return {"rater": name, "ratings": {item: rating for item, rating in ratings.items() if item in self._rows}}

    def _rater(self, request: Mapping[str, Any]) -> WorkLog:
        name = request.get("rater")
        if not isinstance(name, str):
            raise LLaSOError("a rater has a name")
        return self._raters.of(name)

    def save_rating(self, request: Mapping[str, Any]) -> Json:
        """Saves a rating of one item; no aspects takes it back."""
        item = str(request.get("item"))
        if item not in self._rows:
            raise LLaSOError("no such item")
        rating = request.get("rating") or {}
        if not isinstance(rating, dict):
            raise LLaSOError("a rating is an object")
        checked = rate.check_rating(rating)
        log = self._rater(request)
        with self._lock:
            rate.record_rating(log, item, self._rows[item].prediction.system, checked)
        return {"saved": item}

    def sound(self, item: str) -> Json:
        """The sound of an item: Ogg Opus as base64, its length in seconds, whether it was cut.

        Raises:
            LLaSOError: The item has no sound, or its file is not below the audio folder.
        """
        row = self._rows.get(item)
        if row is None or self.audio_root is None or not row.prediction.audio:
            raise LLaSOError("no such sound")
        prediction = row.prediction
        clip = self.decoder.submit(
            sounds.conditioned_clip, self.audio_root, prediction, MAX_CLIP_S, self.recordings
        ).result()
        if clip is None:
            raise LLaSOError(f"{prediction.audio[0]}: no such file below {self.audio_root}")
        opus = base64.b64encode(audio.encode(clip.pcm, "opus")).decode("ascii")
        return {"opus": opus, "seconds": round(len(clip.pcm) / audio.SAMPLE_RATE_HZ, 3), "cut": clip.cut}

    def _shown(self, row: Row) -> Json:
        """An item as raters see it: without its system, and without what was extracted from the answer."""
        prediction = row.prediction
        return {
            "id": rate.item_id(row),
            "prompt": prediction.prompt,
            "reference": prediction.reference,
            "answer": prediction.answer,
            "sound": self.audio_root is not None and bool(prediction.audio),
            "condition": sounds.condition_tag(prediction),
            "unmade": sounds.missing_condition(prediction, self.recordings),
        }
