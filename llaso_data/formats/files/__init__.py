"""Files that layouts are read from: the tree of a source, and text of any length and encoding."""
