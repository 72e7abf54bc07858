"""The address space: a compact node store and the server's own nodes (OPC 10000-3, OPC 10000-5)."""
