"""How to reach a Kafka cluster, and as whom. A value: building one touches no file, socket or loop."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from eventpub.exceptions import ConfigurationError, Finding
from eventpub.profile import as_seconds

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
TokenProvider = Callable[[], Awaitable[str]]

DEFAULT_PORT = 9092
_LAST_PORT = 65535
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
_SCHEMES = {"kafka": False, "kafka+tls": True}
_DURATIONS = ("connect_timeout", "metadata_timeout")
_SECRETS = ("sasl_password", "sasl_token_provider", "ssl_context")

_Checks = Iterator[tuple[bool, str, str, str]]


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """A cluster's bootstrap servers, and what it takes to be let in.

    TLS verifies the broker's certificate and host name, from TLS 1.2 on. Passwords, token
    providers and contexts are not shown by ``repr`` and do not travel in a pickle: a config
    that comes out of one without the secret it needs is refused when it is used.

    Args:
        bootstrap_servers: ``"h1:9092,h2"`` or a list of such; port 9092 where none is given.
        security_protocol: Kafka's name for it. Follows from the other settings if not given:
            a SASL mechanism means ``SASL_SSL``, a CA file or a context ``SSL``.
        sasl_mechanism: ``PLAIN``, ``SCRAM-SHA-256``, ``SCRAM-SHA-512`` or ``OAUTHBEARER``.
        sasl_username: who connects; not with ``OAUTHBEARER``.
        sasl_password: the password, a ``str`` or pydantic's ``SecretStr``; not with ``OAUTHBEARER``.
        sasl_token_provider: for ``OAUTHBEARER``: an async function that returns a token. It is
            called for each connection, inside ``connect_timeout``.
        ssl_context: a TLS context of your own (client certificates), instead of ...
        ssl_cafile: ... a PEM file of CAs to trust in place of the system's. It is read when the
            publisher opens; what is wrong with it is a `ConfigurationError` there.
        insecure: allow what is refused otherwise: a password or token in clear text over the
            network, a context that verifies nothing or speaks less than TLS 1.2.
        connect_timeout: limit of one connection attempt: TCP, TLS, versions and SASL together
            (10 s; seconds or ``timedelta``). While nobody answers it is tried for 2 s first, then
            longer each time, up to this.
        metadata_timeout: how long a broker may take to answer a question about topics or
            producer ids (5 s); likewise 2 s at first, and another broker is asked beside it after one.

    Raises:
        ConfigurationError: everything that is wrong at once, each with the setting and the fix.
    """

    bootstrap_servers: str | Iterable[str]
    security_protocol: SecurityProtocol = None  # type: ignore[assignment]  # resolved below
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: str | SecretStr | None = None
    sasl_token_provider: TokenProvider | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    ssl_cafile: str | os.PathLike[str] | None = None
    insecure: bool = False
    connect_timeout: float | timedelta = 10.0
    metadata_timeout: float | timedelta = 5.0
    addresses: tuple[Address, ...] = field(init=False, repr=False)
    _stayed_behind: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> KafkaConfig:
        """Return the config for ``kafka://h1:9092,h2`` or, with TLS, ``kafka+tls://h1,h2``.

        Credentials, paths and queries have no place in the URL; *settings* are those of the
        class, without ``bootstrap_servers`` and ``security_protocol``.

        Raises:
            ConfigurationError: the URL, or what the settings make of it.
        """
        servers, tls = _split_url(url)
        sasl = settings.get("sasl_mechanism") is not None
        return cls(servers, _protocol(sasl=sasl, tls=tls), **settings)

    def __post_init__(self) -> None:
        if isinstance(self.sasl_password, str):
            self._set("sasl_password", SecretStr(self.sasl_password))
        if self.security_protocol is None:
            self._set("security_protocol", self._derived_protocol())
        findings = [*self._adopt_servers(), *self._adopt_values(), *self._contradictions()]
        if not self.insecure:
            findings += self._weaknesses()
        if findings:
            raise ConfigurationError(findings)

    def __reduce__(self) -> tuple[Any, ...]:
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _SECRETS}
        stay_behind = tuple(name for name in _SECRETS if getattr(self, name) is not None)
        return _restore, ({**shown, "_stayed_behind": (*self._stayed_behind, *stay_behind)},)

    def __copy__(self) -> KafkaConfig:
        return self

    def __deepcopy__(self, memo: object) -> KafkaConfig:
        return self

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def password(self) -> str | None:
        """The password in clear text; keep it out of messages."""
        secret = self.sasl_password
        return secret.get_secret_value() if isinstance(secret, SecretStr) else secret

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What ``insecure=True`` allowed here."""
        return tuple(f"{finding.setting}: {finding.reason}" for finding in self._weaknesses())

    def open_tls(self) -> ssl.SSLContext | None:
        """Return the TLS context to connect with, ``None`` without TLS. Reads files: it blocks.

        Raises:
            ConfigurationError: ``ssl_cafile`` cannot be used, or a secret stayed behind in a pickle.
        """
        self._refuse_lost_secrets()
        if not self.tls:
            return None
        if self.ssl_context is not None:
            return self.ssl_context
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
        except (OSError, ValueError) as error:
            reason = f"{self.ssl_cafile} cannot be used ({error.__class__.__name__}: {error})"
            fix = "give a readable PEM file of CA certificates"
            raise ConfigurationError.of("ssl_cafile", reason, fix) from error
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        return context

    def _refuse_lost_secrets(self) -> None:
        if self._stayed_behind:
            reason, fix = "does not travel in a pickle", "build the config in the process that uses it"
            raise ConfigurationError(Finding(name, reason, fix) for name in self._stayed_behind)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _derived_protocol(self) -> SecurityProtocol:
        sasl = self.sasl_mechanism is not None
        return _protocol(sasl=sasl, tls=sasl or self.ssl_context is not None or self.ssl_cafile is not None)

    def _adopt_servers(self) -> list[Finding]:
        servers = self.bootstrap_servers
        names = servers.split(",") if isinstance(servers, str) else servers
        if isinstance(names, bytes) or not isinstance(names, Iterable):
            return [Finding("bootstrap_servers", f"got {type(names).__name__}", 'give "host:port,host:port" or a list')]
        found = [_address(name) for name in names]
        addresses = tuple(dict.fromkeys(a for a in found if isinstance(a, Address)))
        self._set("addresses", addresses)
        self._set("bootstrap_servers", ",".join(map(str, addresses)))
        if not found:
            return [Finding("bootstrap_servers", "is empty", 'give at least one server, "host:9092"')]
        return [finding for finding in found if isinstance(finding, Finding)]

    def _adopt_values(self) -> Iterator[Finding]:
        for name in _DURATIONS:
            try:
                self._set(name, as_seconds(name, getattr(self, name)))
            except ConfigurationError as error:
                yield from error.findings
        if isinstance(self.ssl_cafile, os.PathLike):
            self._set("ssl_cafile", os.fspath(self.ssl_cafile))

    def _contradictions(self) -> Iterator[Finding]:
        for checks in (self._wrong_values(), self._misplaced(), self._missing_credentials()):
            yield from (Finding(*finding) for broken, *finding in checks if broken)

    def _wrong_values(self) -> _Checks:
        yield (
            self.security_protocol not in get_args(SecurityProtocol),
            "security_protocol",
            f"{self.security_protocol!r} is not known to Kafka",
            f"use one of {', '.join(get_args(SecurityProtocol))}, or leave it out",
        )
        yield (
            self.sasl_mechanism is not None and self.sasl_mechanism not in get_args(SaslMechanism),
            "sasl_mechanism",
            f"{self.sasl_mechanism!r} is not supported",
            f"use one of {', '.join(get_args(SaslMechanism))}",
        )
        yield (
            not isinstance(self.ssl_cafile, str | None) or self.ssl_cafile == "",
            "ssl_cafile",
            "names no file",
            "give the path of a PEM file, or leave it out to trust the system's CAs",
        )
        yield (
            not isinstance(self.ssl_context, ssl.SSLContext | None),
            "ssl_context",
            f"got {type(self.ssl_context).__name__}",
            "give an ssl.SSLContext, as ssl.create_default_context() makes",
        )
        for name in ("sasl_username", "sasl_password"):
            value = self.password if name == "sasl_password" else self.sasl_username
            yield (
                isinstance(value, str) and (value == "" or _UNSENDABLE.search(value) is not None),
                name,
                "is empty, or holds a NUL or half of a character (a lone surrogate)",
                "give it as the brokers know it; no message to them can carry those",
            )
        yield (
            not isinstance(self.sasl_password, SecretStr | None),
            "sasl_password",
            f"got {type(self.sasl_password).__name__}",
            "give a str or a SecretStr",
        )
        yield (
            self.sasl_token_provider is not None and not callable(self.sasl_token_provider),
            "sasl_token_provider",
            f"got {type(self.sasl_token_provider).__name__}",
            "give an async function that takes nothing and returns the token",
        )
        yield (
            not isinstance(self.insecure, bool),
            "insecure",
            f"got {type(self.insecure).__name__}",
            "give True or False",
        )

    def _misplaced(self) -> _Checks:
        """Settings that would never act."""
        protocol, sasl = self.security_protocol, str(self.security_protocol).startswith("SASL_")
        for name in ("ssl_context", "ssl_cafile"):
            yield (
                not self.tls and getattr(self, name) is not None,
                name,
                f"never acts with security_protocol {protocol}",
                "leave it out, or use SSL or SASL_SSL (in a URL: kafka+tls://)",
            )
        yield (
            self.ssl_context is not None and self.ssl_cafile is not None,
            "ssl_cafile",
            "never acts beside ssl_context",
            "load the file into the context, or leave the context out",
        )
        yield (
            self.sasl_mechanism is not None and not sasl,
            "sasl_mechanism",
            f"never acts with security_protocol {protocol}",
            "use SASL_SSL, or leave the mechanism out",
        )
        for name, acts in (
            ("sasl_username", self._by_password),
            ("sasl_password", self._by_password),
            ("sasl_token_provider", self.sasl_mechanism == "OAUTHBEARER"),
        ):
            yield (
                not acts and getattr(self, name) is not None,
                name,
                f"never acts with sasl_mechanism {self.sasl_mechanism}",
                "leave it out, or choose the mechanism that needs it",
            )

    def _missing_credentials(self) -> _Checks:
        yield (
            str(self.security_protocol).startswith("SASL_") and self.sasl_mechanism is None,
            "sasl_mechanism",
            f"is missing, and security_protocol {self.security_protocol} needs one",
            f"use one of {', '.join(get_args(SaslMechanism))}",
        )
        for name, needed in (
            ("sasl_username", self._by_password),
            ("sasl_password", self._by_password),
            ("sasl_token_provider", self.sasl_mechanism == "OAUTHBEARER"),
        ):
            yield (
                needed and getattr(self, name) is None,
                name,
                f"is missing, and sasl_mechanism {self.sasl_mechanism} needs it",
                "give it",
            )

    @property
    def _by_password(self) -> bool:
        return self.sasl_mechanism in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

    def _weaknesses(self) -> list[Finding]:
        return [Finding(*finding) for broken, *finding in self._weak_spots() if broken]

    def _weak_spots(self) -> _Checks:
        yield (
            self.security_protocol == "SASL_PLAINTEXT" and self.sasl_mechanism in {"PLAIN", "OAUTHBEARER"},
            "sasl_mechanism",
            f"{self.sasl_mechanism} without TLS sends the credentials in clear text over the network",
            "use security_protocol SASL_SSL (in a URL: kafka+tls://) or a SCRAM mechanism, or say insecure=True",
        )
        context = self.ssl_context
        if isinstance(context, ssl.SSLContext):
            yield (
                context.verify_mode is ssl.CERT_NONE or not context.check_hostname,
                "ssl_context",
                "does not verify who the broker is (CERT_NONE, or check_hostname is False)",
                "use ssl.create_default_context(cafile=...), or say insecure=True",
            )
            yield (
                context.minimum_version < ssl.TLSVersion.TLSv1_2,
                "ssl_context",
                "speaks TLS older than 1.2",
                "set its minimum_version to TLSv1_2, or say insecure=True",
            )


def _restore(values: dict[str, Any]) -> KafkaConfig:
    """Unpickle: without checks, because secrets may have stayed behind; `open_tls` says so."""
    config = object.__new__(KafkaConfig)
    for name in (*values, *_SECRETS):
        object.__setattr__(config, name, values.get(name))
    return config


def _protocol(*, sasl: bool, tls: bool) -> SecurityProtocol:
    if sasl:
        return "SASL_SSL" if tls else "SASL_PLAINTEXT"
    return "SSL" if tls else "PLAINTEXT"


def _split_url(url: str) -> tuple[str, bool]:
    """Return the servers, and whether the scheme asks for TLS."""
    # Looked for in the whole text: a password with "/", "?" or "#" in it moves the "@" out of
    # the place where credentials usually stand. And never repeated.
    if "@" in url:
        raise ConfigurationError([_CREDENTIALS])
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        fix = "use kafka://host:port,host:port, or kafka+tls:// for TLS"
        raise ConfigurationError.of("url", f"scheme {parts.scheme!r} is not known", fix)
    if parts.path.strip("/") or parts.query or parts.fragment:
        fix = "leave it out; settings are arguments of KafkaConfig, the topic is the event's"
        raise ConfigurationError.of("url", "has something after the servers", fix)
    return parts.netloc, _SCHEMES[parts.scheme]


def _address(server: object) -> Address | Finding:
    """Return where *server* listens, or what is wrong with it."""
    if isinstance(server, Address):
        return server
    if not isinstance(server, str):
        return Finding("bootstrap_servers", f"holds {type(server).__name__}", 'give "host:port" as str')
    if "@" in server:
        return _CREDENTIALS
    if "://" in server:
        return Finding("bootstrap_servers", "holds a URL", "give host:port; KafkaConfig.from_url takes URLs")
    host, port = _split_server(server.strip())
    if not _is_host(host) or not (port.isdecimal() and 0 < int(port) <= _LAST_PORT):
        return Finding("bootstrap_servers", f"{server.strip()[:60]!r} is no host:port", 'give "host:9092"')
    return Address(host, int(port))


def _split_server(server: str) -> tuple[str, str]:
    """Return host and port as they stand there; an empty host is refused by the caller."""
    if _is_ipv6(server):
        return server, str(DEFAULT_PORT)
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        known = _is_ipv6(host) and server.count("]") == 1 and rest[:1] in {"", ":"}
        return (host if known else ""), (rest[1:] if rest else str(DEFAULT_PORT))
    host, colon, port = server.partition(":")
    return host, port if colon else str(DEFAULT_PORT)


def _is_host(host: str) -> bool:
    return _is_ipv6(host) or _HOST.fullmatch(host) is not None


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


_CREDENTIALS = Finding(
    "url",
    "carries credentials, which would show up in logs and process lists",
    "take them out and give sasl_mechanism, sasl_username and sasl_password of KafkaConfig",
)
