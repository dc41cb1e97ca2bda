"""Batches to model to answers to scores. Nothing is here yet; ``llaso_data`` never imports this package."""
