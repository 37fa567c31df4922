"""Check the English: none of the phrases of CONTRIBUTING.md's word list, in text and in code.

Usage: ``python docs/check_prose.py``, which ``nox -s docs`` runs beside codespell. Pages are
checked without their code, modules in their docstrings, comments and messages. Prints each
place; the exit status is 1 if there is any.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "grpc_guard/**/*.md")
MODULES = ("grpc_guard/**/*.py", "docs/*.py", "docs/examples/**/*.py", "noxfile.py")
# Generated code, and pages made from other texts, which are checked themselves.
LEFT_OUT = ("docs/_build/", "docs/rules/", "_pb2.py", "_pb2_grpc.py", "docs/reference/changelog.md")

_ROW = re.compile(r"^\| (?P<wrong>`.*?) \| (?P<right>.*) \|$")
_CODE = re.compile(r"^(?P<indent> *)```.*?^(?P=indent)```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_ELSEWHERE = re.compile(r"(?<![\w./])(?:docs|tests|benchmarks)/\w[\w./]*|CONTRIBUTING\.md")
_TEXT = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def word_list(page: str) -> dict[str, str]:
    """Return the forbidden phrases and their replacements, from the table of `page`."""
    _, _, section = page.partition("\n### Words\n")
    section, *_ = section.split("\n## ")
    rows = [match for line in section.splitlines() if (match := _ROW.match(line))]
    return {phrase: row["right"] for row in rows for phrase in re.findall("`(.+?)`", row["wrong"])}


def pattern(phrases: dict[str, str]) -> re.Pattern[str]:
    """Return a pattern that finds any of `phrases`, across line ends and with a capital letter too."""
    alternatives = (
        rf"[{phrase[0].lower()}{phrase[0].upper()}]"
        + re.escape(phrase[1:]).replace(r"\ ", r"[\s#]+")
        for phrase in sorted(phrases, key=len, reverse=True)
    )
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each text of the file that a person reads, with the line at which it begins."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        # Code keeps its line ends, so that lines are counted right.
        yield 1, _CODE.sub(lambda code: re.sub(r"[^\n]", "`", code[0]), source)
        return
    begin, comment = 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type is not tokenize.COMMENT and token.type is not tokenize.NL and comment:
            yield begin, comment
            comment = ""
        if token.type == tokenize.COMMENT:  # consecutive comments are one text
            begin = begin if comment else token.start[0]
            comment += token.string + "\n"
        elif token.type in _TEXT:
            yield token.start[0], token.string


def complaints(path: Path, phrases: dict[str, str]) -> Iterator[str]:
    """Yield one sentence for each phrase that the file should not have."""
    forbidden = pattern(phrases)
    for line, text in texts(path):
        for match in forbidden.finditer(text):
            phrase = re.sub(r"[\s#]+", " ", match[0])
            right = next(
                right for wrong, right in phrases.items() if wrong.lower() == phrase.lower()
            )
            where = f"{path.relative_to(TOP)}:{line + text.count(chr(10), 0, match.start())}"
            yield f"{where}: {phrase!r}: {right}"
        if TOP / "grpc_guard" in path.parents:  # the installed package has no such folder
            for match in _ELSEWHERE.finditer(text):
                where = f"{path.relative_to(TOP)}:{line + text.count(chr(10), 0, match.start())}"
                yield f"{where}: {match[0]!r} is not in the wheel"


def files() -> list[Path]:
    """Return every file that is checked."""
    found = {path for pattern in PAGES + MODULES for path in TOP.glob(pattern)}
    return sorted(
        path
        for path in found
        if not any(part in path.relative_to(TOP).as_posix() for part in LEFT_OUT)
    )


def main() -> int:
    """Print what is wrong; return the exit status."""
    phrases = word_list((TOP / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert phrases, "CONTRIBUTING.md has no word list"
    wrong = [complaint for path in files() for complaint in complaints(path, phrases)]
    print("\n".join([*wrong, f"{len(wrong)} phrases of the word list"]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
