"""How a cluster is described, and what is refused before anything is connected to."""

from __future__ import annotations

import copy
import pickle
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from eventpub.config import Address, KafkaConfig
from eventpub.exceptions import ConfigurationError

SECRET = "canary-hunter2"  # the canary
SCRAM: dict[str, Any] = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "app", "sasl_password": SECRET}
PLAIN: dict[str, Any] = {**SCRAM, "sasl_mechanism": "PLAIN"}


async def token() -> str:
    """Provide a token."""
    return SECRET


def settings_of(error: pytest.ExceptionInfo[ConfigurationError]) -> list[str]:
    """The settings that the findings name."""
    return [finding.setting for finding in error.value.findings]


# --- servers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "servers, addresses",
    [
        ("h1", [("h1", 9092)]),
        ("h1:9093,h2", [("h1", 9093), ("h2", 9092)]),
        (" h1 , h2:1 ", [("h1", 9092), ("h2", 1)]),
        (["h1", "h2:9093"], [("h1", 9092), ("h2", 9093)]),
        (("10.0.0.1:9092",), [("10.0.0.1", 9092)]),
        ("[::1]:9093,[fe80::1]", [("::1", 9093), ("fe80::1", 9092)]),
        ("::1", [("::1", 9092)]),
        ("kafka_1.my-net.local.", [("kafka_1.my-net.local.", 9092)]),
        ("h1,h1:9092", [("h1", 9092)]),
    ],
)
def test_servers_are_read(servers: str | list[str], addresses: list[tuple[str, int]]) -> None:
    """The usual spellings, port 9092 where none is given, each server once."""
    assert list(KafkaConfig(servers).addresses) == [Address(*address) for address in addresses]


@pytest.mark.parametrize(
    "servers",
    [
        "",
        ",",
        "h1:",
        "h1:0",
        "h1:65536",
        "h1:port",
        "h 1",
        "h1;h2",
        ":9092",
        "[::1",
        "[nope]:1",
        "[::1]9092",
        [],
        [b"h1"],
        9092,
        None,
        b"h1",
    ],
)
def test_servers_that_cannot_be_are_refused(servers: Any) -> None:
    """With the setting's name and an example of what would do."""
    with pytest.raises(ConfigurationError) as error:
        KafkaConfig(servers)
    assert set(settings_of(error)) == {"bootstrap_servers"}


def test_a_url_among_the_servers_is_told_where_it_goes() -> None:
    """The next step is in the message."""
    with pytest.raises(ConfigurationError, match="from_url"):
        KafkaConfig("kafka://h1:9092")


def test_an_ipv6_address_is_shown_with_brackets() -> None:
    """What is printed can be pasted again."""
    assert KafkaConfig("[::1]:9093").bootstrap_servers == "[::1]:9093"


# --- URLs -------------------------------------------------------------------------------


def test_a_url_names_servers_and_whether_tls_is_used() -> None:
    """The scheme decides, nothing else."""
    plain = KafkaConfig.from_url("kafka://h1:9093,h2")
    assert plain.addresses == (Address("h1", 9093), Address("h2", 9092))
    assert plain.security_protocol == "PLAINTEXT"
    assert KafkaConfig.from_url("kafka+tls://h1/").security_protocol == "SSL"


def test_a_url_goes_with_settings() -> None:
    """What has no place in a URL is given beside it."""
    assert KafkaConfig.from_url("kafka+tls://h1", **PLAIN).security_protocol == "SASL_SSL"
    assert KafkaConfig.from_url("kafka://h1", **SCRAM).security_protocol == "SASL_PLAINTEXT"


@pytest.mark.parametrize(
    "url",
    [
        f"kafka://app:{SECRET}@h1:9092",
        f"kafka+tls://app:{SECRET}@h1",
        f"kafka://{SECRET}@h1",
        f"kafka://app:{SECRET}/x@h1",
        f"kafka://app:{SECRET}?x@h1",
        f"kafka://app:{SECRET}#x@h1",
        f"http://app:{SECRET}@h1",
        f"kafka://h1,app:{SECRET}@h2",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    """URLs end up in process lists and logs, and so would the message."""
    with pytest.raises(ConfigurationError, match="sasl_password") as error:
        KafkaConfig.from_url(url)
    assert SECRET not in str(error.value)
    assert SECRET not in repr(error.value)


def test_credentials_among_the_servers_are_not_repeated() -> None:
    """The same, one layer below."""
    with pytest.raises(ConfigurationError, match="credentials") as error:
        KafkaConfig(f"h1,app:{SECRET}@h2")
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", ["http://h1", "h1:9092", "", "amqp://h1", "://h1"])
def test_other_schemes_are_refused(url: str) -> None:
    """With the ones that would do."""
    with pytest.raises(ConfigurationError, match=r"kafka\+tls"):
        KafkaConfig.from_url(url)


@pytest.mark.parametrize("url", ["kafka://h1/topic", f"kafka://h1?password={SECRET}", f"kafka://h1#{SECRET}"])
def test_more_than_servers_is_refused_and_not_repeated(url: str) -> None:
    """A path or a query would never act."""
    with pytest.raises(ConfigurationError) as error:
        KafkaConfig.from_url(url)
    assert SECRET not in str(error.value)


# --- security ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, protocol",
    [
        ({}, "PLAINTEXT"),
        ({"ssl_cafile": "ca.pem"}, "SSL"),
        ({"ssl_context": ssl.create_default_context()}, "SSL"),
        (SCRAM, "SASL_SSL"),
        (PLAIN, "SASL_SSL"),
        ({"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": token}, "SASL_SSL"),
    ],
)
def test_the_protocol_follows_from_the_settings(settings: dict[str, Any], protocol: str) -> None:
    """Nobody sends a password in clear text by leaving a setting out."""
    assert KafkaConfig("h1", **settings).security_protocol == protocol


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"security_protocol": "TLS"}, "security_protocol"),
        ({"sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
        ({"security_protocol": "SASL_SSL"}, "sasl_mechanism"),
        ({**SCRAM, "security_protocol": "SSL"}, "sasl_mechanism"),
        ({**SCRAM, "sasl_username": None}, "sasl_username"),
        ({**SCRAM, "sasl_password": None}, "sasl_password"),
        ({**SCRAM, "sasl_password": 5}, "sasl_password"),
        ({**SCRAM, "sasl_token_provider": token}, "sasl_token_provider"),
        ({"sasl_password": SECRET}, "sasl_password"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "sasl_token_provider"),
        ({"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": SECRET}, "sasl_token_provider"),
        ({"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": token, "sasl_password": SECRET}, "sasl_password"),
        ({"security_protocol": "PLAINTEXT", "ssl_cafile": "ca.pem"}, "ssl_cafile"),
        ({"security_protocol": "PLAINTEXT", "ssl_context": ssl.create_default_context()}, "ssl_context"),
        ({"ssl_context": ssl.create_default_context(), "ssl_cafile": "ca.pem"}, "ssl_cafile"),
        ({"ssl_context": True}, "ssl_context"),
        ({"ssl_cafile": ""}, "ssl_cafile"),
        ({"insecure": "yes"}, "insecure"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"connect_timeout": "10"}, "connect_timeout"),
        ({"metadata_timeout": float("nan")}, "metadata_timeout"),
    ],
)
def test_what_cannot_work_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    """Each finding names the setting; none of them repeats a secret."""
    with pytest.raises(ConfigurationError) as error:
        KafkaConfig("h1", **settings)
    assert named in settings_of(error)
    assert SECRET not in str(error.value)


def test_all_findings_come_at_once() -> None:
    """Nobody mends one setting after another."""
    with pytest.raises(ConfigurationError) as error:
        KafkaConfig("h1:x", sasl_mechanism="PLAIN", security_protocol="SASL_PLAINTEXT", connect_timeout=-1)
    assert settings_of(error) == [
        "bootstrap_servers",
        "connect_timeout",
        "sasl_username",
        "sasl_password",
        "sasl_mechanism",
    ]


@pytest.mark.parametrize(
    "settings",
    [PLAIN, {"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": token}],
)
def test_credentials_in_clear_text_need_to_be_asked_for(settings: dict[str, Any]) -> None:
    """PLAIN and OAUTHBEARER without TLS show the credentials to the network."""
    with pytest.raises(ConfigurationError, match="insecure=True"):
        KafkaConfig("h1", security_protocol="SASL_PLAINTEXT", **settings)
    config = KafkaConfig("h1", security_protocol="SASL_PLAINTEXT", insecure=True, **settings)
    assert len(config.weaknesses) == 1


def test_scram_without_tls_is_allowed() -> None:
    """It proves the password without sending it."""
    assert KafkaConfig("h1", security_protocol="SASL_PLAINTEXT", **SCRAM).weaknesses == ()


def unverified(*, certificate: bool = False) -> ssl.SSLContext:
    """Return a context that does not verify the host name, or nothing at all."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if not certificate:
        context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("context", [unverified(), unverified(certificate=True)])
def test_a_context_that_verifies_nothing_needs_to_be_asked_for(context: ssl.SSLContext) -> None:
    """Encryption with an unknown party keeps no secret."""
    with pytest.raises(ConfigurationError, match="insecure=True") as error:
        KafkaConfig("h1", ssl_context=context)
    assert settings_of(error) == ["ssl_context"]
    assert KafkaConfig("h1", ssl_context=context, insecure=True).weaknesses


def test_old_tls_needs_to_be_asked_for() -> None:
    """TLS 1.0 and 1.1 are broken."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.raises(ConfigurationError, match=r"1\.2"):
        KafkaConfig("h1", ssl_context=context)


# --- contexts ---------------------------------------------------------------------------


def test_the_default_context_verifies_and_starts_at_tls_1_2() -> None:
    """Certificate, host name, version."""
    context = KafkaConfig("h1", security_protocol="SSL").open_tls()
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_no_tls_no_context() -> None:
    """Nothing is loaded that is not used."""
    assert KafkaConfig("h1").open_tls() is None


def test_a_context_of_the_users_is_used_as_it_is() -> None:
    """Client certificates live in there."""
    context = ssl.create_default_context()
    assert KafkaConfig("h1", ssl_context=context).open_tls() is context


def test_a_ca_file_is_read_when_connecting(tmp_path: Path) -> None:
    """Construction touches no file; what is wrong with it is told by name."""
    config = KafkaConfig("h1", ssl_cafile=tmp_path / "ca.pem")
    with pytest.raises(ConfigurationError, match=r"ca\.pem") as error:
        config.open_tls()
    assert settings_of(error) == ["ssl_cafile"]
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        config.open_tls()


# --- secrets ----------------------------------------------------------------------------


def test_secrets_are_not_shown() -> None:
    """Neither by repr nor by str; the rest is."""
    config = KafkaConfig("h1", **SCRAM)
    assert SECRET not in f"{config!r} {config}"
    assert "SCRAM-SHA-512" in repr(config)
    assert config.password == SECRET


def test_a_secret_str_is_taken_as_it_is() -> None:
    """What pydantic masks stays masked."""
    config = KafkaConfig("h1", **{**SCRAM, "sasl_password": SecretStr(SECRET)})
    assert config.password == SECRET
    assert config == KafkaConfig("h1", **SCRAM)


def test_secrets_do_not_travel_in_a_pickle() -> None:
    """What comes out is complete but for the secrets, and says so when it is used."""
    pickled = pickle.dumps(KafkaConfig("h1", **SCRAM))
    assert SECRET.encode() not in pickled
    config = pickle.loads(pickled)
    assert config.addresses == (Address("h1", 9092),)
    assert config.sasl_username == "app"
    with pytest.raises(ConfigurationError, match="process that uses it") as error:
        config.open_tls()
    assert settings_of(error) == ["sasl_password"]


def test_a_context_does_not_travel_in_a_pickle() -> None:
    """It cannot be pickled; falling back to the system's CAs would be another config."""
    config = pickle.loads(pickle.dumps(KafkaConfig("h1", ssl_context=ssl.create_default_context())))
    with pytest.raises(ConfigurationError, match="process that uses it") as error:
        config.open_tls()
    assert settings_of(error) == ["ssl_context"]


def test_a_config_without_secrets_travels_whole() -> None:
    """Nothing is lost where there is nothing to hide."""
    config = KafkaConfig("h1", ssl_cafile="ca.pem", connect_timeout=3)
    assert pickle.loads(pickle.dumps(config)) == config


def test_copies_keep_the_secrets() -> None:
    """A copy stays in the process; an immutable value is its own copy."""
    config = KafkaConfig("h1", **SCRAM)
    assert copy.copy(config) is config
    assert copy.deepcopy({"kafka": config})["kafka"] is config


def test_it_is_a_value() -> None:
    """Equal settings are equal configs, and cannot be changed."""
    assert KafkaConfig("h1:9092", connect_timeout=timedelta(seconds=10)) == KafkaConfig(["h1"])
    with pytest.raises(AttributeError):
        KafkaConfig("h1").insecure = True  # type: ignore[misc]  # that is the point


def test_an_unknown_setting_is_refused() -> None:
    """A misspelt setting would silently not act."""
    with pytest.raises(TypeError, match="sasl_pasword"):
        KafkaConfig("h1", sasl_pasword="x")  # type: ignore[call-arg]  # that is the point
