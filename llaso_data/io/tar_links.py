"""Links inside a tar, followed to the file that they name, within the same tar only. Nothing is ever unpacked."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from llaso_data.io.tar_members import Member

MAX_HOPS = 40
"""Links that lead to one another, as Linux follows them."""

MAX_PATH_BYTES = 4096

Place = tuple[int, int]  # offset and size of a content


class BrokenLink(Exception):
    """A link leads to no file of its tar. The text says why."""


class Links:
    """``files`` (name → place) and ``links`` of one tar by their names as stored; ``folders`` are members too."""

    def __init__(
        self, files: dict[str, Place], links: dict[str, Member], folders: Collection[str] = frozenset()
    ) -> None:
        self._stored = files
        self._files = {plain(name): place for name, place in reversed(files.items())}
        self._links = {plain(name): link for name, link in reversed(links.items())}
        self._named_folders = folders

    def place(self, link: Member) -> Place | None:
        """Where the content lies that a link stands for; None where that is a folder.

        A hard link's target counts from the archive's root, a symbolic one's from the link's folder. Raises
        BrokenLink.
        """
        if link.kind == "hard_link" and (found := self._stored.get(link.target)) is not None:
            return found
        name = self._followed(link.name)
        if (found := self._files.get(name)) is not None:
            return found
        if name in self._folders:
            return None
        raise BrokenLink(f"a link to {link.target}, which is not in the archive")

    def _followed(self, path: str) -> str:
        """A path with every link on it replaced by what it names, from left to right as a system does it."""
        if len(path) > MAX_PATH_BYTES:
            raise BrokenLink(f"a link whose own name has {len(path):,} letters")
        waiting = _pieces(path)[::-1]
        done: list[str] = []
        hops = 0
        while waiting:
            piece = waiting.pop()
            if piece == "..":
                if not done:
                    raise BrokenLink("a link out of the archive")
                done.pop()
                continue
            done.append(piece)
            here = "/".join(done)
            link = self._links.get(here)
            if link is None or (hops and not waiting and here in self._files):
                continue
            hops += 1
            if hops > MAX_HOPS:
                raise BrokenLink(f"a link that leads back to itself, or over more than {MAX_HOPS} others")
            if len(link.target) > MAX_PATH_BYTES:
                raise BrokenLink(f"a link to a path of {len(link.target):,} letters")
            if link.target.startswith("/") and link.target not in self._stored:
                raise BrokenLink(f"a link to {link.target}, out of the archive")
            if link.kind == "hard_link" or link.target.startswith("/"):
                done = []
            else:
                done.pop()
            waiting += _pieces(link.target)[::-1]
        return "/".join(done)

    @cached_property
    def _folders(self) -> frozenset[str]:
        found = {""}
        for name in (*self._files, *self._links, *(f"{plain(folder)}/" for folder in self._named_folders)):
            while (name := name.rpartition("/")[0]) and name not in found:
                found.add(name)
        return frozenset(found)


def plain(name: str) -> str:
    """``./a//b`` as ``a/b``: names that a system takes for one."""
    return name if _is_plain(name) else "/".join(_pieces(name))


def _is_plain(name: str) -> bool:
    return not name.startswith(("/", "./")) and "//" not in name and "/./" not in name


def _pieces(path: str) -> list[str]:
    return [piece for piece in path.split("/") if piece not in ("", ".")]
