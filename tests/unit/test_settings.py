"""Settings from the environment: where they come from, and how what is wrong with them is told."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from eventpub import BufferLimits, ConfigurationError, KafkaConfig, Publisher
from eventpub.settings import Settings, kafka_config, publisher_arguments, table
from support.kafka_node import ROOT

SERVERS = {"EVENTPUB_BOOTSTRAP_SERVERS": "kafka-1:9093,kafka-2"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start without variables of eventpub, in a directory without a ``.env``."""
    for name in [name for name in os.environ if name.startswith("EVENTPUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def put(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set *variables* in the environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def complaints() -> dict[str, str]:
    """Return what is wrong with the environment: names, and the reasons with their fixes."""
    with pytest.raises(ConfigurationError) as caught:
        publisher_arguments()
    return {finding.setting: f"{finding.reason}; {finding.fix}" for finding in caught.value.findings}


def test_the_servers_alone_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else has the defaults that the classes have; a publisher takes all of it."""
    put(monkeypatch, SERVERS)
    arguments = publisher_arguments()
    assert arguments["target"] == KafkaConfig("kafka-1:9093,kafka-2:9092")
    assert arguments["buffer"] == BufferLimits()
    said = inspect.signature(Publisher).parameters
    for name in ("connect", "start_timeout", "client_id", "source"):
        assert arguments[name] == said[name].default
    assert repr(Publisher(**arguments)) == "<Publisher new>"


def test_every_setting_arrives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each variable ends in the argument that it is called after."""
    variables = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "SASL_USERNAME": "task-api",
        "SASL_PASSWORD": "tiger",
        "SSL_CAFILE": str(tmp_path / "ca.pem"),
        "CONNECT_TIMEOUT": "3",
        "METADATA_TIMEOUT": "2.5",
        "CLIENT_ID": "me",
        "SOURCE": "/task-api",
        "PROFILE": "telemetry",
        "BUFFER_MAX_RECORDS": "7",
        "BUFFER_MAX_BYTES": "64MiB",
        "CONNECT": "eager",
        "START_TIMEOUT": "4",
    }
    put(monkeypatch, SERVERS | {f"EVENTPUB_{name}": value for name, value in variables.items()})
    arguments = publisher_arguments()
    config = arguments["target"]
    assert (config.security_protocol, config.sasl_mechanism, config.sasl_username) == (
        "SASL_SSL",
        "SCRAM-SHA-512",
        "task-api",
    )
    assert (config.password, config.ssl_cafile) == ("tiger", str(tmp_path / "ca.pem"))
    assert (config.connect_timeout, config.metadata_timeout) == (3.0, 2.5)
    assert arguments["buffer"] == BufferLimits(7, 64 * 1024 * 1024)
    rest = {name: arguments[name] for name in ("client_id", "source", "profile", "connect", "start_timeout")}
    assert rest == {
        "client_id": "me",
        "source": "/task-api",
        "profile": "telemetry",
        "connect": "eager",
        "start_timeout": 4.0,
    }


def test_the_defaults_are_those_of_the_classes() -> None:
    """A default is written down twice, and the same both times."""
    for name in ("insecure", "connect_timeout", "metadata_timeout", "sasl_mechanism", "ssl_cafile"):
        assert Settings.model_fields[name].default == inspect.signature(KafkaConfig).parameters[name].default


def test_everything_wrong_is_told_at_once_by_the_names_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the wrong kind, contradictions and unknown names come in one error, and no secret does."""
    wrong = {
        "EVENTPUB_BOOTSTRAP_SERVERS": "kafka:port",
        "EVENTPUB_SASL_PASSWORD": "tiger",
        "EVENTPUB_START_TIMEOUT": "soon",
        "EVENTPUB_BUFFER_MAX_RECORDS": "0",
        "EVENTPUB_CONNECT": "hurriedly",
        "EVENTPUB_SOURCE": "no uri",
        "EVENTPUB_PROFILE": "crucial",
        "EVENTPUB_SOURSE": "/task-api",
    }
    put(monkeypatch, wrong)
    found = complaints()
    assert found.keys() == wrong.keys()
    assert found["EVENTPUB_SOURSE"] == "is no setting of eventpub; did you mean EVENTPUB_SOURCE?"
    assert "`lazy` or `eager`" in found["EVENTPUB_CONNECT"]
    assert "tiger" not in str(found)


def test_without_servers_it_says_which_variable_to_set() -> None:
    """The first thing that is missing in a new terminal is named with an example."""
    assert complaints() == {"EVENTPUB_BOOTSTRAP_SERVERS": "is not set; set it to host:9092,host:9092"}


def test_credentials_in_the_servers_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `KafkaConfig` calls the URL is, here, the variable."""
    put(monkeypatch, {"EVENTPUB_BOOTSTRAP_SERVERS": "me:tiger@kafka"})
    found = complaints()
    assert found.keys() == {"EVENTPUB_BOOTSTRAP_SERVERS"}
    assert "tiger" not in str(found)


def test_what_no_variable_can_hold_is_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """OAUTHBEARER needs a function."""
    put(monkeypatch, SERVERS | {"EVENTPUB_SASL_MECHANISM": "OAUTHBEARER"})
    assert "build a KafkaConfig" in complaints()["sasl_token_provider"]


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and unit files set variables to nothing."""
    put(monkeypatch, SERVERS | {"EVENTPUB_SASL_PASSWORD": "", "EVENTPUB_START_TIMEOUT": "", "EVENTPUB_SECRETS_DIR": ""})
    assert publisher_arguments()["start_timeout"] == 10


def test_the_environment_goes_before_the_file_and_the_file_before_the_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each setting comes from the first place that has it."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("CLIENT_ID", "SOURCE", "PROFILE"):
        (secrets / f"eventpub_{name.lower()}").write_text("telemetry\n")
    (tmp_path / ".env").write_text("EVENTPUB_CLIENT_ID=file\nEVENTPUB_SOURCE=/file\nOTHER=1\n")
    put(monkeypatch, SERVERS | {"EVENTPUB_CLIENT_ID": "environment", "EVENTPUB_SECRETS_DIR": str(secrets)})
    arguments = publisher_arguments()
    assert [arguments[name] for name in ("client_id", "source", "profile")] == ["environment", "/file", "telemetry"]
    assert publisher_arguments(env_file=None)["source"] == "telemetry"


def test_a_misspelt_name_in_a_file_is_refused_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In ``.env`` and among the secrets, as in the environment."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "EVENTPUB_SASL_PASWORD").write_text("tiger")
    (tmp_path / ".env").write_text("EVENTPUB_SASL_USERNAM=me\n")
    put(monkeypatch, SERVERS | {"EVENTPUB_SECRETS_DIR": str(secrets)})
    assert complaints().keys() == {"EVENTPUB_SASL_USERNAM", "EVENTPUB_SASL_PASWORD"}


def test_a_directory_of_secrets_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mount that is missing would leave the password out, and the brokers would be blamed."""
    put(monkeypatch, SERVERS | {"EVENTPUB_SECRETS_DIR": str(tmp_path / "none")})
    assert complaints().keys() == {"EVENTPUB_SECRETS_DIR"}


def test_dead_letters_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic first, the spool where that fails; nowhere if nobody says so."""
    put(monkeypatch, SERVERS)
    assert publisher_arguments()["dead_letters"] is None
    places = {"EVENTPUB_DEAD_LETTER_TOPIC": "{topic}.dlq", "EVENTPUB_DEAD_LETTER_SPOOL": "spool.db"}
    put(monkeypatch, places)
    assert repr(publisher_arguments()["dead_letters"]) == "<DeadLetters topic {topic}.dlq, spool spool.db>"


def test_dead_letters_that_cannot_work_are_told_by_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks have other names for their settings than the environment."""
    put(monkeypatch, SERVERS | {"EVENTPUB_DEAD_LETTER_TOPIC": "{type}.dlq"})
    assert complaints().keys() == {"EVENTPUB_DEAD_LETTER_TOPIC"}
    put(monkeypatch, {"EVENTPUB_DEAD_LETTER_TOPIC": "", "EVENTPUB_DEAD_LETTER_SPOOL": "s"})
    put(monkeypatch, {"EVENTPUB_DEAD_LETTER_SPOOL_MAX_BYTES": "1KiB"})
    assert complaints().keys() == {"EVENTPUB_DEAD_LETTER_SPOOL_MAX_BYTES"}


def test_overrides_go_before_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code says, the environment need not; and profiles of one's own may be named."""
    mine = {"mine": Publisher("memory://", profile="standard")._profiles.default}
    put(monkeypatch, {"EVENTPUB_PROFILE": "mine"})
    arguments = publisher_arguments(target="memory://", profiles=mine, source="/here")
    assert (arguments["target"], arguments["profile"], arguments["source"]) == ("memory://", "mine", "/here")


def test_the_cluster_alone_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who need no publisher."""
    put(monkeypatch, SERVERS)
    assert str(kafka_config().addresses[0]) == "kafka-1:9093"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor the arguments show the password."""
    put(monkeypatch, SERVERS | {"EVENTPUB_SASL_MECHANISM": "SCRAM-SHA-256", "EVENTPUB_SASL_USERNAME": "me"})
    put(monkeypatch, {"EVENTPUB_SASL_PASSWORD": "tiger"})
    assert "tiger" not in repr(Settings()) + repr(publisher_arguments())


def test_the_reference_page_has_every_variable() -> None:
    """Its table is the one that the code makes: ``python -c 'from eventpub.settings import table; print(table())'``."""
    assert table() in (ROOT / "docs" / "reference" / "environment.md").read_text()


def test_a_publisher_comes_out_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables, a file, and what the code says in their place; wrong ones by their names."""
    put(monkeypatch, SERVERS)
    assert repr(Publisher.from_env()) == "<Publisher new>"
    (tmp_path / "other.env").write_text("EVENTPUB_START_TIMEOUT=never\n")
    Publisher.from_env(env_file=None, connect="eager")
    with pytest.raises(ConfigurationError, match="EVENTPUB_START_TIMEOUT"):
        Publisher.from_env(env_file="other.env")
