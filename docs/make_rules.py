"""Write the pages about the rules, docs/rules/, from the texts in the package.

Run it after a change to a text or a page in grpc_guard/_catalogue/rules/; a test compares.
"""

from __future__ import annotations

from pathlib import Path

from grpc_guard._catalogue.pages import pages

FOLDER = Path(__file__).parent / "rules"


def main(folder: Path = FOLDER) -> None:
    for page in folder.glob("*.md"):
        page.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
