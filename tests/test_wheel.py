"""The built wheel, in a venv of its own, away from the checkout, on the oldest and newest Python that are here."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OLDEST_AND_NEWEST = ("3.11", "3.13")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = ("cvmd", "protocol", "cvm_client")
DATA = {
    "cvmd/py.typed",
    "cvmd/issuer/iam-policy.json",
    "cvmd/issuer/roots/amazon-root-ca-1.der",
    "cvmd/issuer/roots/amazon-root-ca-3.der",
    "cvmd/store/grants.sql",
    "cvmd/store/migrations/env.py",
    "protocol/py.typed",
    "protocol/SPEC.md",
    "cvm_client/py.typed",
}


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools would take what an earlier build left in the checkout's build/."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("cvmd", "protocol", "tools/client"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir"
    run([sys.executable, "-m", *build.split(), out, "."], source)
    return next(out.glob("iot_cvmd-*.whl"))


def test_wheel_holds_our_packages_and_their_data_and_no_more(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    assert names >= DATA
    assert any(name.startswith("protocol/vectors/") for name in names)
    assert any(name.startswith("cvmd/store/migrations/versions/") for name in names)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", interpreters())
def test_wheel_passes_the_unit_tests(version: str, wheel: Path, tmp_path: Path) -> None:
    venv = Path(f"{os.environ.get('CVMD_VENV', ROOT / '.venv')}-wheel-{version}")
    set_up = ". tools/_setup.sh; pinned_venv "
    run(["bash", "-c", set_up + '"$@"', "tools/test", venv, interpreters()[version]], ROOT)
    python = venv / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "install", "--no-deps", "--force-reinstall", wheel], tmp_path)
    run([*pip, "check"], tmp_path)

    # `tools` and `tests` beside each other, as in the checkout; what they test comes from the wheel.
    # The C client is no part of the wheel.
    for name in ("tools", "tests/cvmd", "tests/protocol"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "c"))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/pki.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    away = {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    where = f"import {', '.join(PACKAGES)}; print(*({'.__file__, '.join(PACKAGES)}.__file__), sep='\\n')"
    origins = run([python, "-c", where], tmp_path, away).split()
    assert all(Path(origin).is_relative_to(venv) for origin in origins), origins
    run([python, "-m", "pytest", "--quiet", "-p", "no:xdist", "-p", "no:cacheprovider"], tmp_path, away)
