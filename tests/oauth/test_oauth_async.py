"""The same tokens on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from millstream import AsyncAnalytics, AuthError, OAuthSettings, Request, Response, Urllib3Client
from support.api import Api, status

Settings = Callable[..., OAuthSettings]


def run(api: Api, oauth: OAuthSettings, events: int = 1, **settings: object) -> list[BaseException | None]:
    """Record events, await each, close. What each receipt raised."""

    async def main() -> list[BaseException | None]:
        given = {"host": api.url, "flush_at": 1, "max_retries": 0, "http_client": Urllib3Client(), **settings}
        async with AsyncAnalytics("k", oauth_settings=oauth, **given) as analytics:  # type: ignore[arg-type]
            receipts = [analytics.track("A", user_id="u") for _ in range(events)]

            async def outcome(receipt: object) -> object:
                return await receipt  # type: ignore[misc]

            results = await asyncio.gather(*map(outcome, receipts), return_exceptions=True)
        return [result if isinstance(result, BaseException) else None for result in results]

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_many_batches_on_a_loop_ask_for_one_token(api: Api, auth, oauth: Settings):
    """N64 under asyncio: five batches at once, one token request, all delivered with its token."""
    assert run(api, oauth(), events=5) == [None] * 5
    assert len(auth.requests) == 1
    assert {seen.header("authorization") for seen in api.requests} == {"Bearer s3cret-token-1"}


def test_401_on_a_loop_gets_a_fresh_token(api: Api, auth, oauth: Settings):
    """Under asyncio too, a 401 of the API gets one fresh token and one more try."""
    api.script(status(401))
    assert run(api, oauth()) == [None]
    assert len(auth.requests) == 2


def test_a_refusal_on_a_loop_is_an_auth_error(api: Api, auth, oauth: Settings):
    """N68 under asyncio: a 400 of the token server fails the events at once."""
    auth.always = status(400)
    assert [type(error) for error in run(api, oauth(), events=3)] == [AuthError] * 3
    assert len(auth.requests) == 1


def test_an_async_function_sends_token_requests_too(auth, api: Api, oauth: Settings):
    """N70 under asyncio: an `async def` client of OAuth's own is awaited."""
    urls: list[str] = []

    async def send(request: Request) -> Response:
        await asyncio.sleep(0)
        urls.append(request.url)
        return await asyncio.get_running_loop().run_in_executor(None, Urllib3Client().send, request)

    assert run(api, oauth(http_client=send)) == [None]
    assert urls == [f"{auth.url}/token"]


def test_a_signer_does_not_block_the_loop(auth, api: Api, oauth: Settings, rsa_key):
    """A key service takes its time: it is asked in a thread, not on the event loop."""
    threads: list[threading.Thread] = []

    def sign(data: bytes) -> bytes:
        threads.append(threading.current_thread())
        return rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    assert run(api, oauth(client_key=None, signer=sign, algorithm="RS256")) == [None]
    assert threads[0] is not threading.main_thread()


def test_an_async_client_of_oauth_is_refused_where_nothing_awaits(oauth: Settings):
    """Analytics cannot await an `async def` client, and says so when it is made."""
    from millstream import Analytics, SettingsError

    async def send(_: Request) -> Response:
        return Response(200)

    with pytest.raises(SettingsError, match="AsyncAnalytics"):
        Analytics("k", oauth_settings=oauth(http_client=send))
