"""Rows that readers of layouts yield, and how a row becomes an input of the pipeline."""
