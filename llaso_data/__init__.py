"""Raw speech → WebDataset shards → batches. The command is ``llaso-data``."""

__version__ = "0.1.0"
