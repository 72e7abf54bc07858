"""OPC UA TCP (OPC 10000-6 §7): connections, chunks, limits."""
