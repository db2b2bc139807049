"""The demo: the mock, the worker and the job's container are the real ones, and there is a picture in the end."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

from scripts.demo import DEMO, PICTURES
from scripts.docker import ROOT

WIDTH, HEIGHT = 1600, 1000


def pixels(png: bytes) -> bytes:
    """The rows of an RGB picture without filters, each after a zero."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + body),)
        if kind == b"IHDR":
            assert struct.unpack(">2I5B", body) == (WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        data += body if kind == b"IDAT" else b""
        at += length + 12
    return zlib.decompress(data)


def test_demo_ends_with_a_picture_and_a_log() -> None:
    """P24: the mock once did not answer what the worker asks, so that the documented trial could not work."""
    for file in PICTURES.glob("*"):
        file.unlink()
    result = subprocess.run(
        [sys.executable, "-m", "scripts.demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The job is finished" in result.stdout
    picture = pixels((PICTURES / "superresolution.png").read_bytes())
    lit = sum(1 for value in picture if value > 64) / len(picture)
    assert 0.05 < lit < 0.5
    assert "59482 localizations" in (PICTURES / "log.log").read_text()


def test_table_that_is_shipped_is_the_generated_one() -> None:
    generated = subprocess.run([sys.executable, str(DEMO / "generate.py")], capture_output=True, check=True).stdout
    assert generated == (DEMO / "data" / "localizations.csv").read_bytes()


def test_localization_is_drawn_where_it_was_found(tmp_path: Path) -> None:
    table, output = tmp_path / "table.csv", tmp_path / "new" / "picture.png"
    corner = f"{WIDTH * 8 - 1},{HEIGHT * 8 - 1}"
    table.write_text(f"x_nm,y_nm,z_nm,precision_nm\n4004,2404,0,10\n{corner},50,10\n")
    command = [sys.executable, str(DEMO / "render.py"), f"--input={table}", f"--output={output}"]
    subprocess.run(command, check=True, capture_output=True)
    picture = pixels(output.read_bytes())
    lit = {divmod(at, 3 * WIDTH + 1) for at, value in enumerate(picture[: 700 * (3 * WIDTH + 1)]) if value}
    assert {row for row, _ in lit} == set(range(297, 304))
    assert {(column - 1) // 3 for _, column in lit} == set(range(497, 504))
