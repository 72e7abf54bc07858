"""A recording of a source in the place of its device."""
