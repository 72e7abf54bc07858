"""Whom a source believes, and how it is protected: as the server itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.downstream import OPERATING, SAFE, lend_password, named, protected, source
from support.net import until
from support.opcua import OPERATOR, Running, serving
from support.scanning import Listener, scanning

from sources.errors import Refused
from sources.opcua.driver import OpcUaSource
from sources.quality import GOOD
from sources.supervisor import Supervisor


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Encrypted, named users."""
    with serving(tmp_path_factory.mktemp("there")) as running:
        yield running


async def refused(device: OpcUaSource) -> str:
    with pytest.raises(Refused) as error:
        async with device.connect():
            pass
    return str(error.value)


@pytest.mark.parametrize("policy", ["Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256"])
async def test_every_policy(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    lend_password(monkeypatch)
    speed = named("Speed")
    device = source(there, [speed], policy=policy, **OPERATING)
    device.settle(protected(there, tmp_path))
    there.feed("Speed", 5.0)
    async with scanning(device) as its:
        await its.good(speed)


async def test_a_server_nobody_trusts_is_refused_and_kept_to_be_trusted(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend_password(monkeypatch)
    device = source(there, [named("Speed")], **OPERATING)
    surroundings = protected(there, tmp_path, mutual=False)
    device.settle(surroundings)
    assert "isthmus certs trust" in await refused(device)
    assert surroundings.trust is not None
    assert len(surroundings.trust.rejected()) == 1


async def test_a_server_that_is_trusted_no_longer_is_left(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend_password(monkeypatch)
    speed = named("Speed")
    device = source(there, [speed], **OPERATING)
    surroundings = protected(there, tmp_path)
    device.settle(surroundings)
    there.feed("Speed", 5.0)

    async def until_distrusted() -> None:
        async with device.connect() as session, asyncio.timeout(30):
            heard = Listener()
            scan = asyncio.create_task(session.scan(heard))
            await until(lambda: heard.quality(speed) == GOOD)
            assert surroundings.trust is not None
            surroundings.trust.distrust(surroundings.trust.trusted()[0].thumbprint)
            await scan

    with pytest.raises(Refused, match="is not trusted"):
        await until_distrusted()


async def test_without_a_certificate_nothing_is_protected(there: Running) -> None:
    assert "needs the application's certificate" in await refused(source(there, [], **SAFE))


async def test_a_password_is_only_for_a_server_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a connection that is not protected anybody may answer."""
    lend_password(monkeypatch)
    with serving(tmp_path / "open", allow_none=True) as unprotected:
        device = source(unprotected, [named("Speed")], **OPERATING | {"security": "none"})
        assert "a password needs the application's certificate" in await refused(device)
        device.settle(protected(unprotected, tmp_path / "stranger", mutual=False))
        assert "isthmus certs trust" in await refused(device)
        device.settle(protected(unprotected, tmp_path / "known"))
        async with device.connect():
            pass


async def test_there_is_no_fallback(there: Running, tmp_path: Path) -> None:
    device = source(there, [named("Speed")])
    assert "it offers no unprotected connection" in await refused(device)
    device = source(there, [named("Speed")], security="sign")
    device.settle(protected(there, tmp_path))
    assert "it offers nothing with security: sign" in await refused(device)


async def test_who_may_not_come_in_waits_for_a_person(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surroundings = protected(there, tmp_path)
    nobody = source(there, [], **SAFE)
    nobody.settle(surroundings)
    assert "no anonymous users" in await refused(nobody)
    monkeypatch.setenv("WRONG", "guess")
    wrong = source(there, [], **SAFE, user=OPERATOR, password="env:WRONG")
    wrong.settle(surroundings)
    assert "the session was refused" in await refused(wrong)
    unset = source(there, [], **SAFE, user=OPERATOR, password="env:UNSET_ANYWHERE")
    unset.settle(surroundings)
    assert "UNSET_ANYWHERE is not set" in await refused(unset)


@pytest.mark.parametrize("reference", ["env:DOWNSTREAM_PASSWORD", "file:secret"])
async def test_a_password_that_is_no_utf_8_is_told_without_any_of_it(
    there: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reference: str,
) -> None:
    """Nothing of it may stand in the log, or where engineers read of a source's last error."""
    monkeypatch.setenv("DOWNSTREAM_PASSWORD", os.fsdecode(b"hush\xff"))
    (tmp_path / "secret").write_bytes(b"hush\xff")
    device = source(there, [named("Speed")], **SAFE, user=OPERATOR, password=reference)
    device.settle(protected(there, tmp_path))
    supervisor = Supervisor(device, lambda _: None)
    life = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.status.last_error)
    life.cancel()
    await asyncio.wait((life,))
    assert "no UTF-8" in supervisor.status.last_error
    assert "hush" not in supervisor.status.last_error + caplog.text
