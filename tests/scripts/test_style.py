"""No sentence of the documentation is too long to be read once."""

from pathlib import Path

import pytest
from scripts import style


@pytest.mark.parametrize("page", style.pages(), ids=lambda page: str(page.relative_to(style.ROOT)))
def test_no_sentence_of_a_page_has_more_than_25_words(page: Path) -> None:
    assert style.too_long(page.read_text(encoding="utf-8")) == []


LONG = " ".join(["word"] * 26)


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG}.",
        f"- an item\n- {LONG}\n",
        f"Short. {LONG} again. Short.",
        f"[A link](https://example.org) and {LONG}.",
        f"`Some code`, {LONG}\nover two lines.",
    ],
)
def test_a_long_sentence_is_found(text: str) -> None:
    assert len(style.too_long(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"| {LONG} |\n|---|\n",
        f"# {LONG}\n",
        f"```sh\n{LONG}\n```\n",
        f"   ```sh\n   {LONG}\n   ```\n",
        f"<!-- {LONG} -->\n",
        f"A piece of code counts as one word: `{LONG}`.",
        f"{' '.join(['word'] * 20)}. [Another](page.md) {' '.join(['word'] * 20)}.",
        "\n".join(["- " + " ".join(["word"] * 20)] * 3),
    ],
)
def test_what_is_no_long_sentence_is_left_alone(text: str) -> None:
    assert style.too_long(text) == []
