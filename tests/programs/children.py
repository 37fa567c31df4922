"""Breaks the contract in a child process, made as its argument says."""

import asyncio
import multiprocessing
import os
import subprocess
import sys


def work():
    from collision import collide

    asyncio.run(collide())


if __name__ == "__main__":
    how = sys.argv[1]
    if how == "subprocess":
        program = os.path.join(os.path.dirname(__file__), "endings.py")
        sys.exit(subprocess.run([sys.executable, program, "return"]).returncode)
    child = multiprocessing.get_context(how).Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
