"""Where something listens, as people write it."""

from __future__ import annotations


def host_and_port(host: str, port: int) -> str:
    """``10.20.1.11:502``; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
