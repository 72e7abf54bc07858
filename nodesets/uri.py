"""Namespace URIs inside NodeId strings (OPC 10000-6 §5.1.12)."""

from __future__ import annotations


def escape_uri(uri: str) -> str:
    """Percent-encode what would end or garble the ``nsu=`` part: ``%`` and ``;``."""
    return uri.replace("%", "%25").replace(";", "%3B")


def unescape_uri(text: str) -> str:
    """The inverse of `escape_uri`."""
    return text.replace("%3B", ";").replace("%3b", ";").replace("%25", "%")
