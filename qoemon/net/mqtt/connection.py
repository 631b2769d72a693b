"""One connection to the broker: everything that is patched in paho and aiomqtt, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.net.mqtt.errors import MqttConnectionError
from qoemon.net.mqtt.socket_events import SocketEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


T = TypeVar("T")


def paho_client(client: aiomqtt.Client) -> Paho:
    """The paho client inside: the one private name that we use of aiomqtt; of paho, Link uses one.

    raises   RuntimeError if these versions do not have them
    """
    paho = getattr(client, "_client", None)
    if isinstance(paho, Paho) and hasattr(paho, "_in_messages"):
        return paho
    raise RuntimeError(
        f"aiomqtt {aiomqtt.__version__} keeps no paho client in Client._client, or one that does not tell what it "
        "reads, so messages cannot be acknowledged late and bounded: install a version of aiomqtt that qoemon's "
        "package metadata allows"
    )


def raise_if_cancelled() -> None:
    """Make up for Python 3.11's wait_for, which forgets a cancellation that comes together with a result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def hang_up(paho: Paho) -> None:
    """Disconnect at once, whatever state the attempt or the connection is in."""
    paho.on_message = None
    paho.on_socket_open = _come_too_late  # The thread that connects cannot be cancelled, only turned away.
    paho.on_disconnect = None  # aiomqtt's fails if the attempt was cancelled.
    paho.on_socket_register_write = None  # Without it paho writes now, acknowledgements first.
    paho.disconnect()
    shut_down(paho)  # If the broker reads no more, this is what makes paho find the end.


def shut_down(paho: Paho) -> None:
    """End the connection under paho, which closes its socket when it finds the end at its next read or write."""
    connected = paho.socket()
    if isinstance(connected, socket.socket):
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def patch_socket_callbacks(
    paho: Paho, read: Callable[[], object] | None = None, failed: Callable[[Exception], None] | None = None
) -> None:
    """Put SocketEvents in the place of aiomqtt's callbacks, before the client connects.

    read     what reads; paho by default
    failed   called with what reading or writing raises; the default ends the connection
    """
    events = SocketEvents(paho, read or (lambda: paho.loop_read()), failed or (lambda _: shut_down(paho)))  # noqa: PLW0108
    paho.on_socket_open = events.opened
    paho.on_socket_close = events.closing
    paho.on_socket_register_write = events.register_write
    paho.on_socket_unregister_write = events.unregister_write


def _come_too_late(_paho: Paho, _userdata: Any, _socket: Any) -> NoReturn:
    raise ConnectionAbortedError("connected after the attempt had been given up")


class Connection:
    """The end of a connection, with its reason, from the first byte on.

    aiomqtt looks for the end only after the CONNACK. And where paho stumbles over what it reads, it stumbles again
    at every byte that follows. So its callbacks and its reading are wrapped here, before the client connects.

    session_present  whether the broker kept our session, by its CONNACK
    """

    _on_connected: Any  # paho's types know its first callback API only.

    def __init__(self, client: aiomqtt.Client) -> None:
        self.session_present = False
        self._lost: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        self._answered = False
        self._paho = paho = paho_client(client)
        self._on_connected = paho.on_connect
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect
        paho.loop_read = self._guarded(paho.loop_read)  # type: ignore[method-assign]
        paho.loop_write = self._guarded(paho.loop_write)  # type: ignore[method-assign]

    async def until_lost(self) -> NoReturn:
        """Wait for the end of the connection; MqttError says why."""
        await asyncio.wait({self._lost})
        raise self._reason()

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns; MqttError if the connection ends before."""
        task = asyncio.create_task(work, name="qoemon.net.mqtt.connection")
        try:
            either: set[asyncio.Future[Any]] = {task, self._lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._reason()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def end(self, error: Exception) -> None:
        """End the connection for this reason, if it has not ended yet."""
        if self._lost.done():
            return
        self._lost.set_exception(error)
        self._lost.exception()  # If we are just being cancelled, nobody else asks for it.
        shut_down(self._paho)

    def _reason(self) -> aiomqtt.MqttError:
        error = self._lost.exception()
        if isinstance(error, aiomqtt.MqttError):
            return error
        wrapped = aiomqtt.MqttError()
        wrapped.__cause__ = error
        return wrapped

    def _guarded(self, work: Callable[[], MQTTErrorCode]) -> Callable[..., MQTTErrorCode]:
        def guarded(*_: Any) -> MQTTErrorCode:
            try:
                code = work()
                self._check_qos()
            except (OSError, aiomqtt.MqttError) as error:
                self.end(error)
            except Exception as error:  # noqa: BLE001 - whatever paho stumbles over in a malformed packet
                self.end(MqttConnectionError(f"{NOT_MQTT} ({type(error).__name__}: {error})"))
            else:
                return code
            return MQTTErrorCode.MQTT_ERR_CONN_LOST

        return guarded

    def _check_qos(self) -> None:
        if self._paho._in_messages:  # paho would keep them until the broker says the word.
            raise MqttConnectionError("the broker sends a message with QoS 2, which we never ask for: it is broken")

    def _on_connect(self, paho: Paho, userdata: Any, flags: ConnectFlags, reason: ReasonCode, more: Any) -> None:
        self._answered = True
        if reason.is_failure:
            self.end(aiomqtt.MqttCodeError(reason))
        else:
            self.session_present = flags.session_present
            self._on_connected(paho, userdata, flags, reason, more)

    def _on_disconnect(
        self, _: Paho, _userdata: Any, flags: DisconnectFlags, reason: ReasonCode, _more: Any
    ) -> None:
        told = flags.is_disconnect_packet_from_server
        if not told and reason.value == PROTOCOL_ERROR:
            self.end(MqttConnectionError(NOT_MQTT))
        elif reason.value == UNSPECIFIED and not (told or self._answered):
            self.end(MqttConnectionError(HUNG_UP))
        else:
            self.end(aiomqtt.MqttCodeError(reason) if reason.is_failure else aiomqtt.MqttError())


UNSPECIFIED, PROTOCOL_ERROR = 0x80, 0x82
"""Reason codes, which paho also uses for what it finds itself."""


NOT_MQTT = "what arrived breaks the rules of MQTT: check that the port is a broker's, and version"


HUNG_UP = (
    "the other end hung up instead of answering: check that the port is a broker's, whether it wants TLS, and the "
    "broker's log"
)
