"""Posts every transition of an alert to a URL, as signed JSON with an id that identifies repetitions."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

import msgspec

from qoemon.outputs.notify.http_client import Address, JsonClient
from qoemon.outputs.notify.notice import Notice, document
from qoemon.outputs.notify.secret import Secret

ID = "X-Qoemon-Id"
SIGNATURE = "X-Qoemon-Signature"


class Webhook:
    """One URL.

    name    for logs and metrics
    secret  signs the body, which contains the time of sending; without one there is no signature
    url     of the daemon
    clock   seconds since the epoch
    """

    def __init__(
        self,
        name: str,
        address: Address,
        secret: Secret,
        url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._client = JsonClient(address, rotates=secret.rotates)
        self._secret, self._url, self._clock = secret, url, clock

    async def send(self, notices: Sequence[Notice]) -> None:
        """Post each notice in a request of its own, in order."""
        for notice in notices:
            secret = await self._secret.read()
            body = msgspec.json.encode(document(notice, self._url, self._clock()))
            await self._client.post(body, {ID: notice.id} | _signature(secret, body))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


def _signature(secret: str | None, body: bytes) -> dict[str, str]:
    if secret is None:
        return {}
    return {SIGNATURE: f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}
