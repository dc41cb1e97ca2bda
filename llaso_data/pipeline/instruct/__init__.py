"""`llaso-data build-instruct`: rows of any source become samples of many tasks, some of them spoken by voices."""
