"""The rating page on loopback. A rating is on the disk before it is confirmed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.report import page as pages
from llaso_data.report.served import Reply, Served
from llaso_model.evaluate import rate
from llaso_model.evaluate.rows import Row


class RateServer(Served):
    """Serves the items of one draw to any number of raters."""

    command = "llaso-model rate"

    def __init__(self, folder: str, items: Sequence[Row], audio_root: str | None = None, port: int = 0) -> None:
        """Raises LLaSOError where the port is taken."""
        self.folder = folder
        self.items = list(items)
        self.audio_root = audio_root
        self._rows = {rate.item_id(row): row for row in self.items}
        self._lock = threading.Lock()
        super().__init__(port=port)

    def page(self) -> tuple[str, str]:
        own = __package__
        scripts = [pages.asset("common.js") + pages.asset("rate.js", own)]
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

    def get(self, path: str) -> Reply | None:
        if not path.startswith("sound/"):
            return None
        data = self.sound(unquote(path.removeprefix("sound/")))
        return Reply(data or b"", "audio/ogg", HTTPStatus.NOT_FOUND if data is None else HTTPStatus.OK)

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        return {"begin": self.begin, "rate": self.say}

    def begin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What a rater said so far."""
        name = rate.clean_name(str(request.get("rater", "")))
        said = rate.read(self.folder, name)
        return {"rater": name, "ratings": {item: given for item, given in said.items() if item in self._rows}}

    def say(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Saves a rating of one item; no aspects takes it back."""
        name, item = rate.clean_name(str(request.get("rater", ""))), str(request.get("item"))
        if item not in self._rows:
            raise LLaSOError("no such item")
        rating = request.get("rating") or {}
        if not isinstance(rating, dict):
            raise LLaSOError("a rating is an object")
        given = rate.checked(rating)
        with self._lock:
            said = rate.read(self.folder, name)
            said.pop(item, None)
            if given:
                said[item] = given
            rate.write(self.folder, name, said, {key: row.prediction.system for key, row in self._rows.items()})
        return {"saved": item}

    def sound(self, item: str) -> bytes | None:
        """The item's sound as Ogg Opus; None where there is none."""
        row = self._rows.get(item)
        if row is None or self.audio_root is None or not row.prediction.audio:
            return None
        root = os.path.realpath(self.audio_root)
        path = os.path.realpath(os.path.join(root, row.prediction.audio[0]))
        if not path.startswith(root + os.sep) or not os.path.isfile(path):
            return None
        try:
            pcm, _ = audio.decode(path, None)
        except LLaSOError:
            return None
        return audio.encode(pcm, "opus")

    def _shown(self, row: Row) -> dict[str, Any]:
        """An item without its system, and without what was extracted: raters judge the answer."""
        one = row.prediction
        has_sound = self.audio_root is not None and bool(one.audio)
        return {
            "id": rate.item_id(row),
            "prompt": one.prompt,
            "reference": one.reference,
            "answer": one.answer,
            "sound": has_sound,
        }
