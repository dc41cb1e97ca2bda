"""The server of the audit's page. It decodes sounds when they are asked for, and saves answers at once.

It gives out the items of one sample and takes answers; it reads no other files.
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
from llaso_data.report.audit import AuditSample, Item, Status, update_certificate
from llaso_data.report.served import Json, Served
from llaso_data.report.worklog import Roster

_MAX_CACHED = 32  # decoded, of about 150 kB


class AuditServer(Served):
    """Serves the audit of a sample.

    Args:
        sample: what is audited.
        auditor: the name that the page begins with; None where it asks for one.
        languages: those to be audited, as codes; empty for all.
        host: the address to listen at.
        port: the port; 0 for any free one.
        title: the page's heading; None for the name of the output's folder.

    Raises:
        LLaSOError: where the address is taken, the auditor is at work elsewhere, or no item is in the languages.
    """

    command = "llaso-data audit"

    def __init__(
        self,
        sample: AuditSample,
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
        self._by_id = {item.utterance.id: item for item in self.items}
        self._lock = threading.Lock()
        self._auditors = Roster(answers.KIND, lambda name: answers.open_answers(sample.align, sample.verdicts, name))
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
        """Close the auditors' files."""
        self._auditors.close()

    def at_work(self, name: str) -> Auditor:
        """The auditor of a name. The server holds their file until it is closed."""
        return self._auditors.of(name)

    def begin(self, request: Mapping[str, Any]) -> Json:
        """Answer with the auditor's answers so far, oldest first."""
        work = self.at_work(str(request.get("auditor", "")))
        answered = [
            [id_, earlier.answer]
            for id_, earlier in work.answers.items()
            if id_ in self._by_id and earlier.heard == self._by_id[id_].heard
        ]
        return {"auditor": work.name, "answers": answered}

    def answer(self, request: Mapping[str, Any]) -> Json:
        """Save one answer; null takes an earlier one back. It is on the disk when this returns."""
        id_, value = request.get("id"), request.get("answer")
        if id_ not in self._by_id or value not in (*ANSWERS, None):
            raise LLaSOError("no such item or answer")
        work = self.at_work(str(request.get("auditor", "")))
        with self._lock:
            work.add([(id_, self._by_id[id_].heard, value)])
            update_certificate(self.sample)
        return {"saved": id_}

    def result(self, request: Mapping[str, Any]) -> Json:
        """Answer with the state of the audit; who has items left learns only how many, not to be influenced."""
        work = self.at_work(str(request.get("auditor", "")))
        own_answers = work.answers
        open_items = [
            id_ for id_, item in self._by_id.items() if id_ not in own_answers or own_answers[id_].heard != item.heard
        ]
        return {"open": len(open_items)} if open_items else audit_page.result(self.status())

    def status(self) -> Status:
        """How far the audit is; writes the certificate when it is done."""
        with self._lock:
            return update_certificate(self.sample)

    def item(self, id_: str) -> Json:
        """An item with its sound, which is decoded once; the latest ones are kept."""
        if id_ not in self._by_id:
            raise LLaSOError("no such item")
        future = self._sound(self._by_id[id_])
        try:
            content = future.result()
        except Exception:
            content = None
        if content is None or content["trouble"]:  # the file may come back
            with self._lock:
                self._sounds.pop(id_, None)
        return future.result() if content is None else content

    def _sound(self, item: Item) -> Future[Json]:
        with self._lock:
            id_ = item.utterance.id
            future = self._sounds.get(id_)
            if future is None:
                future = self._sounds[id_] = self.decoder.submit(audit_page.item, item)
            self._sounds.move_to_end(id_)
            while len(self._sounds) > _MAX_CACHED:
                self._sounds.popitem(last=False)
            return future

    def page(self) -> tuple[str, str]:
        """The page and its Content-Security-Policy."""
        return audit_page.page(self.sample, self.items, self.auditor, self.title, self.status())

    def gets(self) -> Mapping[str, Callable[[str], Json]]:
        """``item/ID``: an item with its sound."""
        return {"item": self.item}

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], Json]]:
        """``begin``, ``answer`` and ``result``, each with the auditor's name."""
        return {"begin": self.begin, "answer": self.answer, "result": self.result}
