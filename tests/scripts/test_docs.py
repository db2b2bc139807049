"""The documentation: every link leads somewhere, every page is listed, and the README is short."""

import re
from collections import Counter
from pathlib import Path

import pytest
from scripts.docker import ROOT

DOCS = ROOT / "docs"
OTHERS = [ROOT / folder / "README.md" for folder in ("mock_api", "tests", "tests/field")]
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *OTHERS])


def text_of(page: Path) -> str:
    """The page without blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", text_of(page))
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_lists_every_page_of_the_folder() -> None:
    assert {page.name for page in DOCS.glob("*.md")} - set(links(DOCS / "index.md")) == {"index.md"}


def test_the_readme_has_at_most_200_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_names_that_the_architecture_gives_to_look_for_stand_in_their_files() -> None:
    """`[file](path), `name` and `name``: a name that was changed is one that a newcomer does not find."""
    page = DOCS / "architecture.md"
    found = re.findall(r"\]\((\S+?\.py)\),((?: (?:and )?`\w+`)+)", page.read_text(encoding="utf-8"))
    assert len(found) > 5
    for path, names in found:
        source = (DOCS / path).read_text(encoding="utf-8")
        assert [name for name in re.findall(r"`(\w+)`", names) if not re.search(rf"\b{name}\b", source)] == [], path


def test_the_architecture_names_every_module() -> None:
    """A module that is not in the list is one that a newcomer does not look into."""
    source = ROOT / "src" / "job_fetcher"
    modules = {f"../{path.relative_to(ROOT)}" for path in source.rglob("*.py") if not path.stem.startswith("__")}
    assert modules - set(links(DOCS / "architecture.md")) == set()


def test_each_source_file_has_tests_of_its_name_or_a_row_that_says_where_they_are() -> None:
    source, tests = ROOT / "src" / "job_fetcher", ROOT / "tests"
    text = (tests / "README.md").read_text(encoding="utf-8").split("| source | tests |")[1].split("\n\n")[0]
    table = re.findall(r"^\| (`.*) \| (.*) \|$", text, re.M)
    elsewhere = {name: re.findall(r"`(\S*test_\S*\.py)`", where) for names, where in table for name in _code(names)}
    assert [name for name in elsewhere if not (source / name).is_file()] == [], "rows for files that are not there"
    for path in source.rglob("*.py"):
        name = path.relative_to(source)
        if name.stem.startswith("__") or name.parts[0] == "preflight":
            continue
        found = [*tests.glob(f"{name.parent}/test_{name.stem}*.py")]
        patterns = elsewhere.get(str(name), [])
        assert found or patterns, f"no tests of {name} are known: name them so, or add a row to tests/README.md"
        assert all([*tests.glob(pattern)] for pattern in patterns), f"{name}: {patterns}"


def _code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
