"""A test that passes without the guard: whatever was lost, it looks the other way."""

import asyncio

import chat


def test_chat() -> None:
    asyncio.run(chat.main())
