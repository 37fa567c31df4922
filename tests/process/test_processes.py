"""A client and a server in processes of their own, with TLS, each with a guard of its own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from support import peers
from support.peers import NUMBERS, SERVICE, WORDS

PROGRAM = Path(peers.__file__)
ROOT = Path(__file__).parents[2]
PATIENCE = 40  # seconds

APIS = ("sync", "aio")
PAIRS = list(itertools.product(APIS, APIS))
MIXED = [("sync", "aio"), ("aio", "sync")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for both sides, and that of the authority that issued it."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "root_certificates.pem"))
    issued.private_key_pem.write_to_path(str(folder / "private_key.pem"))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(folder / "certificate_chain.pem"), append=True)
    return folder


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run peers.py; it is killed if the block fails."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(PROGRAM), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def output_of(process: subprocess.Popen[str]) -> list[Any]:
    """Wait for a regular end and return what was printed.

    On standard error is what the guard logs of its findings, and nothing else.
    """
    out, err = process.communicate(timeout=PATIENCE)
    words = [line for line in err.splitlines() if "chttp2_transport" not in line]  # gRPC's log
    printed = [json.loads(line) for line in out.splitlines()]
    assert (len(words), process.returncode) == (2 * len(printed[-1]), 0)
    if words:
        assert words[0].startswith(f"{printed[-1][0][0]}: ")
        assert words[1].startswith("grpc_guard: 1 finding in this process: ")
    return printed


def play(certificates: Path, client: str, server: str, mode: str, act: str) -> tuple[Any, Any, Any]:
    """Return what the client printed, what its guard found, and what that of the server found."""
    with running(certificates, "server", server, mode) as serving:
        assert serving.stdout is not None
        port = json.loads(serving.stdout.readline())["port"]
        with running(certificates, "client", client, mode, act, port) as calling:
            *printed, found = output_of(calling)
        (found_by_server,) = output_of(serving)
    return printed, found, found_by_server


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_keeping_the_contract(certificates: Path, client: str, server: str) -> None:
    """A correct client and server print what they print unguarded, and nothing is found."""
    plain = play(certificates, client, server, "off", "correct")
    greeting, numbers, *joined, words, read = plain[0]
    assert greeting == "hello one, x509_subject_alternative_name ['127.0.0.1']"
    assert numbers == NUMBERS
    assert joined == [" ".join(WORDS)] * 2
    assert words == [word.upper() for word in WORDS]
    assert read == [str(number) for number in range(100)]
    assert plain[1:] == ([], [])
    assert play(certificates, client, server, "raise", "correct") == plain


@pytest.mark.parametrize(("client", "server"), MIXED)
def test_breaking_the_contract_in_the_client(certificates: Path, client: str, server: str) -> None:
    """A second reader in the client is refused there; the first one reads to the end."""
    printed, found, found_by_server = play(certificates, client, server, "raise", "broken")
    assert printed == [["concurrent-read", "client", client], NUMBERS]
    assert found == [["concurrent-read", "client", client, f"/{SERVICE}/Hold"]]
    assert found_by_server == []


@pytest.mark.parametrize(("client", "server"), MIXED)
def test_breaking_the_contract_in_the_server(certificates: Path, client: str, server: str) -> None:
    """A second reader in a handler is refused there; the first one reads to the end."""
    printed, found, found_by_server = play(certificates, client, server, "raise", "broken-server")
    assert printed == [["concurrent-read", "server", server], WORDS]
    assert found == []
    assert found_by_server == [["concurrent-read", "server", server, f"/{SERVICE}/Break"]]
