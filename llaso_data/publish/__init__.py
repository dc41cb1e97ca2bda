"""Sets of shards on the Hugging Face hub: which files, the dataset card, what is sent, replaced and removed."""
