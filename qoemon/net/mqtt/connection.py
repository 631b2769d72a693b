"""One connection to the broker, and everything that is replaced in paho and aiomqtt for it: `patch` and `hang_up`.

Only what connects the socket is replaced elsewhere, by `use_websocket` in websocket.py.

aiomqtt notices the end of a connection only after the CONNACK. It makes a task per message, and acknowledges a
message before it is processed. So messages are taken before they reach paho, and the end of a connection is
noticed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.net.mqtt.bulk_reader import BulkReader, Deliver, send_acks
from qoemon.net.mqtt.errors import HUNG_UP, NOT_MQTT, MqttConnectionError
from qoemon.net.mqtt.socket_events import SocketEvents
from qoemon.net.mqtt.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence


T = TypeVar("T")

PRIVATE_NAMES = ("_create_socket", "_in_messages", "_packet_queue", "_sock_recv")
"""Of paho's Client. tests/net/mqtt/test_contract.py checks them, with all that is relied on."""

UNSPECIFIED, PROTOCOL_ERROR = 0x80, 0x82
"""Reason codes, which paho also uses for errors that it finds itself."""

NO_FILTER = "qoemon/no/such/filter"
"""A filter to which nobody is subscribed, to unsubscribe from."""


def paho_client(client: aiomqtt.Client) -> Paho:
    """The paho client inside: the one private name of aiomqtt that is used.

    raises   RuntimeError if these versions lack a private name that qoemon uses
    """
    paho = getattr(client, "_client", None)
    if not isinstance(paho, Paho):
        missing = f"aiomqtt {aiomqtt.__version__} has no paho client in Client._client"
    elif absent := [name for name in PRIVATE_NAMES if not hasattr(paho, name)]:
        missing = f"this version of paho-mqtt has no Client.{absent[0]}"
    else:
        return paho
    raise RuntimeError(
        f"{missing}: install versions of aiomqtt and paho-mqtt that qoemon's package metadata allows"
    )


def patch(paho: Paho, connection: Connection | None = None) -> None:
    """Replace callbacks and methods of paho. Only `hang_up` and `use_websocket` replace any besides.

    Once for a client of its own, and at most once more for a Connection, before the client connects. Bytes then
    pass through these, in this order:

    1. SocketEvents, called by the event loop, in the place of aiomqtt's four socket callbacks.
    2. Connection.read. It comes before the reader, so whatever the reader, a delivery or paho raises ends the
       connection with this reason.
    3. BulkReader.read, which takes the messages. It reads by paho's own `_sock_recv`, which is replaced last.
    4. paho's loop_read, which gets all other packets, through BulkReader.recv in the place of `_sock_recv`.
    5. Connection.on_connect, on_subscribe, on_unsubscribe and on_disconnect, called by paho. All but the last call
       aiomqtt's; aiomqtt's on_disconnect is not needed.
    """
    if connection is None:
        events = SocketEvents(paho, paho.loop_read, lambda _: shut_down(paho))
    else:
        events = SocketEvents(paho, connection.read, connection.failed)
        paho.on_connect = connection.on_connect
        paho.on_subscribe = connection.on_subscribe
        paho.on_unsubscribe = connection.on_unsubscribe
        paho.on_disconnect = connection.on_disconnect
        paho._sock_recv = connection.reader.recv  # type: ignore[method-assign, assignment]
    paho.on_socket_open = events.opened
    paho.on_socket_close = events.closing
    paho.on_socket_register_write = events.register_write
    paho.on_socket_unregister_write = events.unregister_write


def hang_up(paho: Paho) -> None:
    """Disconnect at once, whatever state the attempt or the connection is in."""
    paho.on_message = None
    paho.on_socket_open = _reject  # The thread that connects cannot be cancelled.
    paho.on_disconnect = None  # aiomqtt's raises if the attempt was cancelled.
    paho.on_socket_register_write = None  # Without it paho writes now, acknowledgements first.
    paho.disconnect()
    shut_down(paho)  # If the broker reads no more, only this makes paho find the end.


def _reject(_paho: Paho, _userdata: Any, _socket: Any) -> NoReturn:
    raise ConnectionAbortedError("connected after the attempt was given up")


def shut_down(paho: Paho) -> None:
    """End the connection under paho, which closes its socket when it finds the end at its next read or write."""
    connected = paho.socket()
    if isinstance(connected, socket.socket | WebSocket):
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def raise_if_cancelled() -> None:
    """Raise CancelledError if the task is cancelled: wait_for of Python 3.11 loses that if a result comes too."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Connection:
    """A connection that delivers messages, and reports its end with the reason, from the first byte on.

    client   has not connected yet
    deliver  called with each message of QoS 0 or 1; what it raises ends the connection
    properties  whether messages have properties, as in MQTT 5

    session_present  whether the broker has kept our session, by its CONNACK
    session_expiry_s the session expiry interval that its CONNACK imposes; None if it names none
    subacks          how many SUBACKs have arrived
    unsuback         the reason codes of the newest UNSUBACK, none with MQTT 3.1.1; None before the first one
    """

    # paho's types know its first callback API only.
    _aiomqtt_on_connect: Any
    _aiomqtt_on_subscribe: Any
    _aiomqtt_on_unsubscribe: Any

    def __init__(self, client: aiomqtt.Client, deliver: Deliver, *, properties: bool) -> None:
        self.session_present = False
        self.session_expiry_s: int | None = None
        self.subacks = 0
        self.unsuback: Sequence[ReasonCode] | None = None
        self._last_mid: int | None = None
        """The packet identifier of the UNSUBSCRIBE whose answer ends the connection."""
        self._lost: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        self._answered = False
        self._paho = paho = paho_client(client)
        self._aiomqtt_on_connect = paho.on_connect
        self._aiomqtt_on_subscribe = paho.on_subscribe
        self._aiomqtt_on_unsubscribe = paho.on_unsubscribe
        self.reader = BulkReader(paho, deliver, properties=properties)
        patch(paho, self)

    async def until_lost(self) -> NoReturn:
        """Wait for the end of the connection; raises MqttError with the reason."""
        await asyncio.wait({self._lost})
        raise self._reason()

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work; MqttError if the connection ends before."""
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

    def ack(self, mids: Sequence[int]) -> None:
        """Acknowledge the QoS 1 messages of these packet identifiers, in their order."""
        send_acks(self._paho, mids)

    def end_after_acks(self) -> None:
        """End the connection once the broker has read all acknowledgements.

        Closing a socket with unread data makes the kernel discard what was sent last. The broker may then never see
        our acknowledgements, and deliver the same messages on every connection. So unsubscribe from what nobody is
        subscribed to: the broker answers that after it has read the acknowledgements.
        """
        _, self._last_mid = self._paho.unsubscribe(NO_FILTER)

    def end(self, error: Exception) -> None:
        """End the connection for this reason, if it has not ended yet."""
        if self._lost.done():
            return
        self._lost.set_exception(error)
        self._lost.exception()  # Marks it as retrieved: after a cancellation nobody else does.
        self.reader.deliver = None
        shut_down(self._paho)

    def close(self) -> None:
        """Deliver no more messages, and disconnect at once."""
        self.reader.deliver = None
        hang_up(self._paho)

    def _reason(self) -> aiomqtt.MqttError:
        error = self._lost.exception()
        if isinstance(error, aiomqtt.MqttError):
            return error
        wrapped = aiomqtt.MqttError()
        wrapped.__cause__ = error
        return wrapped

    def read(self) -> None:
        """Read what has arrived."""
        self.reader.read()
        if self._paho._in_messages:  # paho would keep them until the broker releases them.
            raise MqttConnectionError(
                "the broker sends QoS 2, which was not requested: it does not conform to MQTT"
            )

    def failed(self, error: Exception) -> None:
        """End the connection for what reading or writing raises: by a malformed packet, that can be anything."""
        if not isinstance(error, OSError | aiomqtt.MqttError):
            error = MqttConnectionError(f"{NOT_MQTT} ({type(error).__name__}: {error})")
        self.end(error)

    def on_connect(self, paho: Paho, userdata: Any, flags: ConnectFlags, reason: ReasonCode, more: Any) -> None:
        """Record the CONNACK."""
        self._answered = True
        if reason.is_failure:
            self.end(aiomqtt.MqttCodeError(reason))
        else:
            self.session_present = flags.session_present
            self.session_expiry_s = getattr(more, "SessionExpiryInterval", None)
            self._aiomqtt_on_connect(paho, userdata, flags, reason, more)

    def on_subscribe(self, paho: Paho, userdata: Any, mid: int, codes: list[ReasonCode], more: Any) -> None:
        """Record the SUBACK."""
        self.subacks += 1
        self._aiomqtt_on_subscribe(paho, userdata, mid, codes, more)

    def on_unsubscribe(self, paho: Paho, userdata: Any, mid: int, codes: list[ReasonCode], more: Any) -> None:
        """Record the UNSUBACK, or end the connection if it is the awaited one."""
        if mid == self._last_mid:
            paho.disconnect()
            return
        self.unsuback = codes
        self._aiomqtt_on_unsubscribe(paho, userdata, mid, codes, more)

    def on_disconnect(
        self, _: Paho, _userdata: Any, flags: DisconnectFlags, reason: ReasonCode, _more: Any
    ) -> None:
        """End the connection, for the reason that paho found or the broker sent."""
        by_broker = flags.is_disconnect_packet_from_server
        if not by_broker and reason.value == PROTOCOL_ERROR:
            self.end(MqttConnectionError(NOT_MQTT))
        elif reason.value == UNSPECIFIED and not (by_broker or self._answered):
            self.end(MqttConnectionError(HUNG_UP))
        else:
            self.end(aiomqtt.MqttCodeError(reason) if reason.is_failure else aiomqtt.MqttError())
