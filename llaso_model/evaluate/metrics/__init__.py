"""Metrics as sums over rows: each gives statistics of a row, and a value of their sum."""
