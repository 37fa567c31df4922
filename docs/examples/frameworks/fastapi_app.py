"""A FastAPI service that asks a gRPC server: uvicorn fastapi_app:app."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket

import grpc_guard
from grpc_guard.demo import Point, Rectangle, RouteGuideStub, RouteNote

EVERYWHERE = Rectangle(hi=Point(latitude=900_000_000, longitude=1_800_000_000))


@asynccontextmanager
async def lifespan(
    app: FastAPI,
) -> AsyncIterator[None]:  # runs on the event loop that serves the requests
    async with grpc_guard.aio.ChannelRegistry() as registry:
        app.state.guide = registry.stub(RouteGuideStub, os.environ["ROUTE_GUIDE"])
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/features")
async def features() -> list[str]:
    found = app.state.guide.ListFeatures(EVERYWHERE, timeout=10)
    return [feature.name async for feature in found]


@app.websocket("/chat")
async def chat(browser: WebSocket) -> None:
    """Hand each note of the browser on, and each answer back: one writer and one reader."""
    await browser.accept()
    call = app.state.guide.RouteChat()
    try:
        async for note in browser.iter_text():
            await call.write(RouteNote(message=note))
            answer = await call.read()
            await browser.send_text(answer.message)
    finally:
        call.cancel()  # the browser has gone: end the stream
