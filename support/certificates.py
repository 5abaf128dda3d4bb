"""Certificates for tests, made with ``openssl``: an authority, and what it signs. They are of no use elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("IP:127.0.0.1", "DNS:localhost")

_REQUEST = """\
[req]
prompt = no
distinguished_name = nobody
[nobody]
CN = nobody
"""
_AUTHORITY = """\
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
# What Python 3.13 asks of a certificate (VERIFY_X509_STRICT), and older ones do not mind.
_LEAF = """\
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def missing() -> str | None:
    """Say in one line what is missing to make certificates here; ``None`` if nothing is."""
    return None if shutil.which("openssl") else "certificates need openssl, and there is no openssl here"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key and a certificate as PEM files. ``store`` holds both and the authority's: Kafka's PEM key store."""

    key: Path
    certificate: Path
    store: Path


class Authority:
    """A certificate authority with its files in *directory*."""

    def __init__(self, directory: Path, name: str) -> None:
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        request = self._request(name, self._key)
        signing = ("-signkey", str(self._key))
        self._sign(request, self.certificate, _AUTHORITY, signing, days=30)

    def issue(self, name: str, hosts: tuple[str, ...] = LOOPBACK, *, expired: bool = False) -> Certificate:
        """Make a certificate for *hosts*, such as ``IP:127.0.0.1``; its subject is ``CN=name``."""
        paths = [self._directory / f"{name}.{suffix}" for suffix in ("key", "crt", "store.pem")]
        key, certificate, store = paths
        request = self._request(name, key)
        signing = ("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial")
        extensions = _LEAF.format(names=",".join(hosts))
        # It ends before it begins, which no library tells from one that ended long ago.
        self._sign(request, certificate, extensions, signing, days=-1 if expired else 30)
        store.write_bytes(b"".join(path.read_bytes() for path in (key, certificate, self.certificate)))
        return Certificate(key, certificate, store)

    def _request(self, name: str, key: Path) -> Path:
        config, request = self._directory / "request.cnf", key.with_suffix(".csr")
        config.write_text(_REQUEST)
        subject = ("-config", str(config), "-subj", f"/CN={name}")
        _openssl("req", *_KEY, *subject, "-keyout", str(key), "-out", str(request))
        return request

    def _sign(self, request: Path, out: Path, extensions: str, signing: tuple[str, ...], days: int) -> None:
        file = request.with_suffix(".cnf")
        file.write_text(extensions)
        wanted = ("-extfile", str(file), "-extensions", "extensions", "-days", str(days))
        _openssl("x509", "-req", "-in", str(request), *signing, *wanted, "-out", str(out))


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr}")
