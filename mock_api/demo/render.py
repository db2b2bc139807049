"""Render a table of localizations as a super-resolution picture: `render.py --input=table.csv --output=picture.png`.

Each localization becomes a Gaussian as wide as it is precise; brightness is density, colour is depth. The table is a
CSV in nanometres with the columns `x_nm`, `y_nm`, `z_nm` and `precision_nm`. Only Python's standard library is used,
so that the image needs nothing else.
"""

import argparse
import csv
import logging
import math
import statistics
import struct
import sys
import time
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("render")

Colour = tuple[float, float, float]
Localization = tuple[float, float, float, float]
"""x, y, z and precision in nanometres"""

# From deep to high, evenly spaced.
DEPTH_COLOURS: Sequence[Colour] = (
    (60, 110, 255),
    (0, 225, 240),
    (120, 255, 140),
    (255, 205, 60),
    (255, 90, 90),
    (255, 70, 200),
)
GAMMA = 0.62
BLACK, WHITE = bytes(3), bytes((255, 255, 255))

# Five columns of seven rows for each letter, a hexadecimal pair per column, its lowest bit on top.
GLYPHS = {
    "0": "3e5149453e", "1": "00427f4000", "2": "4261514946", "3": "2141454b31", "4": "1814127f10",
    "5": "2745454539", "6": "3c4a494930", "7": "0171090503", "8": "3649494936", "9": "064949291e",
    "+": "08083e0808", "-": "0808080808", " ": "0000000000", "n": "7c08040478", "m": "7c04180478",
    "µ": "7e20201e20", "z": "4464544c44",
}  # fmt: skip


class Canvas:
    """An RGB picture."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.pixels = bytearray(3 * width * height)

    def fill(self, x: int, y: int, width: int, height: int, colour: bytes) -> None:
        for row in range(y, y + height):
            start = 3 * (row * self.width + x)
            self.pixels[start : start + 3 * width] = colour * width

    def write(self, x: int, y: int, text: str, scale: int = 2) -> None:
        """Letters, six columns apart, whose upper left corner is at x, y."""
        for place, letter in enumerate(text):
            for column, bits in enumerate(bytes.fromhex(GLYPHS[letter])):
                for row in range(8):
                    if bits >> row & 1:
                        self.fill(x + (6 * place + column) * scale, y + row * scale, scale, scale, WHITE)

    def png(self) -> bytes:
        rows = range(0, len(self.pixels), 3 * self.width)
        data = b"".join(b"\0" + self.pixels[start : start + 3 * self.width] for start in rows)
        header = struct.pack(">2I5B", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data, 6)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )


@dataclass(frozen=True)
class Density:
    """Localizations per pixel, and the same weighted with their depth in nanometres."""

    width: int
    height: int
    weight: "array[float]"
    depth: "array[float]"


def read_table(path: Path) -> list[Localization]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (float(row["x_nm"]), float(row["y_nm"]), float(row["z_nm"]), float(row["precision_nm"]))
            for row in csv.DictReader(file)
        ]


def profile(centre: float, sigma: float, first: int, last: int) -> list[float]:
    """A Gaussian, of sum one on its whole length, at the middles of pixels first to last."""
    norm = 1 / (sigma * math.sqrt(2 * math.pi))
    return [norm * math.exp(-0.5 * ((pixel + 0.5 - centre) / sigma) ** 2) for pixel in range(first, last + 1)]


def splat(table: Sequence[Localization], pixel_nm: float) -> Density:
    """Add up one Gaussian per localization: the product of a profile along x and one along y."""
    width = math.ceil(max(row[0] for row in table) / pixel_nm)
    height = math.ceil(max(row[1] for row in table) / pixel_nm)
    zeros = bytes(8 * width * height)
    weight, depth = array("d", zeros), array("d", zeros)
    for x_nm, y_nm, z_nm, precision_nm in table:
        x, y, sigma = x_nm / pixel_nm, y_nm / pixel_nm, max(precision_nm / pixel_nm, 0.6)
        left, right = max(int(x - 3 * sigma), 0), min(int(x + 3 * sigma), width - 1)
        top, bottom = max(int(y - 3 * sigma), 0), min(int(y + 3 * sigma), height - 1)
        across = profile(x, sigma, left, right)
        for row, down in enumerate(profile(y, sigma, top, bottom), top):
            for at, along in enumerate(across, row * width + left):
                value = down * along
                weight[at] += value
                depth[at] += value * z_nm
    return Density(width, height, weight, depth)


def colour_table(steps: int) -> list[Colour]:
    """The depth colours, interpolated."""
    table = []
    for step in range(steps):
        position = step / (steps - 1) * (len(DEPTH_COLOURS) - 1)
        index = min(int(position), len(DEPTH_COLOURS) - 2)
        low, high, share = DEPTH_COLOURS[index], DEPTH_COLOURS[index + 1], position - index
        table.append((mix(low[0], high[0], share), mix(low[1], high[1], share), mix(low[2], high[2], share)))
    return table


def mix(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def paint(density: Density, depth_range: tuple[float, float]) -> Canvas:
    """Colour by mean depth, brightness by density; the densest pixels turn towards white."""
    canvas = Canvas(density.width, density.height)
    occupied = sorted(value for value in density.weight if value > 1e-3)
    brightest = occupied[int(0.96 * len(occupied))]
    colours = colour_table(256)
    lowest, span = depth_range[0], depth_range[1] - depth_range[0]
    for at, weight in enumerate(density.weight):
        if weight < 1e-3:
            continue
        colour = colours[min(max(int(255 * (density.depth[at] / weight - lowest) / span), 0), 255)]
        brightness = (weight / brightest) ** GAMMA
        glow = min(max(brightness - 0.9, 0.0), 0.6)
        brightness = min(brightness, 1.0)
        canvas.pixels[3 * at : 3 * at + 3] = bytes(int(mix(part * brightness, 255, glow)) for part in colour)
    return canvas


def annotate(canvas: Canvas, pixel_nm: float, depth_range: tuple[float, float]) -> None:
    """A scale bar of a micrometre, lower right, and the colours of the depths, lower left, both on black."""
    length, bottom = round(1000 / pixel_nm), canvas.height - 36
    canvas.fill(canvas.width - length - 60, bottom - 36, length + 40, 56, BLACK)
    canvas.fill(canvas.width - length - 40, bottom, length, 6, WHITE)
    canvas.write(canvas.width - 40 - length // 2 - 24, bottom - 24, "1 µm")
    canvas.fill(20, bottom - 36, 280, 56, BLACK)
    for column, colour in enumerate(colour_table(240)):
        canvas.fill(40 + column, bottom - 2, 1, 8, bytes(int(part) for part in colour))
    canvas.write(40, bottom - 24, f"{depth_range[0]:+.0f}")
    canvas.write(40 + 120 - 5, bottom - 24, "z")
    canvas.write(40 + 240 - 12 * 7, bottom - 24, f"{depth_range[1]:+.0f} nm")


def main() -> None:
    parser = argparse.ArgumentParser(description="Render a table of localizations as a super-resolution picture.")
    parser.add_argument("--input", type=Path, required=True, help="CSV with x_nm, y_nm, z_nm and precision_nm")
    parser.add_argument("--output", type=Path, required=True, help="the picture, a PNG")
    parser.add_argument("--pixel", type=float, default=8.0, help="nanometres per pixel (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s")
    started = time.monotonic()
    table = read_table(options.input)
    median = statistics.median(row[3] for row in table)
    log.info("%s: %d localizations, median precision %.1f nm", options.input.name, len(table), median)
    depths = sorted(row[2] for row in table)
    depth_range = (round(depths[len(depths) // 50], -1), round(depths[-len(depths) // 50], -1))
    log.info("depth from %+.0f to %+.0f nm", *depth_range)
    density = splat(table, options.pixel)
    log.info("%d x %d pixels of %g nm", density.width, density.height, options.pixel)
    canvas = paint(density, depth_range)
    annotate(canvas, options.pixel, depth_range)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(canvas.png())
    log.info("wrote %s in %.1f s", options.output, time.monotonic() - started)


if __name__ == "__main__":
    main()
