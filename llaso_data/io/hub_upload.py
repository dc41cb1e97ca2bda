"""A dataset repository on the Hugging Face hub that is written to: its state, uploads, commits.

The client's own ``upload_large_folder`` does not serve: newer versions have it no more, it commits files in an order of
its own, removes none, and writes its notes into the folder that it sends. Here files are uploaded first, and whoever
calls says which of them become one commit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import hub_files, hub_requests, hugging_face, storage
from llaso_data.io.hub_files import HubFile, HubTree
from llaso_data.io.hub_requests import Patience, Traffic, is_broken
from llaso_data.io.store_errors import StoreError, reason

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

_KIND = "dataset"
_BRANCH = re.compile(r"(?!refs/)\w[\w./-]*", re.ASCII)
_MOVED = (409, 412)  # what the hub says where a commit came in between

T = TypeVar("T")


class CommitUnsureError(LLaSOError):
    """A commit may have been made or not, or another came in between: look at the repository, and go on from there.

    Attributes:
        asked_s: Seconds that the hub asks to wait for; None where it says nothing.
    """

    def __init__(self, message: str, asked_s: float | None = None) -> None:
        super().__init__(message)
        self.asked_s = asked_s


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """A repository as it is now.

    Attributes:
        exists: Whether there is one that this login sees.
        private: Whether it is private.
        has_branch: Whether it has the branch that is written to.
        tree: The branch's files; None where there is no branch.
    """

    exists: bool = False
    private: bool = True
    has_branch: bool = False
    tree: HubTree | None = None

    @property
    def files(self) -> dict[str, HubFile]:
        """The files by path."""
        return {} if self.tree is None else {file.path: file for file in self.tree.files}


class HubRepository:
    """A dataset repository and a branch of it.

    Args:
        repo: ``OWNER/NAME``.
        revision: The branch.
        traffic: Where requests and retries are counted.
    """

    def __init__(self, repo: str, revision: str = "main", traffic: Traffic | None = None) -> None:
        repo = repo.removeprefix("hf://datasets/")
        if hugging_face.parse(f"hf://datasets/{repo}").repo != repo:
            raise LLaSOError(f"{repo}: OWNER/NAME of a data set is expected; --revision names a branch")
        if not _BRANCH.fullmatch(revision) or ".." in revision:
            raise LLaSOError(f"{revision}: is no name of a branch")
        self.repo, self.revision = repo, revision
        self.traffic = traffic or Traffic()

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"{hugging_face.endpoint()}/datasets/{self.repo}"

    def login(self) -> str:
        """Whose token is used.

        Raises:
            LLaSOError: There is no token, or the hub does not know it.
        """
        from huggingface_hub import get_token

        hub_requests.refuse_offline(self.repo)
        if get_token() is None:
            raise LLaSOError(
                f"{self.repo}: there is no token to write with: make one with the right to write at "
                f"{hugging_face.endpoint()}/settings/tokens, and give it by HF_TOKEN or `hf auth login`"
            )
        return str(self._asked(lambda: self._api.whoami())["name"])

    def look(self) -> RepositoryState:
        """What the repository holds now.

        Raises:
            LLaSOError: It may not be seen (its terms are not accepted, say), or the hub fails.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            info = self._asked(lambda: self._api.dataset_info(self.repo), (RepositoryNotFoundError,))
        except GatedRepoError as error:
            raise self._refusal(error) from error
        except RepositoryNotFoundError:
            return RepositoryState()
        try:
            self._asked(
                lambda: self._api.dataset_info(self.repo, revision=self.revision),
                (RevisionNotFoundError, RepositoryNotFoundError),
            )
        except (RevisionNotFoundError, RepositoryNotFoundError):
            return RepositoryState(True, bool(info.private))
        tree = hub_files.tree(f"hf://datasets/{self.repo}@{_quoted(self.revision)}", self.traffic)
        return RepositoryState(True, bool(info.private), True, tree)

    def create(self, state: RepositoryState) -> None:
        """Make the repository, private, and the branch, where they are not there."""
        if not state.exists:
            self._asked(lambda: self._api.create_repo(self.repo, repo_type=_KIND, private=True, exist_ok=True))
        if not state.has_branch and self.revision != "main":
            self._asked(
                lambda: self._api.create_branch(self.repo, branch=self.revision, repo_type=_KIND, exist_ok=True)
            )

    def set_private(self, private: bool) -> None:
        """Let all see the repository, or its owners only."""
        self._asked(lambda: self._api.update_repo_settings(self.repo, private=private, repo_type=_KIND))

    def read(self, state: RepositoryState, path: str) -> bytes:
        """A small file of the repository."""
        assert state.tree is not None
        with storage.scratch() as folder:
            target = os.path.join(folder, "file")
            hub_files.fetch(state.tree, state.files[path], target, self.traffic)
            with open(target, "rb") as file:
                return file.read()

    def upload(self, operations: Sequence[CommitOperationAdd]) -> None:
        """Bring the content of large files to the hub, which does not take again what it has.

        They are in no commit yet. Afterwards the operations no longer need their files.
        """
        with _without_bars():
            self._asked(
                lambda: self._api.preupload_lfs_files(
                    self.repo, operations, repo_type=_KIND, revision=self.revision, free_memory=True
                )
            )

    def commit(
        self, operations: Sequence[CommitOperationAdd | CommitOperationDelete], message: str, parent: str
    ) -> str:
        """Make one commit.

        Args:
            operations: What is added, replaced and removed.
            message: Of the commit.
            parent: The commit that it follows.

        Returns:
            The commit's id.

        Raises:
            CommitUnsureError: The answer was lost, the hub is busy, or another commit came in between.
            LLaSOError: The hub refuses it.
        """
        self.traffic.asking(hugging_face.endpoint())
        try:
            made = self._api.create_commit(
                self.repo,
                list(operations),
                commit_message=message,
                repo_type=_KIND,
                revision=self.revision,
                parent_commit=parent,
            )
        except Exception as error:
            status, asked_s = _status(error)
            if status in _MOVED:
                raise CommitUnsureError(f"{self.repo}: another commit came in between") from error
            if _passes(error):
                raise CommitUnsureError(f"{self.repo}: {_said(error)}", asked_s) from error
            raise self._refusal(error) from error
        return str(made.oid)

    @property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=hugging_face.endpoint())

    def _asked(self, call: Callable[[], T], passed: tuple[type[Exception], ...] = ()) -> T:
        """What a call gives that may be made again; exceptions in ``passed`` are the caller's."""
        patience = Patience(self.repo, self.traffic)
        while True:
            self.traffic.asking(hugging_face.endpoint())
            try:
                return call()
            except passed:
                raise
            except Exception as error:
                if not _passes(error):
                    raise self._refusal(error) from error
                patience.again(_said(error), _status(error)[1])

    def _refusal(self, error: Exception) -> Exception:
        """The error to raise for one of the client's."""
        response = _response(error)
        if response is None:
            known = isinstance(error, ValueError | OSError | RuntimeError)
            return StoreError(f"{self.repo}: the hub refuses ({reason(error)})") if known else error
        gated = response.headers.get("x-error-code") == "GatedRepo"
        said = " ".join(response.headers.get("x-error-message", "").split())[:200] or reason(error)[:200]
        if response.status_code == 403 and not gated:
            return LLaSOError(
                f"{self.repo}: this login may not write here ({said}): give a token with the right to write, of "
                f"{hugging_face.endpoint()}/settings/tokens, or name a repository of your own"
            )
        if response.status_code == 401 and not gated:
            return LLaSOError(
                f"{self.repo}: the hub does not take the token ({said}): make one with the right to write at "
                f"{hugging_face.endpoint()}/settings/tokens, and give it by HF_TOKEN or `hf auth login`"
            )
        if response.status_code in (400, 413, 422):
            return LLaSOError(f"{self.repo}: the hub refuses it ({said})")
        return hugging_face.refusal(response, "datasets", self.repo, self.repo)


@contextmanager
def _without_bars() -> Iterator[None]:
    """The client draws no progress of its own."""
    import huggingface_hub.utils

    bars: Any = huggingface_hub.utils
    shown = not bars.are_progress_bars_disabled()
    if shown:
        bars.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bars()


def _quoted(revision: str) -> str:
    from urllib.parse import quote

    return quote(revision, safe="")


def _causes(error: BaseException) -> list[BaseException]:
    """An exception and what it came of: the client wraps what uploads in threads raise."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    return causes


def _response(error: BaseException) -> Any:
    return next((found for one in _causes(error) if (found := getattr(one, "response", None)) is not None), None)


def _status(error: BaseException) -> tuple[int | None, float | None]:
    """The status that the hub answered with, and the seconds that it asks to wait for."""
    response = _response(error)
    return (None, None) if response is None else (response.status_code, hub_requests.seconds_asked(response.headers))


def _passes(error: BaseException) -> bool:
    """Whether the same may work later."""
    status, _ = _status(error)
    if status is not None:
        return status in hub_requests.REPEATED
    # What Xet raises of the connection are Python's own.
    return any(
        is_broken(one) or isinstance(one, ConnectionError | TimeoutError)
        for one in _causes(error)
        if isinstance(one, Exception)
    )


def _said(error: BaseException) -> str:
    status, _ = _status(error)
    return f"the connection failed ({reason(error)})" if status is None else f"the server answered {status}"
