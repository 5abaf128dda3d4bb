"""What is shipped, and what the repository says about the machines it was built on: nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.kafka_node import ROOT

MODULES = sorted(p.relative_to(ROOT / "src") for p in (ROOT / "src").rglob("*.py"))
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist and, from it, the wheel."""
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    """Open the wheel."""
    return zipfile.ZipFile(next(dist.glob("*.whl")))


def tracked_files() -> list[Path]:
    """List what git knows; skip where this is no clone (an unpacked sdist)."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def test_the_wheel_holds_every_module_and_the_typing_marker(wheel: zipfile.ZipFile) -> None:
    """What is under src is what is installed, and type checkers are told that it is typed."""
    names = wheel.namelist()
    assert {module.as_posix() for module in MODULES} <= set(names)
    assert "eventpub/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"eventpub", "_eventpub_pytest.py"}


def test_the_wheel_passes_the_contents_check(wheel: zipfile.ZipFile) -> None:
    """check-wheel-contents finds nothing to complain about."""
    checker = Path(sys.executable).with_name("check-wheel-contents")
    subprocess.run([checker, str(wheel.filename)], check=True, capture_output=True)


def test_the_sdist_holds_licence_and_changelog(dist: Path) -> None:
    """Whoever packages eventpub from source gets the licence and the news."""
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml"} <= names


def test_the_installed_package_has_no_test_dependency(wheel: zipfile.ZipFile) -> None:
    """Only what pyproject.toml names as dependencies is required without an extra."""
    metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
    required = re.findall(r"^Requires-Dist: ([a-z-]+)(?!.*extra ==)", metadata, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [re.split(r"[<>=]", requirement)[0] for requirement in project["dependencies"]]
    assert sorted(required) == sorted(declared)


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_requirements_are_pinned_hashed_and_without_addresses(file: Path) -> None:
    """Each package has one version and its hashes, and no line says where to get it."""
    text = file.read_text()
    assert "://" not in text
    assert "--index" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    """A home directory or an index address in the repository helps nobody else."""
    # In two pieces, or this file would find itself.
    places = re.compile("|".join((r"(?<![\w.])/(?:home|root|Users)/", "index" + "-url")))
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in tracked_files()
        if (match := places.search(file.read_text(errors="replace")))
    ]
    assert found == []


def test_no_lock_file_with_addresses_is_tracked() -> None:
    """uv.lock and pylock.toml name the index they were made from; requirements/ does not."""
    assert not {file.name for file in tracked_files()} & {"uv.lock", "pylock.toml"}
