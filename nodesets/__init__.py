"""Information models: a reader of NodeSet2 files, neutral node records, nodesets written by this project."""
