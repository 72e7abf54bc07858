"""What a simulated Logix controller is to be: its identity, types, tags, and which of them move."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, JsonValue, model_validator

from sources.settings import SettingsModel
from sources.simulators.logix.build import build, parse_type, string_name
from sources.simulators.logix.types import ATOMICS, BOOL, STRING
from sources.simulators.logix.values import find_place
from sources.simulators.spec import Point, RawType

Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,39}$")]
"""A name of Logix: letters, digits and underscores, at most 40 of them."""

TagName = Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z_]\w*(:\w+)*$")]
"""The name of a tag; those of input and output modules have colons."""

TypeText = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\([1-9]\d{0,4}\))?(\[[1-9]\d*(,[1-9]\d*){0,2}\])?$")]
"""A type as text: ``REAL``, ``INT[2,3]``, ``PML[4]``, ``STRING``, ``STRING(20)`` for another length."""

_REAL_MAX: Final = (2.0 - 2.0**-23) * 2.0**127
_LREAL_MAX: Final = (2.0 - 2.0**-52) * 2.0**1023


class IdentitySpec(SettingsModel):
    """Who the controller says it is: the project's name and the catalogue entry."""

    controller: Name = "Simulated"
    product: str = Field("1756-L83E/B", min_length=1, max_length=64, pattern=r"^[ -~]*$")
    serial: int = Field(0x00C0FFEE, ge=0, lt=2**32)
    major: int = Field(33, ge=1, le=127)
    minor: int = Field(11, ge=0, le=255)


class MemberSpec(SettingsModel):
    """A member of a user-defined type; an array has one dimension."""

    name: Name
    type: TypeText


class TypeSpec(SettingsModel):
    """A user-defined type."""

    name: Name
    members: tuple[MemberSpec, ...] = Field(min_length=1)


class TagSpec(SettingsModel):
    """A tag of the controller, or of a program where one is named."""

    name: TagName
    type: TypeText
    program: Name | None = None
    access: Literal["read/write", "read only", "none"] = "read/write"
    constant: bool = False


class TagAddress(SettingsModel):
    """Where a moving point lies: a path like ``Program:Packer.PML.Status.CurMachSpeed``, and its type."""

    tag: str = Field(min_length=1)
    type: TypeText

    @property
    def raw_type(self) -> RawType:
        """What the point can hold. Raises ValueError for a type that no single value has."""
        name, capacity, dimensions = parse_type(self.type)
        if name.upper() == STRING.name and not dimensions:
            return RawType("text", size=capacity or STRING.text_capacity or 0)
        kind = ATOMICS.get(name.upper())
        if kind is None or dimensions:
            raise ValueError(f"{self.tag}: a point is a number, a BOOL or a STRING, not a {self.type}")
        if kind is BOOL:
            return RawType("bool")
        if not kind.is_integer:
            top = _REAL_MAX if kind.size == 4 else _LREAL_MAX
            return RawType("float", -top, top)
        bits = kind.size * 8
        low = -(2 ** (bits - 1)) if kind.is_signed else 0
        return RawType("int", low, low + 2**bits - 1)

    @property
    def type_name(self) -> str:
        """The type's own name, as the controller knows it."""
        name, capacity, _ = parse_type(self.type)
        return string_name(capacity) if capacity else name.upper()

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.raw_type  # noqa: B018  # raises where there is none
        return self


class TagPoint(Point):
    """A moving value of a machine, in a tag."""

    address: TagAddress

    @property
    def raw_type(self) -> RawType:
        """See Point."""
        return self.address.raw_type


class LogixSpec(SettingsModel):
    """One simulated controller.

    ``port`` 0 takes a free one; ``slot`` is its place on the backplane, and ``hops`` the
    ports and addresses that lead to that from the one listened on.
    ``values`` are first values by path, where they are not zero: a scalar, a text, a list
    for an array's first elements, an object for some members of a structure.
    """

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["logix"] = "logix"
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    slot: int = Field(0, ge=0, le=16)
    hops: tuple[tuple[Annotated[int, Field(ge=1, le=14)], str], ...] = ()
    identity: IdentitySpec = IdentitySpec()
    types: tuple[TypeSpec, ...] = ()
    tags: tuple[TagSpec, ...] = Field(min_length=1)
    values: dict[str, JsonValue] = Field(default_factory=dict)
    points: tuple[TagPoint, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        database = build(self)
        seen: set[tuple[str, str]] = set()
        for point in self.points:
            if point.key in seen:
                raise ValueError(f"{point.machine}.{point.name} is there twice")
            seen.add(point.key)
            try:
                place = find_place(database, point.address.tag)
            except KeyError:
                raise ValueError(
                    f"{point.machine}.{point.name}: there is no tag {point.address.tag}"
                ) from None
            there = f"{'n array of' if place.dimensions else ''} {place.type.name}"
            if there.strip() != point.address.type_name:
                raise ValueError(f"{point.address.tag} is a{there}, not a {point.address.type}")
        return self
