"""The binary encoding (OPC 10000-6 §5.2): keys, readers and writers of what the fast paths touch."""
