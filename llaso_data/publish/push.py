"""Publish sets of shards on the Hugging Face hub: ``llaso-data push``.

Files go up first. Where the repository holds a set already, everything changes in one commit, so that a reader finds
the old set or the new one. A first push that is large makes several commits; manifest, index and card are in the last.
At the end the repository's list of files is compared with what was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, storage
from llaso_data.io.hub_requests import Patience
from llaso_data.io.hub_upload import CommitUnsureError, HubRepository, RepositoryState
from llaso_data.publish import card, facts, licences, plan, readme, send, sets
from llaso_data.publish.facts import Facts
from llaso_data.publish.metadata import by_name, metadata
from llaso_data.publish.plan import LocalFile, Plan
from llaso_data.publish.sets import Found
from llaso_data.records import SPLITS
from llaso_data.shards import layout

Progress = Callable[[int, int], None]
"""Is told how many files, and how many bytes, have gone up since it was last told."""

_FILES_OF_FOLDER = 10_000  # more in one folder the hub does not recommend
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """How sets are published.

    Attributes:
        revision: The branch; it is made where there is none.
        public: Whether all may see the repository; None leaves one as it is, and makes a new one private.
        message: Of the commits; None for one that says the counts.
        overwrite: Replace other files of the same names, and other sets.
        card: A file that the card begins with, instead of ``README.md`` of the folder or of the repository.
        contact: Whom the card names for removals; None for the repository's discussions.
    """

    revision: str = "main"
    public: bool | None = None
    message: str | None = None
    overwrite: bool = False
    card: str | None = None
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a push does, or would do.

    Attributes:
        plan: Which files are sent and removed.
        files: All that are to be in the repository.
        card: The text of its ``README.md``.
        warnings: What the user should know before.
    """

    plan: Plan
    files: tuple[LocalFile, ...]
    card: str
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return {
            "sent": {file.path: file.size_bytes for file in self.plan.sent},
            "already_there": self.plan.same,
            "removed": list(self.plan.removed),
            "card": self.card,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSummary:
    """What was done.

    Attributes:
        repository: Its page.
        commit: The last commit; of a push that changed nothing, the one that was there.
        private: Whether only its owners see it.
        files: How many the set consists of, all compared with the repository's sums.
        sent: How many of them were sent, in ``sent_bytes`` bytes; ``already_there`` were not.
        removed: How many were removed.
        configurations: Samples by configuration and split.
        warnings: What the user should know.
    """

    repository: str
    commit: str
    private: bool
    files: int
    sent: int
    sent_bytes: int
    already_there: int
    removed: int
    configurations: dict[str, int]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be published: the sets, what the card says of them, and their files without the card."""

    uri: str
    found: Found
    facts: Facts
    files: tuple[LocalFile, ...]


def prepare(uri: str) -> Prepared:
    """Find the sets of a folder and count them. The JSON of every sample is read.

    Args:
        uri: A set of shards, or a folder of several.

    Raises:
        LLaSOError: There is none, or one cannot be published.
    """
    found = sets.find(uri)
    counted = facts.measure(found.sets)
    counts = LocalFile.of_bytes(facts.NAME, storage.json_bytes(counted.to_dict(), indent=1, sort_keys=True) + b"\n")
    return Prepared(storage.absolute(uri), found, counted, (*plan.local_files(found.sets), counts))


def preview(uri: str, repo: str, options: PushOptions) -> Decision:
    """What :func:`push` would do. Nothing is written; a repository that this login does not see counts as new.

    Raises:
        LLaSOError: What :func:`push` refuses before it begins.
    """
    hub = HubRepository(repo, options.revision)
    state = hub.look()
    decision = decide(prepare(uri), hub, state, options)
    unseen = () if state.exists else (f"{hub.repo} is new, or this login does not see it",)
    return replace(decision, warnings=(*decision.warnings, *unseen))


def push(uri: str, repo: str, options: PushOptions, progress: Progress | None = None) -> PushSummary:
    """Publish a set of shards, or a folder of several. A push that was stopped is finished by the same call.

    Args:
        uri: The folder.
        repo: ``OWNER/NAME`` of a dataset repository. It is made where there is none.
        options: How.
        progress: Is told what has gone up.

    Raises:
        LLaSOError: There is no such set, it cannot be published, something would be replaced that is another's, or the
            hub refuses.
        StoreError: The hub fails for too long.
    """
    hub = HubRepository(repo, options.revision)
    hub.login()
    prepared = prepare(uri)
    state = hub.look()
    decision = decide(prepared, hub, state, options)  # what is refused is refused before anything is made
    if state.exists and options.public is False and not state.private:
        hub.set_private(True)
    if not state.has_branch:
        hub.create(state)
        state = hub.look()
        decision = decide(prepared, hub, state, options)
    patience = Patience(repo, hub.traffic)
    gone_up: dict[str, int] = {}

    def sent(files: Sequence[LocalFile]) -> None:
        patience.went_on()
        new = {file.path: file.size_bytes for file in files if file.path not in gone_up | {plan.PENDING: 0}}
        gone_up.update(new)
        if progress is not None:
            progress(len(new), sum(new.values()))

    removed: set[str] = set()
    while True:
        removed |= set(decision.plan.removed)
        try:
            send.send(hub, state, decision.plan, decision.files, _message(prepared, options), sent)
            break
        except CommitUnsureError as error:
            patience.again(str(error), error.asked_s)
        state = hub.look()
        decision = decide(prepared, hub, state, options)
    state = _verified(hub, decision, removed)
    if options.public and state.private:
        hub.set_private(False)
    return PushSummary(
        repository=hub.url if options.revision == "main" else f"{hub.url}/tree/{options.revision}",
        commit="" if state.tree is None else state.tree.commit,
        private=state.private and not options.public,
        files=len(decision.files),
        sent=len(gone_up),
        sent_bytes=sum(gone_up.values()),
        already_there=len(decision.files) - len(gone_up),
        removed=len(removed - {plan.PENDING}),
        configurations={
            f"{name} / {one.split}": one.samples
            for name, splits in by_name(prepared.found.sets).items()
            for one in splits
        },
        warnings=decision.warnings + _history(hub, removed),
    )


def decide(prepared: Prepared, hub: HubRepository, state: RepositoryState, options: PushOptions) -> Decision:
    """What is to be done to a repository in this state.

    Raises:
        LLaSOError: Something would be replaced that is another's.
    """
    one_sets = prepared.found.sets
    written = _card(prepared, hub, state, options)
    files = (*prepared.files, LocalFile.of_bytes(readme.NAME, written.text.encode()))
    remote = state.files
    before = plan.older(remote, lambda path: hub.read(state, path), [one.folder for one in one_sets])
    done = plan.compare(hub.repo, files, one_sets, remote, before, options.overwrite)
    warnings = [*_warnings(prepared, written), *_strange(plan.strangers(one_sets, files, done, remote))]
    return Decision(done, files, written.text, tuple(warnings))


def _card(prepared: Prepared, hub: HubRepository, state: RepositoryState, options: PushOptions) -> readme.Readme:
    """The card: what somebody wrote, with our part of it."""
    keys = metadata(prepared.facts, hub.repo.partition("/")[2])
    own = storage.join(prepared.uri, readme.NAME)
    place = options.card or (own if storage.is_file(own) else None)
    theirs = hub.read(state, readme.NAME).decode("utf-8", "replace") if readme.NAME in state.files else ""
    base = theirs if place is None else _read_card(place)
    is_free = readme.is_untouched(theirs, keys) or readme.by_hand(theirs) == readme.by_hand(base)
    if not (is_free or options.overwrite):
        raise LLaSOError(
            f"{hub.repo} has a {readme.NAME} with other words than {place}; put them into that file, or pass "
            "--overwrite to replace them"
        )
    text = card.section(prepared.facts, hub.repo, hub.revision, options.contact)
    return readme.compose(base, place or f"{hub.repo}: {readme.NAME}", keys, text)


def _read_card(place: str) -> str:
    try:
        return storage.read_bytes(storage.absolute(place)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LLaSOError(f"{place}: cannot be read as a card ({error})") from error


def _message(prepared: Prepared, options: PushOptions) -> str:
    counted = prepared.facts
    return options.message or f"llaso-data push: {counted.samples:,} samples, {counted.hours:,.2f} hours"


def _verified(hub: HubRepository, decision: Decision, removed: set[str]) -> RepositoryState:
    """The state of the repository, whose sums are those of our files."""
    state = hub.look()
    remote = state.files
    wrong = [file.path for file in decision.files if not file.is_there(remote.get(file.path))]
    wrong += sorted(removed & remote.keys() - {file.path for file in decision.files})
    if wrong:
        raise LLaSOError(
            f"{hub.repo}: {wrong[0]} is not there as it was sent{f', nor {len(wrong) - 1} more' if wrong[1:] else ''}: "
            "somebody else may write to the repository; run the command again"
        )
    return state


def _warnings(prepared: Prepared, written: readme.Readme) -> Iterator[str]:
    counted = prepared.facts
    licence = licences.of_audios(counted.audios_by("licenses"))
    if licence.warning:
        yield f"licence: {licence.warning}; the card says `license: {licence.metadata['license']}` and lists them"
    if licence.non_commercial:
        yield "a part may not be used commercially, so the card says that the whole may not"
    if counted.addresses:
        yield (
            f"{counted.addresses:,} audios name their recording by a path of this machine, such as {counted.address}; "
            "it is published with them"
        )
    for one in prepared.found.sets:
        if len(splits := [split for split in one.declared.get("splits") or {} if split in SPLITS]) > 1:
            yield (
                f"{one.uri} holds samples of {', '.join(splits)} together, and is loaded as one split; "
                "`llaso-data convert --split` writes them apart"
            )
        if auditors := _auditors(one.uri):
            yield f"{layout.CERTIFICATE} names who listened: {', '.join(auditors)}"
    for folder, count in Counter(file.path.rpartition("/")[0] for file in prepared.files).items():
        if count > _FILES_OF_FOLDER:
            yield f"{folder or 'the set'} has {count:,} files, and the hub is slow with more than 10,000 in a folder"
    if kept := sorted({"license", "configs", "dataset_info"} & set(written.kept)):
        yield f"the card keeps what its author wrote for {', '.join(kept)}"
    if left := prepared.found.left_out:
        more = f" and {len(left) - _SHOWN:,} more" if len(left) > _SHOWN else ""
        yield f"not published, for they are no part of the shards: {', '.join(left[:_SHOWN])}{more}"


def _auditors(uri: str) -> list[str]:
    try:
        stated = checksums.read_json(storage.join(uri, layout.CERTIFICATE))
        return sorted(str(one["name"]) for one in stated["auditors"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, LLaSOError):
        return []


def _strange(paths: Sequence[str]) -> Iterator[str]:
    if paths:
        yield (
            f"the repository has {paths[0]}{f' and {len(paths) - 1} more' if paths[1:] else ''}, which no set names "
            "and which would be loaded with its folder; remove it there"
        )


def _history(hub: HubRepository, removed: set[str]) -> tuple[str, ...]:
    if not removed - {plan.PENDING}:
        return ()
    return (
        "what was removed is in the repository's history still; docs/push.md says how to squash it and to delete the "
        "files for good",
    )
