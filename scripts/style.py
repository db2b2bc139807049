"""Find sentences of the documentation that are too long to be read once: `python -m scripts.style [FILE …]`.

Only text counts: neither code, nor tables, nor headings. A piece of inline code and the text of a link count as what
a reader sees. Exit code 1 if a sentence has more than 25 words.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_WORDS = 25
PAGES = ("*.md", "docs/*.md", "mock_api/README.md", "tests/README.md", "tests/field/README.md")
_NO_TEXT = re.compile(r"(?s:^( *)```.*?^\1```$)|(?s:<!--.*?-->)|^ *\|.*$|^#.*$|^\[[^\]]+\]: .*$|^!\[.*$", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.) )")
_END = re.compile(r"(?<=[.!?])[*_)\"]*\s+(?=[A-Z`\[*_(\"])")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e)\.")


def pages() -> list[Path]:
    """The pages that the rule holds for."""
    return sorted(page for pattern in PAGES for page in ROOT.glob(pattern))


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page in Markdown."""
    text = _NO_TEXT.sub("", text)
    text = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "_").replace("\n", "_"), text)
    text = _ABBREVIATION.sub(lambda found: found[0].replace(".", ""), text)
    for paragraph in _PARAGRAPH.split(text):
        for each in _END.split(" ".join(paragraph.split())):
            yield re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each)


def words(sentence: str) -> int:
    """How many words a reader reads."""
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


def too_long(text: str) -> list[str]:
    """The sentences of a page with more than `MAX_WORDS` words."""
    return [sentence for sentence in sentences(text) if words(sentence) > MAX_WORDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", help="(default: all pages of the documentation)")
    found = 0
    for page in parser.parse_args().files or pages():
        for sentence in too_long(page.read_text(encoding="utf-8")):
            found += 1
            print(f"{page}: {words(sentence)} words: {sentence}")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
