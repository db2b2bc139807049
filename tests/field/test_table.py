"""The page of the field lab: no environment is left out of it, and no sentence is lost."""

import re
from pathlib import Path

from tests.field.campaign import STEPS, Cell, Verdict
from tests.field.environments import ENVIRONMENTS
from tests.field.table import Row, markdown

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
TESTS = Path(__file__).parents[1]
FACTS = dict.fromkeys(["engine", "version", "image store", "cgroup", "rootless", "file system"], "x")


def row(**cells: Cell) -> Row:
    works = dict.fromkeys(STEPS, Cell(Verdict.WORKS))
    return Row("podman", "Podman", FACTS, {**works, **cells})


def test_the_page_has_each_environment_as_tried_or_as_not_had() -> None:
    tried, _, rest = PAGE.read_text(encoding="utf-8").partition("\n## What the worker says there\n")
    _, _, not_had = rest.partition("\n## What this machine cannot have\n")
    names = {each.name for each in ENVIRONMENTS}
    assert len(names) == len(ENVIRONMENTS)
    assert [name for name in sorted(names) if (f"| `{name}`: " in tried) == (f"| `{name}` | " in not_had)] == []


def test_the_page_has_each_step_and_is_the_output_of_all_environments() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [step for step in STEPS if f"\n| {step} | " not in text] == []
    assert "\n./scripts/field.sh\n" in text


def test_the_list_of_faults_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+)`", (TESTS / "field" / "README.md").read_text(encoding="utf-8")))
    source = "\n".join(file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py"))
    assert len(named) > 14
    assert sorted(named - set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))) == []


def test_each_sentence_stands_once_with_the_steps_that_it_is_about() -> None:
    told = Cell(Verdict.TOLD, "it cannot | lock <a> file")
    text = markdown([row(check=told, job=told, stop=Cell(Verdict.FAILS, "gone"))], "a machine", "a command")
    assert "| `podman` | check, job | told: it cannot \\| lock &lt;a> file |\n" in text
    assert "| `podman` | stop | **does not**: gone |\n" in text


def test_what_neither_works_nor_is_told_fails_the_row() -> None:
    told, fails = Cell(Verdict.TOLD, "a sentence"), Cell(Verdict.FAILS, "another")
    assert [row().fails, row(job=told).fails, row(job=told, stop=fails).fails] == [False, False, True]


def test_an_environment_that_a_machine_cannot_have_has_its_reason() -> None:
    text = markdown([Row("nfs", "NFS", not_had="The kernel has no NFS.")], "a machine", "a command")
    assert text.endswith("| `nfs` | NFS | The kernel has no NFS. |\n")
