"""Prints, as JSON, what a program can see of how it was started."""

import json
import os
import sys

print(
    json.dumps(
        {
            "argv": sys.argv,
            "orig_argv": sys.orig_argv,
            "path": sys.path,
            "name": __name__,
            "file": __file__,
            "package": __package__,
            "flags": repr(sys.flags),
            "xoptions": sys._xoptions,
            "warnoptions": sys.warnoptions,
            "unbuffered": sys.stdout.write_through,
            "sitecustomize": "sitecustomize" in sys.modules,
            "modules": sorted({"grpc", "ssl", "asyncio", "wrapt", "subprocess"} & set(sys.modules)),
            "stdin": sys.stdin.read(),
            "environ": dict(os.environ),
        }
    )
)
