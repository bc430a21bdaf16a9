"""`cvmd doctor` on the embedded database; tests/integration/test_doctor.py breaks set-ups one by one."""

from pathlib import Path

from tests.cvmd.cli.conftest import Cli


def test_the_configuration_alone_needs_no_database(cli: Cli, tmp_path: Path) -> None:
    key = tmp_path / "master.key"
    assert cli("secrets", "new", key).code == 0
    file = tmp_path / "cvmd.toml"
    file.write_text(f'[database]\nurl = "sqlite:///{tmp_path}/none.db"\n[secrets]\nmaster_key_file = "{key}"\n')
    told = cli("doctor", "--config-only", "--config", file)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[-1].endswith("0 failed, 0 not checked")
    assert not (tmp_path / "none.db").exists()


def test_nothing_beyond_a_failure_is_guessed_at(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cvmd.toml"
    file.write_text(f'[database]\nurl = "sqlite:///{tmp_path}/none.db"\n[secrets]\nmaster_key_file = "/none/key"\n')
    told = cli("doctor", "--json", "--config", file)
    assert told.code == 1
    results = {(it["of"], it["check"]): it["result"] for it in told.json}
    assert results["configuration", "master key"] == "failed"
    assert results["all else", "accounts, products"] == "not checked"


def test_a_product_and_the_configuration_alone_exclude_each_other(cli: Cli) -> None:
    assert cli("doctor", "--config-only", "--product", "sensor").code == 2
