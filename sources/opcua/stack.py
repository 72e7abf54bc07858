"""What of asyncua is used here: its types, codec and security policies, neither its client nor its server.

They stand as Any: asyncua 2.1.0's annotations do not hold under strict checking, and what crosses into
the other modules is given its type there.
"""

from __future__ import annotations

from typing import Any, Final

import asyncua.ua.ua_binary as _binary
from asyncua import ua as _ua
from asyncua.common import connection as _connection
from asyncua.common import utils as _utils
from asyncua.crypto import security_policies as _policies

ua: Any = _ua
binary: Any = _binary
SecureConnection: Any = _connection.SecureConnection
TransportLimits: Any = _connection.TransportLimits
Buffer: Any = _utils.Buffer
encrypt_asymmetric: Any = _policies.encrypt_asymmetric
sign_asymmetric: Any = _policies.sign_asymmetric

POLICY_URI: Final = "http://opcfoundation.org/UA/SecurityPolicy#"
NONE_URI: Final = f"{POLICY_URI}None"

NONE: Any = _policies.SecurityPolicyNone
POLICIES: Final[dict[str, Any]] = {
    "Aes256_Sha256_RsaPss": _policies.SecurityPolicyAes256Sha256RsaPss,
    "Aes128_Sha256_RsaOaep": _policies.SecurityPolicyAes128Sha256RsaOaep,
    "Basic256Sha256": _policies.SecurityPolicyBasic256Sha256,
}
"""By the name in the configuration, the best first."""


def encode(value: Any) -> bytes:
    """A structure of the stack's types, without its type id."""
    encoded: bytes = binary.struct_to_binary(value)
    return encoded


def decode(kind: Any, data: bytes, start: int = 0) -> Any:
    """The inverse of `encode`. Raises what asyncua raises."""
    return binary.struct_from_binary(kind, Buffer(data[start:] if start else data))


def encode_variant(value: Any) -> bytes:
    """A Variant."""
    encoded: bytes = binary.variant_to_binary(value)
    return encoded


def decode_variant(data: bytes) -> Any:
    """The inverse of `encode_variant`. Raises what asyncua raises."""
    return binary.variant_from_binary(Buffer(data))


def text(received: str | None) -> str:
    """A text of the device's as it can be shown: the stack keeps bytes that are no UTF-8 as surrogates."""
    return (received or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def local(target: Any) -> Any | None:
    """The NodeId of an ExpandedNodeId; None for a node of another server."""
    if getattr(target, "ServerIndex", 0) or getattr(target, "NamespaceUri", None):
        return None
    return ua.NodeId(target.Identifier, target.NamespaceIndex, target.NodeIdType)


def status_name(code: int) -> str:
    """The symbolic name of a StatusCode, or its number in hex."""
    name = ua.status_codes.code_to_name_doc.get(code & 0xFFFF0000)
    return str(name[0]) if name else f"0x{code:08X}"
