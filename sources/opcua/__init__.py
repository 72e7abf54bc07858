"""Downstream OPC UA servers: their values subscribed to, their nodes imported, writes and calls forwarded."""
