"""The engines that come with LLaSO: one module each, imported at the first look into the table of voices."""
