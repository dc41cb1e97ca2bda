"""Batches to model to answers to scores; ``llaso_data`` never imports this package."""
