"""Parts that several elements of a NodeSet2 file share: typed XML attributes, texts, permissions."""

from __future__ import annotations

from nodesets.errors import BadTextError
from nodesets.records import BuiltinType, LocalizedText, RolePermission
from nodesets.text import Names, parse_boolean, parse_integer
from nodesets.tree import Element


def boolean(element: Element, name: str, default: bool = False) -> bool:
    """An xs:boolean attribute."""
    text = element.attributes.get(name)
    if text is None:
        return default
    try:
        return parse_boolean(text)
    except BadTextError as error:
        raise BadTextError(f"{name}: {error}", element.line) from None


def integer(element: Element, name: str, kind: BuiltinType, default: int) -> int:
    """An integer attribute within the range of its type."""
    text = element.attributes.get(name)
    if text is None:
        return default
    try:
        return parse_integer(text, kind)
    except BadTextError as error:
        raise BadTextError(f"{name}: {error}", element.line) from None


def required(element: Element, name: str) -> str:
    """An attribute that must be there."""
    text = element.attributes.get(name)
    if text is None:
        raise BadTextError(f"<{element.name}> has no {name}; add it", element.line)
    return text


def texts(element: Element, name: str) -> tuple[LocalizedText, ...]:
    """Every child of that name as a text in its locale."""
    return tuple(
        LocalizedText(child.text, child.attributes.get("Locale", ""))
        for child in element.children
        if child.name == name
    )


def role_permissions(element: Element, names: Names) -> tuple[RolePermission, ...] | None:
    """The RolePermissions of a node or model: None where nothing is said, empty for HasNoPermissions."""
    if boolean(element, "HasNoPermissions"):
        return ()
    holder = element.find("RolePermissions")
    if holder is None:
        return None
    found = []
    for child in holder.children:
        try:
            role = names.reference(child.text)
        except BadTextError as error:
            raise error.at(child.line) from None
        found.append(RolePermission(role, integer(child, "Permissions", BuiltinType.UInt32, 0)))
    return tuple(found)


def access_restrictions(element: Element) -> int | None:
    """The AccessRestrictions of a node or model, None where nothing is said."""
    if "AccessRestrictions" not in element.attributes:
        return None
    return integer(element, "AccessRestrictions", BuiltinType.UInt16, 0)
