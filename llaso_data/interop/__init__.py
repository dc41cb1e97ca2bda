"""Shards as the datasets of other libraries: ``webdataset``, torch, Hugging Face ``datasets``, Lhotse.

One module for each, with one function; none is imported before it is asked for. All give the same samples, of shards
and of tars that ``llaso-data index`` indexed, here or on a store. See docs/interop.md.
"""
