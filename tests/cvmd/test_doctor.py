"""What the doctor says of a configuration, without a database or AWS."""

from pathlib import Path

import pytest

from cvmd.config import Config, Listen, Secrets
from cvmd.doctor import examine

KEY = bytes(range(32)).hex()


def said(config: Config) -> dict[str, tuple[str, str]]:
    """Result and what to do, by check."""
    [(title, checks)] = examine(config, config_only=True, product=None)
    assert title == "configuration"
    return {it.name: (it.word, it.to_do) for it in checks}


@pytest.mark.parametrize(
    ("listen", "word"),
    [
        (Listen(), "passed"),
        (Listen(suites=("mac",)), "warning"),
        (Listen(suites=("mac",), trusted_network=True), "passed"),
        (Listen(suites=("noise",)), "passed"),
    ],
)
def test_keys_made_here_need_a_way_out(listen: Listen, word: str) -> None:
    result, to_do = said(Config(listen=listen))["keys made here"]
    assert (result, bool(to_do)) == (word, word == "warning")


def test_inv6_a_master_key_that_others_may_read_has_failed(tmp_path: Path) -> None:
    key = tmp_path / "master.key"
    key.write_text(KEY)
    key.chmod(0o644)
    result, to_do = said(Config(secrets=Secrets(master_key_file=str(key))))["master key"]
    assert (result, f"chmod 0400 {key}" in to_do, KEY in to_do) == ("failed", True, False)
    key.chmod(0o400)
    assert said(Config(secrets=Secrets(master_key_file=str(key))))["master key"] == ("passed", "")
