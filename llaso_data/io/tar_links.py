"""Follow links inside a tar to the files that they name, within the same tar only. Nothing is unpacked."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from llaso_data.io.tar_members import Member

MAX_HOPS = 40
"""The longest chain of links that is followed; Linux follows as many."""

MAX_PATH_BYTES = 4096

ByteRange = tuple[int, int]  # offset and size of a content


class BrokenLink(Exception):
    """A link leads to no file of its tar. The text says why."""


class Links:
    """The links of one tar.

    Args:
        files: name as stored → offset and size of its content, in bytes.
        links: name as stored → the link.
        folders: names of the members that are folders.
    """

    def __init__(
        self, files: dict[str, ByteRange], links: dict[str, Member], folders: Collection[str] = frozenset()
    ) -> None:
        self._stored = files
        self._files = {plain(name): byte_range for name, byte_range in reversed(files.items())}
        self._links = {plain(name): link for name, link in reversed(links.items())}
        self._named_folders = folders

    def find_content(self, link: Member) -> ByteRange | None:
        """Find the content that a link leads to.

        The target of a hard link counts from the archive's root, that of a symbolic link from the link's folder.

        Returns:
            Offset and size in bytes; None where the link leads to a folder.

        Raises:
            BrokenLink: where it leads out of the archive, to nothing, to itself, or over too many links.
        """
        if link.kind == "hard_link" and (content := self._stored.get(link.target)) is not None:
            return content
        name = self._resolve(link.name)
        if (content := self._files.get(name)) is not None:
            return content
        if name in self._folders:
            return None
        raise BrokenLink(f"a link to {link.target}, which is not in the archive")

    def _resolve(self, path: str) -> str:
        """A path with every link on it replaced by its target, from left to right as an operating system does it."""
        if len(path) > MAX_PATH_BYTES:
            raise BrokenLink(f"a link whose own name has {len(path):,} letters")
        pending = _components(path)[::-1]
        resolved: list[str] = []
        hops = 0
        while pending:
            component = pending.pop()
            if component == "..":
                if not resolved:
                    raise BrokenLink("a link out of the archive")
                resolved.pop()
                continue
            resolved.append(component)
            current = "/".join(resolved)
            link = self._links.get(current)
            if link is None or (hops and not pending and current in self._files):
                continue
            hops += 1
            if hops > MAX_HOPS:
                raise BrokenLink(f"a link that leads back to itself, or over more than {MAX_HOPS} others")
            if len(link.target) > MAX_PATH_BYTES:
                raise BrokenLink(f"a link to a path of {len(link.target):,} letters")
            if link.target.startswith("/") and link.target not in self._stored:
                raise BrokenLink(f"a link to {link.target}, out of the archive")
            if link.kind == "hard_link" or link.target.startswith("/"):
                resolved = []
            else:
                resolved.pop()
            pending += _components(link.target)[::-1]
        return "/".join(resolved)

    @cached_property
    def _folders(self) -> frozenset[str]:
        folders = {""}
        for name in (*self._files, *self._links, *(f"{plain(folder)}/" for folder in self._named_folders)):
            while (name := name.rpartition("/")[0]) and name not in folders:
                folders.add(name)
        return frozenset(folders)


def plain(name: str) -> str:
    """One spelling of names that mean the same path: ``./a//b`` becomes ``a/b``."""
    return name if _is_plain(name) else "/".join(_components(name))


def _is_plain(name: str) -> bool:
    return not name.startswith(("/", "./")) and "//" not in name and "/./" not in name


def _components(path: str) -> list[str]:
    return [component for component in path.split("/") if component not in ("", ".")]
