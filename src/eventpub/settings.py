"""Settings from the environment: ``EVENTPUB_*``, a ``.env`` file, a directory of secrets.

Decides what each variable is called and what becomes of it. What the values must be is decided
where they are used; their complaints are told here by the names of the variables, all at once.
Imported only when used: pydantic-settings takes longer to import than all of eventpub's rules.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from eventpub.abc import DeadLetterSink
from eventpub.buffer import BufferLimits
from eventpub.cloudevents import Encoder
from eventpub.config import KafkaConfig
from eventpub.deadletter.letters import DeadLetters
from eventpub.deadletter.spool import SpoolSink
from eventpub.deadletter.topic import TopicSink
from eventpub.exceptions import ConfigurationError, Finding
from eventpub.profile import as_seconds
from eventpub.profiles import Profiles

PathLike: TypeAlias = str | Path

PREFIX = "EVENTPUB_"
SECRETS_DIR = "EVENTPUB_SECRETS_DIR"

_KAFKA = (
    *("bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_username", "sasl_password"),
    *("ssl_cafile", "insecure", "connect_timeout", "metadata_timeout"),
)


def _setting(default: object, meaning: str, unit: str = "") -> Any:
    return Field(default, description=meaning, json_schema_extra={"unit": unit})


class Settings(BaseSettings):
    """What the environment says; each field is the variable ``EVENTPUB_<FIELD>``. Secrets are masked.

    An empty variable counts as not set. Names are checked by `publisher_arguments`, not here.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    bootstrap_servers: str | None = _setting(None, "where the cluster is: `host:port,host:port`; port 9092 if left out")
    security_protocol: str | None = _setting(
        None, "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; follows from the others if not set"
    )
    sasl_mechanism: str | None = _setting(None, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    sasl_username: str | None = _setting(None, "who connects")
    sasl_password: SecretStr | None = _setting(None, "the password; better in the directory of secrets")
    ssl_cafile: Path | None = _setting(None, "a PEM file of CAs to trust in place of the system's")
    insecure: bool = _setting(False, "allow a password in clear text over the network")
    connect_timeout: float = _setting(10.0, "limit of one connection attempt, TLS and SASL included", "seconds")
    metadata_timeout: float = _setting(5.0, "how long a broker may take to answer a question about topics", "seconds")
    client_id: str = _setting("eventpub", "what brokers log and apply quotas to")
    source: str | None = _setting(None, "the CloudEvents `source` of the events, such as `/task-api`")
    profile: str = _setting("critical", "for events that name none: critical, standard, telemetry, or one of your own")
    buffer_max_records: int = _setting(20_000, "how many events may be unconfirmed at once", "events")
    buffer_max_bytes: ByteSize = _setting(ByteSize(32 * 1024 * 1024), "how large they may be together", "bytes")
    connect: Literal["lazy", "eager"] = _setting("lazy", "whether opening fails when no broker can be reached")
    start_timeout: float = _setting(10.0, "how long an eager start may take", "seconds")
    dead_letter_topic: str | None = _setting(
        None, "where events are kept that could not be delivered: a topic, such as `{topic}.dlq`"
    )
    dead_letter_spool: Path | None = _setting(None, "likewise, a local file; where both are given, it is the second")
    dead_letter_spool_max_bytes: ByteSize = _setting(ByteSize(1024**3), "how large that file may grow", "bytes")


def publisher_arguments(
    *, env_file: PathLike | None = ".env", secrets_dir: PathLike | None = None, **overrides: Any
) -> dict[str, Any]:
    """Return the keyword arguments of `Publisher` as the environment has them. Reads files: it blocks.

    What is set in several places is taken from the first of: *overrides*, the process's
    environment, *env_file*, the directory of secrets.

    Args:
        env_file: a file of ``NAME=value`` lines, if it exists; ``None`` for none.
        secrets_dir: a directory with one file for each secret, called like its variable;
            default: the one that ``EVENTPUB_SECRETS_DIR`` names.
        **overrides: arguments of `Publisher`, in place of what the environment says.

    Raises:
        ConfigurationError: everything that is wrong, by the names of the variables, those that
            eventpub does not know included.
    """
    settings, findings = _read(env_file, secrets_dir)
    arguments: dict[str, Any] = {}
    for name, make in _PARTS.items():
        if name in overrides:
            continue
        try:
            arguments[name] = make(settings, overrides)
        except ConfigurationError as error:
            findings.extend(map(_by_variable, error.findings))
    if findings:
        raise ConfigurationError(findings)
    return {**arguments, **overrides}


def kafka_config(*, env_file: PathLike | None = ".env", secrets_dir: PathLike | None = None) -> KafkaConfig:
    """Return where the environment says the cluster is. Reads files: it blocks.

    Raises:
        ConfigurationError: as `publisher_arguments`.
    """
    config: KafkaConfig = publisher_arguments(env_file=env_file, secrets_dir=secrets_dir)["target"]
    return config


def table() -> str:
    """Return every variable as a row of a Markdown table, for the reference page."""
    rows = [("Variable", "Value", "Default", "Unit", "Meaning"), ("---",) * 5]
    rows.append(
        (f"`{SECRETS_DIR}`", "path", "", "", "a directory with one file for each secret, called like its variable")
    )
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{_shown(field.default)}`"
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        rows.append((f"`{_variable(name)}`", _kind(field.annotation), default, unit, str(field.description)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# --- reading -----------------------------------------------------------------------


def _read(env_file: PathLike | None, secrets_dir: PathLike | None) -> tuple[Settings, list[Finding]]:
    """Return what the environment says, and what is wrong with it; wrong values are left at their defaults."""
    directory = secrets_dir if secrets_dir is not None else os.environ.get(SECRETS_DIR) or None
    findings = [*_directory_faults(directory)]
    sources: dict[str, Any] = {"_env_file": env_file, "_secrets_dir": None if findings else directory}
    findings += _unknown(env_file, sources["_secrets_dir"])
    try:
        return Settings(**sources), findings
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each["msg"] for each in error.errors(include_input=False)}
    findings += [_wrong_value(name, message) for name, message in wrong.items()]
    return Settings(**sources, **{name: Settings.model_fields[name].default for name in wrong}), findings


def _directory_faults(directory: PathLike | None) -> Iterator[Finding]:
    if directory is not None and not Path(directory).is_dir():  # pydantic-settings would only warn
        yield Finding(SECRETS_DIR, f"{directory} is no directory", "mount the secrets there, or leave it out")


def _unknown(env_file: PathLike | None, secrets_dir: PathLike | None) -> Iterator[Finding]:
    """Say which names nobody would ever read: a setting acts, or is refused."""
    files = [] if secrets_dir is None else [path.name for path in Path(secrets_dir).iterdir()]
    in_file = DotEnvSettingsSource(Settings, env_file=env_file).env_vars  # names in lower case
    known = [SECRETS_DIR, *map(_variable, Settings.model_fields)]
    for name in sorted({each.upper() for each in (*os.environ, *in_file, *files)} - {*known}):
        if name.startswith(PREFIX):
            close = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {close[0]}?" if close else "unset it; the reference lists those there are"
            yield Finding(name, "is no setting of eventpub", fix)


def _wrong_value(name: str, message: str) -> Finding:
    fix = f"give a value of this kind: {_kind(Settings.model_fields[name].annotation)}"
    return Finding(_variable(name), message.replace("Input should", "should"), fix)


# --- what becomes of it --------------------------------------------------------------


def _target(settings: Settings, _overrides: Mapping[str, Any]) -> KafkaConfig:
    if settings.bootstrap_servers is None:
        raise ConfigurationError.of("bootstrap_servers", "is not set", "set it to host:9092,host:9092")
    return KafkaConfig(**{name: getattr(settings, name) for name in _KAFKA})


def _buffer(settings: Settings, _overrides: Mapping[str, Any]) -> BufferLimits:
    return BufferLimits(settings.buffer_max_records, int(settings.buffer_max_bytes))


def _source(settings: Settings, _overrides: Mapping[str, Any]) -> str | None:
    Encoder(settings.source)  # checks it
    return settings.source


def _profile(settings: Settings, overrides: Mapping[str, Any]) -> str:
    Profiles(settings.profile, overrides.get("profiles") or {})  # knows the names
    return settings.profile


def _dead_letters(settings: Settings, _overrides: Mapping[str, Any]) -> DeadLetters | None:
    topic, spool = settings.dead_letter_topic, settings.dead_letter_spool
    sinks: list[DeadLetterSink] = []
    if topic is not None:
        sinks.append(TopicSink(topic))
    if spool is not None:
        sinks.append(SpoolSink(spool, max_bytes=int(settings.dead_letter_spool_max_bytes)))
    return DeadLetters(*sinks) if sinks else None


def _start_timeout(settings: Settings, _overrides: Mapping[str, Any]) -> float:
    return as_seconds("start_timeout", settings.start_timeout)


_PARTS: dict[str, Callable[[Settings, Mapping[str, Any]], object]] = {
    "target": _target,
    "source": _source,
    "profile": _profile,
    "dead_letters": _dead_letters,
    "buffer": _buffer,
    "connect": lambda settings, _: settings.connect,
    "start_timeout": _start_timeout,
    "client_id": lambda settings, _: settings.client_id,
}


# --- names ---------------------------------------------------------------------------


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _by_variable(finding: Finding) -> Finding:
    """Return *finding* under the name of the variable that its setting was read from."""
    name = _OTHER_NAMES.get(finding.setting, finding.setting)
    if name in Settings.model_fields:
        return finding._replace(setting=_variable(name))
    return finding._replace(fix="no variable can hold it: build a KafkaConfig and give it as target")


_OTHER_NAMES = {
    "url": "bootstrap_servers",
    "buffer.max_records": "buffer_max_records",
    "buffer.max_bytes": "buffer_max_bytes",
    "spool.path": "dead_letter_spool",
    "spool.max_bytes": "dead_letter_spool_max_bytes",
    "TopicSink.topic": "dead_letter_topic",
}


def _kind(annotation: Any) -> str:
    """Return in words what a variable may hold."""
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    return next(word for kind, word in _KINDS if annotation in (kind, kind | None))


def _shown(default: object) -> object:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else default


_KINDS: tuple[tuple[Any, str], ...] = (
    (str, "text"),
    (SecretStr, "secret text"),
    (Path, "path"),
    (bool, "`true` or `false`"),
    (int, "whole number"),
    (float, "number"),
    (ByteSize, "whole number, or with a unit: `64MiB`"),
)
