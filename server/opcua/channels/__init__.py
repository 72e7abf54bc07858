"""Secure channels (OPC 10000-6 §6.7, OPC 10000-4 §5.6)."""
