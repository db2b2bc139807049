"""Make the table that the demo renders: `python generate.py > data/localizations.csv`, the same one every time.

A synthetic cell as a single-molecule microscope sees it: microtubules, hollow and 40 nm wide with their antibodies,
that grow from one centre and bend around the nucleus; eight-fold nuclear pores in it; some stray localizations.
All lengths are nanometres.
"""

import math
import random
import sys
from collections.abc import Iterator

Point = tuple[float, float, float]

WIDTH, HEIGHT = 12800.0, 8000.0
FRAMES = 20000
NUCLEUS = (8900.0, 4350.0, 2350.0, 1900.0)  # centre, half axes
ORIGIN = (5900.0, 3700.0)  # of the microtubules, beside the nucleus
LABEL_RADIUS = 20.0
STEP = 10.0


def in_nucleus(x: float, y: float, margin: float = 1.0) -> bool:
    centre_x, centre_y, half_x, half_y = NUCLEUS
    return ((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2 < margin**2


def microtubule(rng: random.Random, heading: float) -> Iterator[tuple[Point, float]]:
    """Points along the axis with the heading there; it ends at the edge of the field or, rarely, before."""
    start = rng.uniform(100, 900)
    x, y = ORIGIN[0] + start * math.cos(heading), ORIGIN[1] + start * math.sin(heading)
    z, depth = rng.uniform(-50, 150), rng.uniform(-180, 220)
    slope = curvature = 0.0
    over_nucleus, clinging = rng.random() < 0.15, rng.uniform(0.0, 0.009)
    while 0 < x < WIDTH and 0 < y < HEIGHT and rng.random() > 4e-5:
        yield (x, y, z), heading
        curvature = 0.99 * curvature + rng.gauss(0, 1.6e-5)
        slope = 0.98 * slope + rng.gauss(0, 0.006) + 1.2e-5 * (depth - z)
        if not over_nucleus and in_nucleus(x, y, 1.5):
            outwards = math.atan2((y - NUCLEUS[1]) / NUCLEUS[3], (x - NUCLEUS[0]) / NUCLEUS[2])
            along = outwards + math.copysign(math.pi / 2, math.sin(heading - outwards))
            heading += (0.05 if in_nucleus(x, y, 1.1) else clinging) * math.sin(along - heading)
        heading += curvature * STEP
        x, y, z = x + STEP * math.cos(heading), y + STEP * math.sin(heading), z + STEP * slope


def microtubule_labels(rng: random.Random) -> Iterator[Point]:
    """Dyes on the surface of all microtubules: about one for each 8 nm of length."""
    count = 50
    for number in range(count):
        for (x, y, z), heading in microtubule(rng, 2 * math.pi * (number + rng.random()) / count):
            if rng.random() < STEP / 8:
                around = rng.uniform(0, 2 * math.pi)
                side, up = LABEL_RADIUS * math.cos(around), LABEL_RADIUS * math.sin(around)
                yield x - side * math.sin(heading), y + side * math.cos(heading), z + up


def nuclear_pore_labels(rng: random.Random) -> Iterator[Point]:
    """Pores of eight corners, 110 nm across, on the nucleus's lower side, nowhere nearer than 240 nm to each other."""
    pores: list[tuple[float, float]] = []
    for _ in range(4000):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        if in_nucleus(x, y, 0.9) and all(math.hypot(x - a, y - b) > 240 for a, b in pores):
            pores.append((x, y))
    for x, y in pores:
        turn = rng.uniform(0, math.pi / 4)
        depth = -260 + 260 * (((x - NUCLEUS[0]) / NUCLEUS[2]) ** 2 + ((y - NUCLEUS[1]) / NUCLEUS[3]) ** 2)
        for corner in range(8):
            for _ in range(rng.choice((0, 3, 4, 5, 6))):
                angle = turn + corner * math.pi / 4
                yield x + 55 * math.cos(angle) + rng.gauss(0, 3), y + 55 * math.sin(angle) + rng.gauss(0, 3), depth


def stray_labels(rng: random.Random) -> Iterator[Point]:
    for _ in range(1000):
        yield rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(-300, 300)


def localizations(rng: random.Random, labels: Iterator[Point]) -> Iterator[tuple[int, float, float, float, float]]:
    """Frame, x, y, z and precision of each time that a dye lights up; bright ones are found more precisely."""
    for x, y, z in labels:
        while True:
            photons = rng.lognormvariate(7.2, 0.55)
            precision = min(max(2.0 + 230 / math.sqrt(photons), 4.0), 25.0)
            found = rng.gauss(x, precision), rng.gauss(y, precision), rng.gauss(z, 2 * precision)
            if 0 < found[0] < WIDTH and 0 < found[1] < HEIGHT:
                yield rng.randrange(FRAMES), *found, precision
            if rng.random() < 0.5:
                break


def main() -> None:
    rng = random.Random(2014)  # noqa: S311 - the same cell every time
    kinds = (microtubule_labels(rng), nuclear_pore_labels(rng), stray_labels(rng))
    rows = sorted(row for labels in kinds for row in localizations(rng, labels))
    sys.stdout.write("frame,x_nm,y_nm,z_nm,precision_nm\n")
    for frame, x, y, z, precision in rows:
        sys.stdout.write(f"{frame},{x:.0f},{y:.0f},{z:.0f},{precision:.1f}\n")


if __name__ == "__main__":
    main()
