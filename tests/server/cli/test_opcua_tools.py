"""The tools on a downstream OPC UA server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import invoke
from support.line import MACHINE
from support.opcua import Running, serving

from certs.own import load_or_make
from server.tools.surroundings import surroundings

HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("there"), allow_none=True, anonymous=True) as running:
        yield running


def test_its_variables_are_listed_and_configured(there: Running, tmp_path: Path) -> None:
    url = f"opc.tcp://127.0.0.1:{there.port}/?security=none"
    none = ("--data", tmp_path / "none")
    listed = invoke("browse", url, "--filter", "*Filler/Speed", *none)
    assert listed.code == 0, listed.err
    assert "urn:acme:plant" in listed.out
    below = ("--below", f"nsu=urn:acme:plant;s={MACHINE}", "--source", "There")
    done = invoke("browse", url, "--yaml", *below, *none)
    assert done.code == 0, done.err
    (tmp_path / "fragment.yaml").write_text(done.out, encoding="utf-8")
    plant = tmp_path / "plant.yaml"
    plant.write_text(f"{HEAD}include: [fragment.yaml]\n", encoding="utf-8")
    checked = invoke("check", plant)
    assert checked.code == 0, checked.err
    read = invoke("read", plant, "There.Make", "--json", *none)
    (found,) = json.loads(read.out)
    assert (found["value"], found["quality"]) == ("KHS", "Good")


def test_a_value_by_its_node_has_the_type_that_the_node_has(there: Running, tmp_path: Path) -> None:
    url = f"opc.tcp://127.0.0.1:{there.port}/?security=none"
    node = f"nsu=urn:acme:plant;s={MACHINE}"
    none = ("--data", tmp_path / "none")
    done = invoke("read", url, f"{node}.Make", f"{node}.EquipmentLevel as int32", "i=2259", "--json", *none)
    assert done.code == 0, done.out + done.err
    assert [each["value"] for each in json.loads(done.out)] == ["KHS", 11, 0]
    done = invoke("read", url, f"{node}.Nowhere", *none)
    assert done.code == 1
    assert "BadNodeIdUnknown" in done.out, "what the server says passes through"


def test_its_arrays_are_configured_and_read_whole(there: Running, tmp_path: Path) -> None:
    url = f"opc.tcp://127.0.0.1:{there.port}/?security=none"
    none = ("--data", tmp_path / "none")
    done = invoke("browse", url, "--yaml", "--below", "i=2253", "--filter", "NamespaceArray", *none)
    assert done.code == 0, done.err
    assert "NamespaceArray: {type: String, array: any}" in done.out
    (tmp_path / "fragment.yaml").write_text(done.out, encoding="utf-8")
    plant = tmp_path / "plant.yaml"
    plant.write_text(f"{HEAD}include: [fragment.yaml]\n", encoding="utf-8")
    read = invoke("read", plant, "PLC.NamespaceArray", "--json", *none)
    (found,) = json.loads(read.out)
    assert found["value"][0] == "http://opcfoundation.org/UA/"
    assert "urn:acme:plant" in found["value"]
    read = invoke("read", url, "i=2255", "i=2255 as string[]", "--json", *none)
    assert read.code == 0, read.out + read.err
    assert [each["value"] for each in json.loads(read.out)] == [found["value"]] * 2
    assert invoke("read", url, "i=2255 as string[99]", *none).code == 1, "it has another length"


def test_without_a_certificate_it_says_so(there: Running, tmp_path: Path) -> None:
    done = invoke("browse", f"opc.tcp://127.0.0.1:{there.port}/", "--data", tmp_path / "none")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "--range is for Modbus" in invoke("browse", "opc.tcp://h", "--range", "coil").err
    assert "--below is for OPC UA" in invoke("browse", "eip://h", "--below", "i=85").err


def test_a_servers_certificate_is_used_and_never_replaced(tmp_path: Path) -> None:
    """Of whatever name it is: every client would have to trust another one anew."""
    pki = tmp_path / "data" / "pki"
    made = load_or_make(pki, application_uri="urn:acme:special", hosts=("plant.example",))
    before = (pki / "own" / "certificate.der").read_bytes()
    lent = surroundings(tmp_path / "data")
    assert lent.identity is not None
    assert lent.identity.thumbprint == made.thumbprint
    assert (pki / "own" / "certificate.der").read_bytes() == before
    assert surroundings(tmp_path / "none").identity is None
    assert not (tmp_path / "none").exists()
