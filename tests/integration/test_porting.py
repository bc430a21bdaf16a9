"""PORTING.md's commands work as printed: from a clone to certificates of cvm-vend and of boards in QEMU."""

import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from cdevice import ROOT, C


@pytest.mark.full
def test_the_commands_from_nothing_work_as_printed(tmp_path: Path) -> None:
    section = (C / "PORTING.md").read_text().split("## From nothing")[1].split("\n## ")[0]
    first, *others = re.findall(r"(?:^    .+\n)+", section.replace("/tmp/", f"{tmp_path}/"), re.MULTILINE)
    *installs, demo = first.strip().splitlines()
    assert {tuple(it.split()[:2]) for it in installs} == {("sudo", "apt-get")}  # tools/test has done that
    command, log = demo.strip().split(" | tee ")
    with Path(log).open("w") as output:  # in the place of tee: a signal reaches the demo itself
        server = subprocess.Popen(shlex.split(command), cwd=ROOT, stdout=output)
    try:
        while "Logs, database" not in Path(log).read_text():
            assert server.poll() is None
            time.sleep(0.05)
        done = subprocess.run(["bash", "-ec", "".join(others)], cwd=ROOT, capture_output=True, text=True, timeout=100)
    finally:
        server.terminate()
        server.wait()
    assert done.returncode == 0, done.stderr
    assert "active; connect after" in done.stdout
    assert done.stderr.count("status 2, ") == 2
    assert "notAfter=" in done.stdout
