"""Connects to every server as the application would: bootstrap servers, then the brokers they lead to.

Decides what a fault means: a broker that cannot be used is an error, a bootstrap server is one only
while no other answers. The words of a fault are the transport's own.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from eventpub.check.finding import Finding, Grade, listed
from eventpub.config import Address, KafkaConfig
from eventpub.exceptions import ConfigurationError
from eventpub.profile import as_seconds
from eventpub.transports.kafka import wire
from eventpub.transports.kafka.answers import ClusterMetadata
from eventpub.transports.kafka.contact import Contact
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault, NotKafkaError, TransportClosedError

Faults = Mapping[Address, ConnectionFault]


@dataclass(frozen=True, slots=True)
class Contacts:
    """Who answered.

    Attributes:
        brokers: the cluster's brokers by id, where they say that they listen; empty: nobody answered.
        bootstrap: why a bootstrap server cannot be used; those that can are left out.
        advertised: likewise of the brokers.
    """

    brokers: Mapping[int, Address]
    bootstrap: Faults
    advertised: Faults

    @property
    def usable(self) -> Address | None:
        """A broker that can be used, if there is one."""
        return next((address for address in self.brokers.values() if address not in self.advertised), None)


async def connect(config: KafkaConfig, client_id: str) -> Contacts:
    """Connect to each bootstrap server and each broker, all at once; takes one connection attempt twice at most.

    Raises:
        ConfigurationError: ``ssl_cafile`` cannot be used, or a secret stayed behind in a pickle.
    """
    access = wire.Access(config, client_id, await asyncio.to_thread(config.open_tls))
    answers, bootstrap = await _ask_each(config.addresses, access)
    brokers = {node: address for answer in answers for node, address in answer.brokers.items()}
    tried = set(config.addresses)
    _, others = await _ask_each(set(brokers.values()) - tried, access)
    faults = {**bootstrap, **others}
    advertised = {address: faults[address] for address in brokers.values() if address in faults}
    return Contacts(brokers, bootstrap, advertised)


async def _ask_each(
    addresses: Iterable[Address], access: wire.Access
) -> tuple[list[ClusterMetadata], dict[Address, ConnectionFault]]:
    order = list(addresses)
    results = await asyncio.gather(*(_ask(address, access) for address in order))
    answers = [result for result in results if isinstance(result, ClusterMetadata)]
    faults = {a: result for a, result in zip(order, results, strict=True) if isinstance(result, ConnectionFault)}
    return answers, faults


async def _ask(address: Address, access: wire.Access) -> ClusterMetadata | ConnectionFault:
    """Ask one server for the cluster's brokers: a connection alone does not show that it serves."""

    async def open_connection(address: Address) -> wire.Connection:
        return await wire.connect(address, access)

    contact = Contact([address], open_connection, as_seconds("metadata_timeout", access.config.metadata_timeout))
    try:
        return await contact.ask(lambda link: link.metadata([]))
    except ConnectionFault as fault:
        return fault
    finally:
        contact.close(TransportClosedError("the check is done with it"))
        await contact.wait_closed()


# --- judging ----------------------------------------------------------------------------


def configuration(error: ConfigurationError) -> Iterator[Finding]:
    """Say what keeps the application from connecting at all."""
    for finding in error.findings:
        yield Finding(Grade.ERROR, "configuration", finding.setting, finding.reason, finding.fix)


def judge(contacts: Contacts, config: KafkaConfig) -> Iterator[Finding]:
    """Say which servers cannot be used, and what the settings give away."""
    for weakness in config.weaknesses:
        setting, _, reason = weakness.partition(": ")
        yield Finding(Grade.WARNING, "insecure", setting, f"{reason}, as insecure=True allows", "leave insecure out")
    for address, fault in contacts.advertised.items():
        nodes = sorted(node for node, place in contacts.brokers.items() if place == address)
        subject = f"{listed('broker', nodes)} ({address})"
        fix = _fix(fault, config)
        if address not in contacts.bootstrap:
            fix += "; the address is what the broker advertises (advertised.listeners)"
        yield Finding(Grade.ERROR, "broker", subject, _reason(address, fault), fix)
    grade = Grade.WARNING if contacts.brokers else Grade.ERROR
    for address, fault in contacts.bootstrap.items():
        if address not in contacts.advertised:
            subject = f"bootstrap server {address}"
            yield Finding(grade, "bootstrap-server", subject, _reason(address, fault), _fix(fault, config))


def _reason(address: Address, fault: ConnectionFault) -> str:
    """Return the fault's words without the address that they begin with."""
    return str(fault).removeprefix(str(address)).lstrip(": ")


_CERTIFICATE = {
    10: "renew the broker's certificate",  # X509_V_ERR_CERT_HAS_EXPIRED
    9: "the broker's certificate is not valid yet: compare the clocks",
    62: "connect to a name that is in the certificate, or have this one added to it (subjectAltName)",
    64: "connect to a name that is in the certificate, or have this address added to it (subjectAltName)",
}
_UNKNOWN_CA = "give the PEM file of the brokers' CA as ssl_cafile"
_PROTOCOL = "compare port and security_protocol with the listeners of the brokers"
# The first that fits: the later are bases of the earlier.
_FIXES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError, NotKafkaError, EOFError, ConnectionResetError), _PROTOCOL),
    ((ssl.SSLError,), "brokers that ask for a client certificate get one by ssl_context"),
    ((socket.gaierror,), "correct the host name, or make it known to this machine"),
    ((TimeoutError,), "look for a firewall or a route that is missing, and whether the broker is alive"),
    ((OSError,), "correct the port, start the broker, or let the firewall pass it"),
)


def _fix(fault: ConnectionFault, config: KafkaConfig) -> str:
    """Return what to do about *fault*, by what lies behind it."""
    behind = _behind(fault)
    if isinstance(behind, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(behind.verify_code, _UNKNOWN_CA)
    for kinds, fix in _FIXES:
        if isinstance(behind, kinds):
            return fix
    if config.sasl_mechanism is not None and isinstance(fault, AccessRefusedError):
        return "compare security_protocol, sasl_mechanism and the credentials with what that listener expects"
    return _PROTOCOL


def _behind(fault: BaseException) -> BaseException:
    """Return the socket's or TLS's own error behind *fault*, or the last cause there is."""
    while not isinstance(fault, OSError | EOFError) and fault.__cause__ is not None:
        fault = fault.__cause__
    return fault
