"""LLaSO: raw speech to training shards, and training shards to a speech-language model.

The data half is ``llaso_data`` (command ``llaso-data``). This package is the façade of the model half and is empty
until there is a model to import.
"""
