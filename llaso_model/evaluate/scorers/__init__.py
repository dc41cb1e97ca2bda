"""A module for each kind of score, which registers it in :data:`llaso_model.evaluate.kinds.KINDS`."""
