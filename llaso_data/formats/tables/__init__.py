"""Tables of rows: JSON lines and lists, CSV, TSV and Parquet, and what their columns mean."""
