"""Ask an application of docs/examples/frameworks as its clients do; print what they get.

Usage: ``python frameworks.py fastapi|django``, with that folder in PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import sys


def fastapi() -> None:
    from fastapi.testclient import TestClient
    from fastapi_app import app

    with TestClient(app) as client:
        print(client.get("/features").json())
        with client.websocket_connect("/chat") as browser:
            for note in ("snow", "fog"):
                browser.send_text(note)
                print(browser.receive_text())


def django() -> None:
    from django import setup
    from django.conf import settings

    settings.configure(ROOT_URLCONF="django_views", ALLOWED_HOSTS=["testserver"])
    setup()
    from django.test import AsyncClient, Client

    async def asked() -> bytes:  # as an ASGI server does: all requests on one loop
        client = AsyncClient()
        first, second = await asyncio.gather(*[client.get("/features-async") for _ in range(2)])
        assert first.content == second.content
        return first.content

    print(Client().get("/features").json())
    print(Client().get("/features-async").json())  # as a WSGI server does: a loop per request
    print(asyncio.run(asked()).decode())


if __name__ == "__main__":
    {"fastapi": fastapi, "django": django}[sys.argv[1]]()
