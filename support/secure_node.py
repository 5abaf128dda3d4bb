"""One Apache Kafka node that lets nobody in without proof: TLS, SASL and ACLs, each fault on a listener of its own.

Administration goes over the plain listener, whose user may do everything (never so outside a test).
"""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

# confluent_kafka.admin hides these from type checkers.
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from eventpub.config import KafkaConfig
from support import certificates
from support.certificates import Authority
from support.fault_proxy import Route
from support.kafka_node import ApacheKafka, Node, free_ports

APP, APP_PASSWORD = "app", "app-canary-password"
"""Who may write to every topic whose name begins with `OPEN_TOPICS`."""
STRANGER, STRANGER_PASSWORD = "stranger", "stranger-canary-password"
"""Who is let in, and may do nothing."""
OPEN_TOPICS = "open-"
SESSION = 3.0
"""Seconds that a session on the listener ``BRIEF`` lasts (``connections.max.reauth.ms``)."""

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_PROOFS = {
    "plain": f'{_PLAIN} required user_{APP}="{APP_PASSWORD}" user_{STRANGER}="{STRANGER_PASSWORD}";',
    "scram-sha-256": f"{_SCRAM} required;",
    "scram-sha-512": f"{_SCRAM} required;",
    # Kafka's own module for tests: it takes tokens that nobody signed.
    "oauthbearer": f'{_OAUTH} required unsecuredLoginStringClaim_sub="broker";',
}
_LISTENERS = {
    "SASL": "SASL_SSL",  # what is usual
    "BRIEF": "SASL_SSL",  # sessions end soon, and PLAIN is not offered
    "CLEAR": "SASL_PLAINTEXT",
    "PROXIED": "SASL_PLAINTEXT",  # leads its clients to a fault proxy
    "TLS": "SSL",  # asks for a client certificate
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",  # its certificate is another host's
}
_MECHANISMS = {ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512}
_ITERATIONS = 4096
_PATIENCE = 10.0


class SecureKafka(ApacheKafka):
    """One node with the listeners ``SASL``, ``BRIEF``, ``CLEAR``, ``PROXIED``, ``TLS``, ``EXPIRED`` and ``ELSEWHERE``.

    Attributes:
        ca: the PEM file of the authority behind every broker certificate.
        stranger_ca: that of an authority that nobody has a certificate of.
        client: a client certificate for ``CN=app``.
    """

    def __init__(self, directory: Path) -> None:
        """Make the certificates and plan the node; nothing runs yet."""
        super().__init__(directory)
        *ports, self._proxy = free_ports(len(_LISTENERS) + 1)
        self._ports = dict(zip(_LISTENERS, ports, strict=True))
        authority = Authority(directory / "certificates", "authority")
        self.ca = authority.certificate
        self.stranger_ca = Authority(directory / "certificates", "stranger-authority").certificate
        self.client = authority.issue(APP)
        valid = authority.issue("broker").store
        self._stores = dict.fromkeys(_LISTENERS, valid) | {
            "EXPIRED": authority.issue("expired", expired=True).store,
            "ELSEWHERE": authority.issue("elsewhere", ("DNS:kafka.example.com",)).store,
        }
        self._admin: AdminClient | None = None

    def start(self, timeout: float = 60) -> None:
        """Start the node, then make its users and their rights."""
        super().start(timeout)
        try:
            self._make_users()
        except BaseException:
            self.stop()
            raise

    def _make_users(self) -> None:
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        self.set_password(APP, APP_PASSWORD)
        self.set_password(STRANGER, STRANGER_PASSWORD)
        for user in (APP, f"CN={APP}"):
            self.grant(user, OPEN_TOPICS, prefix=True)

    def address(self, listener: str = "SASL") -> str:
        """Return ``host:port`` of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def routes(self) -> dict[int, Route]:
        """Return where a `FaultProxy` before the listener ``PROXIED`` has to listen."""
        return {1: Route(self._proxy, ("127.0.0.1", self._ports["PROXIED"]))}

    def config(self, listener: str = "SASL", mechanism: str | None = "SCRAM-SHA-512", **settings: Any) -> KafkaConfig:
        """Return how user `APP` gets in at *listener*; *settings* replace what is usual, ``None`` leaves it out."""
        usual: dict[str, Any] = {"security_protocol": _LISTENERS[listener]}
        if _LISTENERS[listener] in {"SSL", "SASL_SSL"}:
            usual["ssl_cafile"] = self.ca
        if _LISTENERS[listener].startswith("SASL") and mechanism is not None:
            usual |= {"sasl_mechanism": mechanism} | _credentials(mechanism)
        if listener == "TLS":
            usual |= {"ssl_cafile": None, "ssl_context": self.client_context()}
        return KafkaConfig(settings.pop("bootstrap_servers", self.address(listener)), **(usual | settings))

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts the authority and shows the client certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.client.certificate, self.client.key)
        return context

    # --- users and rights -----------------------------------------------------------

    def set_password(self, user: str, password: str) -> None:
        """Let *user* in with *password* by either SCRAM mechanism, from now on."""
        changes = [
            UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, _ITERATIONS), password.encode())
            for mechanism in _MECHANISMS
        ]
        self._alter(user, changes, present=True)

    def remove_user(self, user: str) -> None:
        """Let *user* in no more by SCRAM. Connections that are open stay."""
        self._alter(user, [UserScramCredentialDeletion(user, mechanism) for mechanism in _MECHANISMS], present=False)

    def grant(
        self, user: str, topic: str, operation: AclOperation = AclOperation.WRITE, *, prefix: bool = False
    ) -> None:
        """Allow *user* something on *topic*, or on each whose name begins so; return when it is in force."""
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        rule = (ResourceType.TOPIC, topic, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        _results(self.admin.create_acls([AclBinding(*rule)]))
        _until(lambda: self._in_force(AclBindingFilter(*rule)))

    def revoke(self, user: str, topic: str, operation: AclOperation = AclOperation.WRITE) -> None:
        """Take it back; return when that is in force."""
        literal, principal = ResourcePatternType.LITERAL, f"User:{user}"
        rule = AclBindingFilter(ResourceType.TOPIC, topic, literal, principal, "*", operation, AclPermissionType.ALLOW)
        _results(self.admin.delete_acls([rule]))
        _until(lambda: not self._in_force(rule))

    @property
    def admin(self) -> AdminClient:
        """A client that may do everything."""
        assert self._admin is not None, "the node was not started"
        return self._admin

    def _in_force(self, rule: AclBindingFilter) -> bool:
        # Answered by the broker's own authorizer, and so after its copy of the rules has changed.
        return bool(self.admin.describe_acls(rule, request_timeout=_PATIENCE).result(_PATIENCE))

    def _alter(self, user: str, changes: list[Any], *, present: bool) -> None:
        for change in changes:  # one request may say one thing about a user
            _results(self.admin.alter_user_scram_credentials([change], request_timeout=_PATIENCE))
        _until(lambda: self._knows(user) is present)

    def _knows(self, user: str) -> bool:
        known = self.admin.describe_user_scram_credentials([user], request_timeout=_PATIENCE)
        assert isinstance(known, dict)
        try:
            return bool(known[user].result(_PATIENCE).scram_credential_infos)
        except KafkaException:  # RESOURCE_NOT_FOUND
            return False

    # --- properties -----------------------------------------------------------------

    def _properties_of(self, node: Node) -> dict[str, str]:
        usual = super()._properties_of(node)
        protocols = ",".join(f"{name}:{protocol}" for name, protocol in _LISTENERS.items())
        added = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "connection.failed.authentication.delay.ms": "100",
        }
        for name, ports in (
            ("listeners", self._ports),
            ("advertised.listeners", self._ports | {"PROXIED": self._proxy}),
        ):
            places = ",".join(f"{listener}://127.0.0.1:{port}" for listener, port in ports.items())
            added[name] = f"{usual[name]},{places}"
        added["listener.security.protocol.map"] = f"{usual['listener.security.protocol.map']},{protocols}"
        for listener, protocol in _LISTENERS.items():
            added |= self._listener(listener, protocol)
        return usual | added

    def _listener(self, listener: str, protocol: str) -> dict[str, str]:
        found: dict[str, str] = {}
        if protocol in {"SSL", "SASL_SSL"}:
            for store, path in (("keystore", self._stores[listener]), ("truststore", self.ca)):
                found |= {f"ssl.{store}.type": "PEM", f"ssl.{store}.location": str(path)}
        if protocol.startswith("SASL"):
            offered = [mechanism for mechanism in _PROOFS if (listener, mechanism) != ("BRIEF", "plain")]
            found["sasl.enabled.mechanisms"] = ",".join(offered).upper()
            found |= {f"{mechanism}.sasl.jaas.config": _PROOFS[mechanism] for mechanism in offered}
        if listener == "BRIEF":
            found |= {f"{mechanism}.connections.max.reauth.ms": f"{SESSION * 1000:.0f}" for mechanism in _PROOFS}
        if listener == "TLS":
            found["ssl.client.auth"] = "required"
        return {f"listener.name.{listener.lower()}.{name}": value for name, value in found.items()}


def missing() -> str | None:
    """Say in one line what, besides what every node needs, is missing to run this one."""
    return certificates.missing()


def token(subject: str = APP, lifetime: float = 300.0) -> str:
    """Return a token as Kafka's module for tests takes it: claims that nobody signed."""
    now = time.time()
    claims = {"sub": subject, "iat": now, "exp": now + lifetime, "scope": "token-canary"}
    return ".".join([_base64({"alg": "none"}), _base64(claims), ""])


def _base64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _credentials(mechanism: str) -> dict[str, Any]:
    if mechanism == "OAUTHBEARER":
        return {"sasl_token_provider": _provide_token}
    return {"sasl_username": APP, "sasl_password": APP_PASSWORD}


async def _provide_token() -> str:
    return token()


def _results(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(_PATIENCE)


def _until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > patience:
            raise TimeoutError("the broker did not come to what it was told")
        time.sleep(0.01)
