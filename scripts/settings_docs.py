"""Generate `.env.example` and the README's table of settings from `config/settings.py`, or check that both are current.

python -m scripts.settings_docs --write
python -m scripts.settings_docs --check   # exit code 1, and the names of the files that are not current
"""

import argparse
import sys
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from job_fetcher.config.settings import described

ROOT = Path(__file__).resolve().parent.parent
README, ENV_EXAMPLE = ROOT / "README.md", ROOT / ".env.example"
MARK = "<!-- settings -->"
HEADER = """\
# Copy this file to .env. Fill in API_URL, and either USERNAME and PASSWORD or a token.
# An empty value counts as unset. Write comments on lines of their own: `docker run --env-file` knows no others.
# `python -m scripts.settings_docs --write` generates this file from src/job_fetcher/config/settings.py.
"""


def default(field: FieldInfo) -> str:
    """The default as a person writes it; empty if there is none."""
    return "" if field.default in (None, PydanticUndefined) else str(field.default)


def env_example() -> str:
    """The text of `.env.example`: each setting with its description and its default."""
    entries = [f"# {field.description}\n{name.upper()}={default(field)}\n" for name, field in described().items()]
    return "\n".join([HEADER, *entries])


def table() -> str:
    """The README's table of settings."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in described().items():
        shown = f"`{default(field)}`" if default(field) else "required" if field.is_required() else ""
        rows.append(f"| `{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def generated() -> dict[Path, str]:
    """The files as they should be."""
    before, _, after = README.read_text(encoding="utf-8").split(MARK)
    return {README: f"{before}{MARK}\n{table()}\n{MARK}{after}", ENV_EXAMPLE: env_example()}


def stale() -> list[Path]:
    """The files that are not as they should be."""
    return [path for path, text in generated().items() if path.read_text(encoding="utf-8") != text]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files")
    action.add_argument("--check", action="store_true", help="only say which files are not current")
    options = parser.parse_args()
    if options.write:
        for path, text in generated().items():
            path.write_text(text, encoding="utf-8")
    elif names := [path.name for path in stale()]:
        sys.exit(f"Not current: {', '.join(names)}. Run: python -m scripts.settings_docs --write")


if __name__ == "__main__":
    main()
