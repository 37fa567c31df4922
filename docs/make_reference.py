"""Write the pages of the reference that are generated from the package.

docs/reference/command-line.md comes from the argument parsers, docs/reference/report-schema.md
from the JSON Schema of the report. Run it after a change to either; a test compares.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc_guard
from grpc_guard._cli import main as _cli

FOLDER = Path(__file__).parent / "reference"

_COMMAND_LINE = """\
# Command line

Made by `docs/make_reference.py` from the parsers that `grpc-guard --help` asks. `python -m grpc_guard` is the same command.

```text
grpc-guard [--help] [--version] COMMAND ...
```

| command | what it does |
|---|---|
"""
_ENDING = """
## Exit status

0 for success, 2 for a usage error. `demo` exits with 1 if a scenario did not end as expected, `explain` with 2 for an unknown
rule. For `run`, see [the program's and 66](../run.md).
"""
_SCHEMA = """\
# Report schema

Made by `docs/make_reference.py` from `grpc_guard/_reports/report.schema.json`, a JSON Schema that is part of the package and against which the tests
validate every report. Its name is `grpc-guard-report/1`. A later version with other fields would have another name.

`grpc-guard run --report FILE` writes such a document. Nothing in it is a message, metadata or a credential.
"""
_ABOUT = {  # the meaning of the names of the schema's parts
    "report": "The document",
    "finding": "An entry of `findings` or `advice`",
    "owner": "`owner` of a finding",
    "caller": "`caller` of a finding",
    "frame": "An entry of `stack`",
    "snapshot": "An entry of `in_progress`",
    "process": "An entry of `unguarded`",
    "ended": "An entry of `cut_off`",
}


def command_line() -> str:
    """Return the page about the command line."""
    rows = "".join(
        f"| [`grpc-guard {command.name}`](#grpc-guard-{command.name}) | {command.summary} |\n"
        for command in _cli.COMMANDS
    )
    sections = "".join(_section(command.name) for command in _cli.COMMANDS)
    return _COMMAND_LINE + rows + sections + _ENDING


def _section(name: str) -> str:
    _, parser = _cli._parser(name)
    lines = [f"\n## grpc-guard {name}\n", f"{parser.description}\n"]
    if parser.usage:
        lines.append(f"```text\n{parser.usage % {'prog': f'grpc-guard {name}'}}\n```\n")
    shown = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    arguments = [action for action in shown if action.dest != "help"]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{_spelled(action)}` | {_meaning(action)} |" for action in arguments]
        lines.append("")
    if parser.epilog:
        lines.append(f"{parser.epilog}\n")
    return "\n".join(lines)


def _spelled(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    return " ".join([", ".join(action.option_strings), str(value)]).strip().replace("|", "\\|")


def _meaning(action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default, "prog": "grpc-guard"}


def report_schema() -> str:
    """Return the page about the report's fields."""
    path = Path(grpc_guard.__file__).parent / "_reports" / "report.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    parts = {"report": schema, **schema["$defs"]}
    return _SCHEMA + "".join(
        f"\n## {title}\n\n| field | type | meaning |\n|---|---|---|\n"
        + "".join(f"| {row} |\n" for row in _fields(parts[name]))
        for name, title in _ABOUT.items()
    )


def _fields(part: dict[str, Any]) -> Iterator[str]:
    for name, field in part["properties"].items():
        about = field.get("description", "")
        if "pattern" in field:
            about = f"{about}; matches `{field['pattern']}`"
        yield f"`{name}` | {_type(field)} | {about}"


def _type(field: dict[str, Any]) -> str:
    if "const" in field:
        return f'`"{field["const"]}"`'
    if "enum" in field:
        return ", ".join(f'`"{value}"`' for value in field["enum"])
    if "$ref" in field:
        return f"{field['$ref'].rpartition('/')[2]}"
    if "oneOf" in field:
        return " or ".join(_type(one) for one in field["oneOf"])
    kind = field["type"]
    names = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{names} of {_type(field['items'])}" if "items" in field else names


PAGES = {"command-line.md": command_line, "report-schema.md": report_schema}


def main(folder: Path = FOLDER) -> None:
    """Write the pages into `folder`."""
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
