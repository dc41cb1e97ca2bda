"""The clips of LLaSO-Eval as it is published: files below a folder, or members of the zips in it."""

from __future__ import annotations

import os

from llaso_data import uris
from llaso_data.formats.conversations.llaso_audio import FolderAudio
from llaso_data.formats.files.file_tree import open_tree
from llaso_data.io import storage
from llaso_data.records import Source


class PublishedClips:
    """Where the clips of a folder lie. Its zips are looked into once a clip is not there as a file.

    Args:
        root: The folder that the paths of rows are relative to.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._zipped: FolderAudio | None = None

    def find(self, path: str) -> Source | str:
        """The place of a clip, or why it cannot be had. Of a file that is nowhere, decoding will say so.

        Args:
            path: As a row names it, with ``/``: a path or a URI that data may name.
        """
        if uris.scheme(path):
            return Source(corpus="", uri=path)
        plain = Source(corpus="", uri=storage.join(self.root, path))
        if not storage.is_local(plain.uri) or os.path.exists(plain.uri) or not os.path.isdir(self.root):
            return plain
        if self._zipped is None:
            self._zipped = FolderAudio(open_tree(self.root, ()), by_name=False)
        found = self._zipped.find(path.lstrip("/"))
        if found is None:
            unread = [failure.detail for failure in self._zipped.failures]
            return f"{plain.uri}: no such file, and {unread[0]}" if unread else plain
        return found.broken or Source(corpus="", uri=found.uri, member=found.member)
