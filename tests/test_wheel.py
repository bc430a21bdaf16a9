"""The built wheel, in a venv of its own, away from the checkout, on the oldest and newest Python that are here."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
OLDEST_AND_NEWEST = ("3.11", "3.13")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = {"cvmd": "cvmd", "protocol": "protocol", "cvm_client": "tools/client"}
"""By name in the wheel."""
NOT_PACKED = ("protocol/c/", "cvm_client/README.md")
AWAY = {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """The command's output; the test fails with it if the command does."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def interpreters() -> dict[str, str]:
    """Version → a Python of it: the one that runs this; the oldest and newest supported, if they are here."""
    found = {HERE: sys.executable}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in OLDEST_AND_NEWEST:
        on_path = shutil.which(f"python{version}")
        candidates = [*([on_path] if on_path else []), *map(str, versions.glob(f"{version}.*/bin/python"))]
        for candidate in candidates:
            # pyenv puts a python3.x on PATH for every version that it knows, most of which only complain.
            works = subprocess.run([candidate, "-m", "ensurepip", "--version"], capture_output=True, check=False)
            if works.returncode == 0:
                found.setdefault(version, candidate)
    return found


def _by_interpreter(version: str) -> Any:
    """What runs this has the same tests from the checkout, whose very files the wheel has."""
    return pytest.param(version, marks=[pytest.mark.full] if version == HERE else [])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools would take what an earlier build left in the checkout's build/."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES.values():
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir"
    run([sys.executable, "-m", *build.split(), out, "."], source)
    return next(out.glob("iot_cvmd-*.whl"))


def test_the_wheel_is_the_checkout_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    source = {name.replace("tools/client/", "cvm_client/"): ROOT / name for name in _committed()}
    assert packed.keys() == {name for name in source if not name.startswith(NOT_PACKED)}
    assert all(content == source[name].read_bytes() for name, content in packed.items())


def _committed() -> list[str]:
    return run(["git", "ls-files", *PACKAGES.values()], ROOT).split()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """version → the directory of a venv with the pinned dependencies and the wheel."""

    def install(version: str) -> Path:
        venv = Path(f"{os.environ.get('CVMD_VENV', ROOT / '.venv')}-wheel-{version}")
        set_up = ". tools/_setup.sh; pinned_venv "
        run(["bash", "-c", set_up + '"$@"', "tools/test", venv, interpreters()[version]], ROOT)
        away = tmp_path_factory.mktemp("away")
        pip = [venv / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run([*pip, "install", "--no-deps", "--force-reinstall", wheel], away)
        run([*pip, "check"], away)
        where = f"import {', '.join(PACKAGES)}; print(*({'.__file__, '.join(PACKAGES)}.__file__), sep='\\n')"
        origins = run([venv / "bin" / "python", "-c", where], away, AWAY).split()
        assert all(Path(origin).is_relative_to(venv) for origin in origins), origins
        return venv

    return install


def test_the_installed_programs_use_what_the_wheel_brought(installed: Callable[[str], Path], tmp_path: Path) -> None:
    """Migrations, grants, policy, roots: each is read by a command, with no checkout in reach."""
    cvmd = installed(HERE) / "bin" / "cvmd"
    config, key = tmp_path / "cvmd.toml", tmp_path / "master.key"
    run([cvmd, "secrets", "new", key], tmp_path, AWAY)
    config.write_text(
        f'[database]\nurl = "sqlite:///{tmp_path}/cvmd.db"\n[secrets]\nmaster_key_file = "{key}"\n'
        '[aws]\nregion = "eu-west-1"\n'
    )
    for verb in ("db migrate", "products add p", "devices add S1 --product p --thing t --policy q --token-out token"):
        run([cvmd, *verb.split(), "--config", config], tmp_path, AWAY)
    assert "S1" in run([cvmd, "devices", "show", "S1", "--config", config], tmp_path, AWAY)
    assert "iot:CreateCertificateFromCsr" in run([cvmd, "accounts", "policy", "--config", config], tmp_path, AWAY)
    assert "--serial" in run([cvmd.with_name("cvm-client"), "vend", "--help"], tmp_path, AWAY)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", [_by_interpreter(version) for version in interpreters()])
def test_wheel_passes_the_unit_tests(version: str, installed: Callable[[str], Path], tmp_path: Path) -> None:
    # `tools` and `tests` beside each other, as in the checkout; what they test comes from the wheel.
    # The C client is no part of the wheel.
    for name in ("tools", "tests/cvmd", "tests/forks", "tests/protocol"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "c"))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/pki.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = installed(version) / "bin" / "python"
    run(
        [python, "-m", "pytest", "--quiet", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "not mariadb"],
        tmp_path,
        AWAY,
    )
