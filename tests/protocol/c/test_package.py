"""The library as a CMake package, installed, then found and used by a project of its own; other manifests as files."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cdevice import C

CONSUMER = """
cmake_minimum_required(VERSION 3.16)
project(consumer LANGUAGES C CXX)
find_package(cvm 0.1 REQUIRED CONFIG)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE cvm::cvm cvm::ports)
"""
PROGRAM = """
#include <cvm.h>
#include <cvm_modem.h>
#include <cstdio>

int main() {
    cvm_sha256 hash;
    unsigned char digest[CVM_SHA256_SIZE];
    cvm_session session;
    cvm_device device = cvm_device();
    cvm_port port = cvm_port();
    static unsigned char buffer[CVM_MIN_MAX_FRAME];
    cvm_modem modem = cvm_modem();

    modem.commands = &cvm_modem_bg96;
    device.buffer = buffer;
    cvm_init(&session, &port, nullptr, &device, nullptr);
    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, "abc", 3);
    cvm_sha256_end(&hash, digest);
    cvm_uart_put(&modem.uart, 'x');
    std::printf("%02x%02x %d %d", digest[0], digest[1], cvm_start(&session) == CVM_MISUSE,
                cvm_uart_receive(&modem.uart, buffer, sizeof buffer));
}
"""


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_a_consumer_finds_the_installed_package(tmp_path: Path) -> None:
    build, prefix, consumer = tmp_path / "build", tmp_path / "prefix", tmp_path / "consumer"
    run("cmake", "-S", C, "-B", build, f"-DCMAKE_INSTALL_PREFIX={prefix}")
    run("cmake", "--build", build)
    run("cmake", "--install", build)
    assert "cvm-vend --host" in subprocess.run([prefix / "bin" / "cvm-vend"], capture_output=True, text=True).stderr
    consumer.mkdir()
    (consumer / "CMakeLists.txt").write_text(CONSUMER)
    (consumer / "consumer.cpp").write_text(PROGRAM)
    run("cmake", "-S", consumer, "-B", consumer / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", consumer / "build")
    assert run(consumer / "build" / "consumer") == "ba78 1 1"


def test_the_package_names_every_source() -> None:
    listed = (C / "CMakeLists.txt").read_text()
    sources = [*sorted((C / "src").glob("*.c")), *sorted((C / "ports").glob("*/*.c"))]
    missing = [path.name for path in sources if str(path.relative_to(C)) not in listed]
    assert missing == []


def test_the_manifests_agree() -> None:
    """One version, one licence, and no path that is not there."""
    library = json.loads((C / "library.json").read_text())
    component, cmake = (C / "idf_component.yml").read_text(), (C / "CMakeLists.txt").read_text()
    versions = [re.search(pattern, text) for pattern, text in (
        (r'^version: "(.+)"$', component.splitlines()[0]),
        (r"project\(cvm VERSION (\S+)", cmake),
    )]  # fmt: skip
    arduino = dict(line.split("=", 1) for line in (C / "library.properties").read_text().splitlines())
    assert [each and each[1] for each in versions] + [arduino["version"]] == [library["version"]] * 3
    assert arduino["name"] == library["name"]
    assert arduino["includes"] == library["headers"][0]
    assert library["license"] in component
    assert all((C / "include" / header).is_file() for header in library["headers"])
    assert all((C / path).is_dir() for path in library["build"].values())
    module = (C / "zephyr" / "module.yml").read_text()
    assert all((C / path).exists() for path in re.findall(r"(?:cmake|kconfig): (\S+)", module))


def test_every_option_of_zephyr_is_one_of_the_library() -> None:
    options = (C / "include" / "cvm_options.h").read_text()
    for name in re.findall(r">:(CVM_\w+)=1>", (C / "zephyr" / "CMakeLists.txt").read_text()):
        assert f"#ifndef {name}\n" in options


OTHER = ["-DCVM_SUITE=CVM_SUITE_NOISE", "-DCVM_CSR=1", "-DCVM_NONCE_COUNTERS=1", '-DCVM_SHA256_HEADER="mine.h"']


@pytest.mark.parametrize("option", [[], *([each] for each in OTHER)], ids=str)
def test_a_program_built_with_other_options_than_the_library_does_not_link(option: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.h").write_text("struct cvm_sha256 { uint32_t words[50]; };\n")
    (tmp_path / "program.c").write_text("#include <cvm.h>\nint main(void) { cvm_init(0, 0, 0, 0, 0); return 0; }\n")
    flags, library = [f"-I{tmp_path}", f"-I{C / 'include'}"], tmp_path / "library.o"
    run("gcc", *flags, "-r", *sorted((C / "src").glob("*.c")), "-o", library)
    linked = ["gcc", *flags, *option, tmp_path / "program.c", library, "-o", tmp_path / "program"]
    done = subprocess.run([*map(str, linked)], capture_output=True, text=True)
    assert (done.returncode == 0) == (option == []), done.stderr
    assert (re.search(r"undefined reference to `cvm_init_\w+'", done.stderr) is None) == (option == [])


def test_headers_and_sources_in_one_folder_build_as_arduino_has_them(tmp_path: Path) -> None:
    """PORTING.md says to copy them so."""
    for path in [*(C / "include").glob("*.h"), *(C / "src").glob("*.[ch]"), *(C / "ports").glob("[um]*/*.[ch]")]:
        shutil.copy(path, tmp_path)
    for path in tmp_path.glob("*.c"):
        run("gcc", "-std=gnu11", f"-I{tmp_path}", "-c", path, "-o", path.with_suffix(".o"))
    (tmp_path / "sketch.cpp").write_text('#include "cvm.h"\n#include "cvm_extras.h"\n#include "cvm_modem.h"\n')
    run("g++", f"-I{tmp_path}", "-c", tmp_path / "sketch.cpp", "-o", tmp_path / "sketch.o")
