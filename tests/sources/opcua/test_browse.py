"""What a server is and has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.downstream import settings
from support.opcua import Running, serving

from sources.errors import AddressError
from sources.opcua.address import parse_address
from sources.opcua.browse import browse


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("there"), allow_none=True, anonymous=True) as running:
        yield running


async def test_identity_and_variables_with_their_types(there: Running) -> None:
    told: list[tuple[int, int]] = []
    found = await browse(settings(there), found=lambda *counts: told.append(counts))
    assert found.complete
    assert found.identity.manufacturer
    assert "urn:acme:plant" in found.identity.namespaces
    variables = {variable.path[-1]: variable for variable in found.variables}
    speed = variables["Speed"]
    assert speed.address == "nsu=urn:acme:plant;s=Acme/Line1/Filler.Speed"
    assert speed.path == ("Acme", "Line1", "Filler", "Speed")
    assert (speed.type, speed.built_in, speed.rank, speed.writable) == ("Double", "Double", -1, False)
    assert (variables["Mode"].type, variables["Mode"].built_in) == ("line-mode", "Int32")
    assert all(parse_address(variable.address) for variable in found.variables)
    assert told[-1] == (len(found.variables), 0)


async def test_below_a_node_and_no_more_than_asked(there: Running) -> None:
    whole = await browse(settings(there), below="nsu=urn:acme:plant;s=Acme/Line1/Filler")
    assert all(variable.address.startswith("nsu=urn:acme:plant;") for variable in whole.variables)
    some = await browse(settings(there), below="nsu=urn:acme:plant;s=Acme/Line1/Filler", most=2)
    assert (len(some.variables), some.complete) == (2, False)
    for nowhere in ("nsu=urn:acme:plant;s=Nowhere", "nsu=urn:nobody;s=A", "/Objects/Nowhere"):
        with pytest.raises(AddressError, match="the server has no"):
            await browse(settings(there), below=nowhere)
