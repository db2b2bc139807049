"""Try the worker in each environment and print the table: `scripts/field.sh [ENVIRONMENT …]`.

Exit code 1 if something neither works nor is told.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from docker.errors import DockerException

from tests.field import campaign, table
from tests.field.environments import ENVIRONMENTS, Environment
from tests.field.place import NotHad
from tests.support.engine import connect

AT_ONCE = 4
"""Environments that are tried at the same time: most of what they do is wait."""


def main() -> None:
    names = [each.name for each in ENVIRONMENTS]
    parser = argparse.ArgumentParser(prog="scripts/field.sh", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("environment", nargs="*", metavar="ENVIRONMENT", help=f"all of: {', '.join(names)}")
    chosen = parser.parse_args().environment
    if unknown := set(chosen) - set(names):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    rows = _rows([each for each in ENVIRONMENTS if not chosen or each.name in chosen])
    client = connect()
    machine = table.machine(client)
    client.close()
    sys.stdout.write(table.markdown(rows, machine, " ".join(["./scripts/field.sh", *chosen])))
    sys.exit(any(row.fails for row in rows))


def _rows(environments: list[Environment]) -> list[table.Row]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            return list(pool.map(_row, environments))
        except BaseException:  # Ctrl-C: those that have begun clean up, no other one begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _row(environment: Environment) -> table.Row:
    row = table.Row(environment.name, environment.title)
    try:
        with environment.open() as place:
            row.facts = table.facts(place)
            row.cells = campaign.run(place, lambda line: _say(f"{environment.name}: {line}"))
    except (NotHad, DockerException) as reason:
        row.not_had = " ".join(str(reason).split())
        _say(f"{environment.name}: not had here: {reason}")
    return row


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
