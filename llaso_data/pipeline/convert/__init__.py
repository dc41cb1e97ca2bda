"""`llaso-data convert`: corpora and conversations of any layout become shards, or another layout."""
