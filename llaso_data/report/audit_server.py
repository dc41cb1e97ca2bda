"""The audit's page: a small server for this machine, sounds decoded when they are asked for, answers saved at once.

The server hands out this sample's items and takes answers; it knows no other files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import ANSWERS
from llaso_data.io.loopback import LOOPBACK
from llaso_data.report import answers, audit_page
from llaso_data.report.answers import Auditor
from llaso_data.report.audit import Item, Sample, Status, settle
from llaso_data.report.served import Json, Served
from llaso_data.report.worklog import Roster

_KEPT_ITEMS = 32  # decoded, of about 150 kB


class AuditServer(Served):
    """Serves the audit of a sample.

    `languages` are those to be heard, empty for all. `auditor` is the name that the page begins with. Raises
    LLaSOError where the address is taken, or the auditor is at work elsewhere.
    """

    command = "llaso-data audit"

    def __init__(
        self,
        sample: Sample,
        *,
        auditor: str | None = None,
        languages: tuple[str, ...] = (),
        host: str = LOOPBACK,
        port: int = 0,
        title: str | None = None,
    ) -> None:
        self.sample = sample
        self.title = title
        self.auditor = None if auditor is None else answers.clean_name(auditor)
        self.items = [item for item in sample.items if not languages or item.stratum[0] in languages]
        if not self.items:
            raise LLaSOError(f"nothing of the sample is in {', '.join(languages)}")
        self._known = {item.utterance.id: item for item in self.items}
        self._lock = threading.Lock()
        self._auditors = Roster(answers.KIND, lambda name: answers.at_work(sample.align, sample.verdicts, name))
        self._sounds: OrderedDict[str, Future[Json]] = OrderedDict()
        super().__init__(host, port)

    def __enter__(self) -> AuditServer:
        self._sound(self.items[0])  # the decoder starts while the page is read
        if self.auditor is not None:
            try:
                self.at_work(self.auditor)
            except LLaSOError:
                self.__exit__()
                raise
        return self

    def close(self) -> None:
        self._auditors.close()

    def at_work(self, name: str) -> Auditor:
        """The auditor of that name; their file is this server's until it is closed."""
        return self._auditors.of(name)

    def begin(self, request: Mapping[str, Any]) -> Json:
        """What the auditor said so far, oldest first."""
        work = self.at_work(str(request.get("auditor", "")))
        said = [
            [id_, given.answer]
            for id_, given in work.answers.items()
            if id_ in self._known and given.heard == self._known[id_].heard
        ]
        return {"auditor": work.name, "answers": said}

    def answer(self, request: Mapping[str, Any]) -> Json:
        """Saves one answer, or with null takes it back. It is on the disk when this returns."""
        id_, said = request.get("id"), request.get("answer")
        if id_ not in self._known or said not in (*ANSWERS, None):
            raise LLaSOError("no such item or answer")
        work = self.at_work(str(request.get("auditor", "")))
        with self._lock:
            work.say([(id_, self._known[id_].heard, said)])
            settle(self.sample)
        return {"saved": id_}

    def result(self, request: Mapping[str, Any]) -> Json:
        """Where the audit stands, for those who have judged all of their own: nobody is to know before."""
        work = self.at_work(str(request.get("auditor", "")))
        mine = work.answers
        left = [id_ for id_, item in self._known.items() if id_ not in mine or mine[id_].heard != item.heard]
        return {"open": len(left)} if left else audit_page.result(self.status())

    def status(self) -> Status:
        with self._lock:
            return settle(self.sample)

    def item(self, id_: str) -> Json:
        """One item with its sound. Decoded once; the last ones are kept."""
        if id_ not in self._known:
            raise LLaSOError("no such item")
        future = self._sound(self._known[id_])
        try:
            found = future.result()
        except Exception:
            found = None
        if found is None or found["trouble"]:  # the file may come back
            with self._lock:
                self._sounds.pop(id_, None)
        return future.result() if found is None else found

    def _sound(self, item: Item) -> Future[Json]:
        with self._lock:
            id_ = item.utterance.id
            future = self._sounds.get(id_)
            if future is None:
                future = self._sounds[id_] = self.decoder.submit(audit_page.item, item)
            self._sounds.move_to_end(id_)
            while len(self._sounds) > _KEPT_ITEMS:
                self._sounds.popitem(last=False)
            return future

    def page(self) -> tuple[str, str]:
        return audit_page.page(self.sample, self.items, self.auditor, self.title, self.status())

    def gets(self) -> Mapping[str, Callable[[str], Json]]:
        return {"item": self.item}

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], Json]]:
        return {"begin": self.begin, "answer": self.answer, "result": self.result}
