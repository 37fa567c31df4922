"""The command line: which words it takes, what it prints, and how it exits."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest
from inside import RULES, cli_main, demo

import grpc_guard
import grpc_guard.__main__ as entry


def refused(*argv: str) -> int | str | None:
    """Return the status with which argparse leaves `argv`."""
    with pytest.raises(SystemExit) as left:
        cli_main.main(argv)
    return left.value.code


def test_version(capsys):
    """--version says the version and exits 0."""
    assert refused("--version") == 0
    assert capsys.readouterr().out == f"grpc-guard {grpc_guard.__version__}\n"


def test_help(capsys):
    """--help names every subcommand on stdout and exits 0."""
    assert refused("--help") == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: grpc-guard [-h] [--version] COMMAND ...\n")
    assert all(f"    {command.name} " in out for command in cli_main.COMMANDS)


def test_no_subcommand(capsys):
    """Without a subcommand the help goes to stderr, and the exit status is 2."""
    assert cli_main.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: grpc-guard [-h] [--version] COMMAND ...\n")


def test_unknown_subcommand(capsys):
    """An unknown subcommand is refused with exit status 2 and the choices."""
    assert refused("dmo") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("grpc-guard: error: argument COMMAND: invalid choice: 'dmo'")
    assert "demo" in error


def test_unknown_option_of_a_subcommand(capsys):
    """A subcommand that takes no arguments refuses one."""
    assert refused("demo", "--loudly") == 2
    assert "unrecognized arguments: --loudly" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli_main.COMMANDS, ids=lambda command: command.name)
def test_help_of_each_subcommand(command, capsys):
    """Every subcommand says under --help what it does, and exits 0."""
    assert refused(command.name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: grpc-guard {command.name} ")
    assert command.summary[1:] in " ".join(out.split())


def test_subcommand_status(monkeypatch):
    """The exit status is what the subcommand returns."""
    monkeypatch.setattr(demo, "show", lambda stream, color: {sys.stdout: 7}[stream])
    assert cli_main.main(["demo"]) == 7


def test_asking_for_the_rules(capsys):
    """``rules`` lists them all, ``explain`` prints the page of one; both exit 0."""
    assert cli_main.main(["rules"]) == 0
    listed = capsys.readouterr().out
    assert all(rule in listed for rule in RULES)
    assert cli_main.main(["explain", "wrong-loop"]) == 0
    assert capsys.readouterr().out.startswith("# wrong-loop")


def test_arguments_of_the_process(monkeypatch, capsys):
    """Without argv it is sys.argv that is read."""
    monkeypatch.setattr(sys, "argv", ["grpc-guard", "--version"])
    with pytest.raises(SystemExit) as left:
        cli_main.main()
    assert left.value.code == 0
    assert capsys.readouterr().out == f"grpc-guard {grpc_guard.__version__}\n"


def test_run_as_module(monkeypatch, capsys):
    """``python -m grpc_guard`` is the command line, and exits with its status."""
    monkeypatch.setattr(sys, "argv", ["grpc_guard"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(entry.__file__, run_name="__main__")
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("usage: grpc-guard ")


def test_entry_point():
    """The script ``grpc-guard`` starts at __main__.main, which is the command line."""
    assert entry.main is cli_main.main


@pytest.mark.parametrize("argv", [["--help"], ["--version"], []])
def test_help_does_not_import_grpc(argv):
    """--help imports neither grpc nor a subcommand."""
    program = (
        "import sys\n"
        "from grpc_guard.__main__ import main\n"
        "try:\n"
        f"    main({argv})\n"
        "finally:\n"
        "    loaded = {'grpc', 'grpc_guard._cli.demo'} & set(sys.modules)\n"
        "    print('loaded:', loaded or 'nothing', file=sys.stderr)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert child.stderr.splitlines()[-1] == "loaded: nothing"
