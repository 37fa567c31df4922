"""``grpc-guard run``: a program under the guard without a change to it.

launcher.py starts the program and judges it when it ends; child.py runs inside each of its
Python processes, brought there by site/sitecustomize.py; spool.py is what they write and
the launcher reads.
"""
