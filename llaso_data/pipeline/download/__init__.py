"""A repository of a hub as a folder on a disk or a store."""
