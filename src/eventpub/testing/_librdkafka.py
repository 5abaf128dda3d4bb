"""librdkafka's mock cluster, by ctypes, out of the confluent-kafka wheel.

The mock cluster is no stable API of librdkafka's; every function used stands in `_SIGNATURES`
and is looked up when the library is loaded, so that a release without one says so at once.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_size_t, c_void_p
from functools import cache
from pathlib import Path

from eventpub.exceptions import UsageError

_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "rd_kafka_conf_new": (c_void_p, []),
    "rd_kafka_conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "rd_kafka_new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "rd_kafka_destroy": (None, [c_void_p]),
    "rd_kafka_err2str": (c_char_p, [c_int]),
    "rd_kafka_mock_cluster_new": (c_void_p, [c_void_p, c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [c_void_p]),
    "rd_kafka_mock_cluster_bootstraps": (c_char_p, [c_void_p]),
    "rd_kafka_mock_set_apiversion": (c_int, [c_void_p, c_int16, c_int16, c_int16]),
    "rd_kafka_mock_topic_create": (c_int, [c_void_p, c_char_p, c_int, c_int]),
    "rd_kafka_mock_partition_set_leader": (c_int, [c_void_p, c_char_p, c_int32, c_int32]),
    "rd_kafka_mock_broker_set_rtt": (c_int, [c_void_p, c_int32, c_int]),
    "rd_kafka_mock_broker_set_down": (c_int, [c_void_p, c_int32]),
    "rd_kafka_mock_broker_set_up": (c_int, [c_void_p, c_int32]),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        [c_void_p, c_int16, c_size_t, POINTER(c_int)],
    ),
    "rd_kafka_mock_clear_request_errors": (None, [c_void_p, c_int16]),
}
_PRODUCER = 0  # enum rd_kafka_type_t
_ERROR_TEXT = 512
_MOMENT = 0.001

PRODUCE = 0
FETCH = 1
EVERY_BROKER = -1
NOBODY = -1
DISCONNECT = -195  # RD_KAFKA_RESP_ERR__TRANSPORT: hang up instead of answering


class MockCluster:
    """A mock cluster and the librdkafka client it lives in. Thread-safe, as librdkafka makes it.

    Its brokers run in threads of librdkafka. A call takes a millisecond or two, whatever its
    clients do.
    """

    def __init__(self, brokers: int) -> None:
        """Start *brokers* brokers, each on a free port of the loopback interface."""
        self._library = load()
        self._client = _new_client(self._library)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        if not self._cluster:
            self._library.rd_kafka_destroy(self._client)
            raise UsageError(f"librdkafka could not start a mock cluster of {brokers} brokers")
        # Asked to produce to, or fetch from, a partition that nobody leads, by a client that
        # takes these versions, it reads the leader's name through a null pointer and ends the
        # process (librdkafka 2.16). Older versions of the two requests leave the name out.
        self.call("set_apiversion", PRODUCE, 0, 9)
        self.call("set_apiversion", FETCH, 0, 11)

    @property
    def bootstrap_servers(self) -> str:
        """Return ``host:port,host:port``, one for each broker."""
        servers: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return servers.decode()

    def call(self, function: str, *arguments: bytes | int) -> None:
        """Call ``rd_kafka_mock_<function>`` on this cluster.

        Raises:
            UsageError: it answered with an error code.
        """
        _settle()
        code: int = getattr(self._library, f"rd_kafka_mock_{function}")(self._cluster, *arguments)
        if code:
            text = self._library.rd_kafka_err2str(code).decode()
            raise UsageError(f"the embedded broker refused {function}{arguments}: {text}")

    def push_errors(self, api_key: int, codes: list[int]) -> None:
        """Answer the next ``len(codes)`` requests of that kind with these codes, in this order."""
        array = (c_int * len(codes))(*codes)
        push = self._library.rd_kafka_mock_push_request_errors_array
        push(self._cluster, api_key, len(codes), array)

    def clear_errors(self, api_key: int) -> None:
        """Forget codes that no request has taken yet."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, api_key)

    def destroy(self) -> None:
        """Close every socket and end every thread. Nothing may be called afterwards."""
        _settle()
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@cache
def load() -> ctypes.CDLL:
    """Load librdkafka and declare the functions used.

    Raises:
        UsageError: confluent-kafka is not installed, or its librdkafka lacks one of them.
    """
    library = ctypes.CDLL(_path())
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise UsageError(
                f"this librdkafka has no {name}: install a confluent-kafka that eventpub[broker] allows"
            ) from None
        function.restype, function.argtypes = result, arguments
    return library


def _settle() -> None:
    """Give the mock cluster's thread the moment it needs between two calls."""
    # It answers a call first and empties its wake-up pipe then; a call that comes in between
    # loses its wake-up and waits for the next tick, a second later (one call in fifty). Not
    # time.sleep: detectors of blocking calls would report a fault verb used on an event loop.
    if os.name == "nt":
        time.sleep(_MOMENT)
    else:
        select.select([], [], [], _MOMENT)


def _path() -> str:
    try:
        from confluent_kafka import cimpl
    except ImportError as error:
        raise UsageError(
            "EmbeddedKafka is librdkafka's mock cluster, which comes with confluent-kafka: "
            "pip install 'eventpub[broker]'"
        ) from error
    extension = Path(cimpl.__file__)
    if os.name != "nt":
        return str(extension)  # symbols of the libraries it is linked to are found through it
    libraries = extension.parent.parent / "confluent_kafka.libs"
    return str(next(libraries.glob("*rdkafka*.dll")))


def _new_client(library: ctypes.CDLL) -> int:
    text = ctypes.create_string_buffer(_ERROR_TEXT)
    settings = library.rd_kafka_conf_new()
    # It would say on stderr that it knows no broker, which is as it should be.
    library.rd_kafka_conf_set(settings, b"log_level", b"0", text, _ERROR_TEXT)
    client: int | None = library.rd_kafka_new(_PRODUCER, settings, text, _ERROR_TEXT)
    if client is None:
        raise UsageError(f"librdkafka did not start: {text.value.decode()}")
    return client
