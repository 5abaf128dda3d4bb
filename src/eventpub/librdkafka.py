"""A `KafkaConfig` in librdkafka's settings, for the tools that read and ask through confluent-kafka.

Decides the translation only; publishing goes another way (`eventpub.transports.kafka`).
Settings: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

import ssl
from typing import Any

from eventpub.config import KafkaConfig
from eventpub.envelope import wall_clock
from eventpub.profile import as_seconds

_TOKEN_LASTS = 3600.0
"""What librdkafka is told of a token's life; these tools are done, or asked for another one, long before."""
_SHORTEST_SETUP, _LONGEST_SETUP = 1_000, 2_147_483_647
"""Milliseconds; librdkafka refuses others."""


def settings(config: KafkaConfig, client_id: str, token: str | None = None) -> dict[str, Any]:
    """Return what a client of librdkafka needs to reach the same cluster as the same user. Reads no file.

    It logs nothing: what fails is an exception of the call. Of an ``ssl_context`` the trusted CAs and
    what it verifies are taken over; Python gives no client certificate or key away.

    Args:
        config: where, and as whom.
        client_id: what brokers call it.
        token: for ``OAUTHBEARER``: what the config's provider returned. librdkafka cannot await.
    """
    found = {
        "bootstrap.servers": config.bootstrap_servers,
        "client.id": client_id,
        "security.protocol": config.security_protocol,
        "socket.connection.setup.timeout.ms": _setup_timeout(config),
        "log_level": 0,
    }
    if config.tls:
        found |= _tls(config)
    if config.sasl_mechanism is not None:
        found |= _sasl(config, token)
    return found


def _setup_timeout(config: KafkaConfig) -> int:
    wanted = int(1000 * as_seconds("connect_timeout", config.connect_timeout))
    return max(_SHORTEST_SETUP, min(wanted, _LONGEST_SETUP))


def _tls(config: KafkaConfig) -> dict[str, Any]:
    context = config.ssl_context
    if context is None:
        # "probe" looks for the system's CAs where the distributions keep them.
        return {"ssl.ca.location": "probe" if config.ssl_cafile is None else str(config.ssl_cafile)}
    authorities = context.get_ca_certs(binary_form=True)
    found = {
        "enable.ssl.certificate.verification": context.verify_mode is not ssl.CERT_NONE,
        "ssl.endpoint.identification.algorithm": "https" if context.check_hostname else "none",
    }
    if authorities:
        return found | {"ssl.ca.pem": "".join(map(ssl.DER_cert_to_PEM_cert, authorities))}
    return found | {"ssl.ca.location": "probe"}


def _sasl(config: KafkaConfig, token: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"sasl.mechanism": config.sasl_mechanism}
    if config.sasl_mechanism == "OAUTHBEARER":
        expires = wall_clock() / 1e9 + _TOKEN_LASTS
        return found | {"oauth_cb": lambda _: (token, expires)}
    return found | {"sasl.username": config.sasl_username, "sasl.password": config.password}
