"""How `iot-cvmd` is packed: the daemon, the wire it shares with its clients, and the test client.

In the checkout the test client is `tools.client`; the wheel carries it as `cvm_client`, so that no top-level
`tools` ever lands in somebody's site-packages.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """`__version__` of cvmd/__init__.py, read and not imported: its imports are not there at build time."""
    found = re.search(r'^__version__ = "([^"]+)"$', (HERE / "cvmd" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit('cvmd/__init__.py has no line __version__ = "…"')
    return found.group(1)


RUNTIME = [
    "alembic>=1.13",
    "boto3>=1.34",
    "construct>=2.10.70",
    "cryptography>=42.0",
    "msgspec>=0.18.6",
    "prometheus-client>=0.20",
    "PyMySQL>=1.2",  # the first that talks to nobody in clear where it was told to use TLS
    "rich>=13.7",
    "SQLAlchemy>=2.0.25",
    "structlog>=24.1",
]

TEST = [
    "aiohttp>=3.9",
    "boto3-stubs[iot,sts]>=1.34",
    "flask>=3.0",  # with flask-cors: what moto's server needs, without the whole of moto[server]
    "flask-cors>=4.0",
    "hypothesis>=6.100",
    "import-linter>=2.0",
    "jsonschema>=4.20",
    "moto>=5.0",
    "mypy>=1.10",
    "noiseprotocol>=0.3.1",
    "pytest>=8.1",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "ruff>=0.5",
    "setuptools>=77",  # builds the wheel that the tests install
    "types-PyMySQL>=1.1",
]

setup(
    name="iot-cvmd",
    version=version(),
    description="Certificate vending machine: AWS IoT certificates for devices without TLS, over plain TCP",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["cvmd", "cvmd.*", "protocol", "protocol.*"]), "cvm_client"],
    package_dir={"cvm_client": "tools/client"},
    package_data={
        "cvmd": [
            "py.typed",
            "issuer/roots/*",
            "issuer/*.json",
            "store/*.sql",
            "store/migrations/*.py",
            "store/migrations/*.mako",
            "store/migrations/versions/*.py",
        ],
        "protocol": ["py.typed", "*.md", "vectors/*.json"],
        "cvm_client": ["py.typed"],
    },
    install_requires=RUNTIME,
    extras_require={"test": TEST},
    entry_points={"console_scripts": ["cvmd = cvmd.cli:main", "cvm-client = cvm_client.__main__:main"]},
)
