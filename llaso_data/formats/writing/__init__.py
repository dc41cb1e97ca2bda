"""Writing of layouts: what a writer is, and the parts that a set is written in."""
