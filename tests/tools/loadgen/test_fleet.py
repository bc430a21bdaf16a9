from pathlib import Path

import pytest

from tools.client import OptionError
from tools.loadgen.fleet import Device, read_fleet


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    table, lines = tmp_path / "fleet.csv", tmp_path / "fleet.jsonl"
    table.write_text("serial,token,thing,policy,key_source\nA1,00ff,thing-1,p,device-csr\nA2,,,p,\n")
    lines.write_text(
        '{"serial": "A1", "token": "00ff", "thing": "thing-1", "key_source": "device-csr"}\n\n'
        '{"serial": "A2", "token": "", "thing": null}\n'
    )
    assert read_fleet(table) == read_fleet(lines)
    assert read_fleet(table) == [Device("A1", b"\x00\xff", "thing-1", "device-csr"), Device("A2", b"", None, None)]


@pytest.mark.parametrize(
    ("name", "content", "number"),
    [
        ("a.csv", "serial,token\nA1,00ff\n", 1),
        ("a.csv", "serial,token,thing\nA1,00ff,t\nA2,secret,t\n", 2),
        ("a.csv", "serial,token,thing\n,00ff,t\n", 1),
        ("a.jsonl", '{"serial": "A1", "token": "00", "thing": "t"}\n[secret\n', 1),
        ("a.jsonl", '["secret"]\n', 1),
    ],
)
def test_inv6_a_bad_line_is_named_and_not_told(tmp_path: Path, name: str, content: str, number: int) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(OptionError, match=f"device {number} ") as caught:
        read_fleet(path)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nowhere"):
        read_fleet(tmp_path / "nowhere.csv")
