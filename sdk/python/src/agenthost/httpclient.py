"""For an agent's calls to a service: httpx's clients, which ask a busy service again and tell it the trace of the call.

    async def connect(self, config: Config) -> None:
        self.client = httpclient.AsyncClient(base_url=config.url)  # one for the agent

A service that is busy (429, 503) is asked again when it says so (Retry-After), or else after 250 ms, 500 ms, …, and so
is one that cannot be reached or fails (5xx) where asking again does no harm: GET, HEAD, OPTIONS, PUT and DELETE. All
that is within the deadline of the agent's call: where the next try would come too late, there is none. Requests carry
the trace that the call belongs to (W3C Trace Context). What is left is Unavailable, which says that it is the service's
fault, and Flyte's to repeat; all other answers are the caller's, as with httpx itself.

httpx and tenacity come with `agenthost[http]`.
"""

from __future__ import annotations

import datetime
import email.utils
from typing import Any

import httpx
import tenacity

from agenthost.agent import Unavailable
from agenthost.plugin import cut, deadline, trace_headers

_TRIES = 7
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""The methods that may be called again whatever became of the first call."""
_BUSY = frozenset({429, 503})
_UNBEGUN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""What comes before there is a connection to send a request on."""
_REJECTED = 4 << 10
"""How much of a last answer's body its error has."""


class AsyncClient(httpx.AsyncClient):
    """httpx's client for async methods. It belongs to the event loop that it is first used in."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Sends a request, as often as it takes and may."""
        _tell_trace(request)
        retrying = tenacity.AsyncRetrying(
            retry=_retry(request), wait=_wait, stop=_too_late, before_sleep=_aclose, retry_error_callback=_agiven_up
        )
        try:
            response: httpx.Response = await retrying(super().send, request, **options)
            return response
        except httpx.TransportError as e:
            raise Unavailable(f"{_name(request)}: {_said(e)}") from e


class Client(httpx.Client):
    """httpx's client for plain methods, which run in threads."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Sends a request, as often as it takes and may."""
        _tell_trace(request)
        retrying = tenacity.Retrying(
            retry=_retry(request), wait=_wait, stop=_too_late, before_sleep=_close, retry_error_callback=_given_up
        )
        try:
            response: httpx.Response = retrying(super().send, request, **options)
            return response
        except httpx.TransportError as e:
            raise Unavailable(f"{_name(request)}: {_said(e)}") from e


def _tell_trace(request: httpx.Request) -> None:
    for name, value in trace_headers().items():
        request.headers.setdefault(name, value)  # or instrumentation did it, with a span of its own


def _retry(request: httpx.Request) -> Any:
    return _again if isinstance(request.stream, httpx.ByteStream) else tenacity.retry_never  # what is sent once is gone


def _again(state: tenacity.RetryCallState) -> bool:
    """Whether a request is to be made once more, if there is time."""
    response, error = _outcome(state)
    harmless = _request(state).method in _HARMLESS
    if response is None:
        return isinstance(error, _UNBEGUN) or (harmless and isinstance(error, httpx.TransportError))
    return response.status_code in _BUSY or (harmless and response.status_code >= 500 and response.status_code != 501)


_backoff = tenacity.wait_exponential(multiplier=0.25, max=10)


def _wait(state: tenacity.RetryCallState) -> float:
    response, _ = _outcome(state)
    said = response.headers.get("retry-after", "") if response is not None else ""
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        at = email.utils.parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return _backoff(state)
    at = at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)
    return max(0.0, (at - datetime.datetime.now(datetime.timezone.utc)).total_seconds())


def _too_late(state: tenacity.RetryCallState) -> bool:
    end = deadline.get()
    if state.attempt_number >= _TRIES:
        return True
    return end is not None and datetime.datetime.now(datetime.timezone.utc).timestamp() + _wait(state) > end.timestamp()


def _close(state: tenacity.RetryCallState) -> None:
    if (response := _outcome(state)[0]) is not None:
        response.close()


async def _aclose(state: tenacity.RetryCallState) -> None:
    if (response := _outcome(state)[0]) is not None:
        await response.aclose()


def _given_up(state: tenacity.RetryCallState) -> Any:
    if (response := _outcome(state)[0]) is not None:
        response.read()
        response.close()
    raise _unavailable(state)


async def _agiven_up(state: tenacity.RetryCallState) -> Any:
    if (response := _outcome(state)[0]) is not None:
        await response.aread()
        await response.aclose()
    raise _unavailable(state)


def _unavailable(state: tenacity.RetryCallState) -> Unavailable:
    response, error = _outcome(state)
    if response is None:
        return Unavailable(f"after {state.attempt_number} tries: {_name(_request(state))}: {_said(error)}")
    later = response.headers.get("retry-after", "")
    later = f", and to be asked again after {later}" if later else ""
    text = cut(response.text, _REJECTED)
    answer = f"{response.status_code} {response.reason_phrase}{later}: {text}"
    return Unavailable(f"after {state.attempt_number} tries: {_name(_request(state))} answers {answer}")


def _request(state: tenacity.RetryCallState) -> httpx.Request:
    request: httpx.Request = state.args[0]
    return request


def _outcome(state: tenacity.RetryCallState) -> tuple[httpx.Response | None, BaseException | None]:
    outcome = state.outcome
    assert outcome is not None  # there is one behind each try
    error = outcome.exception()
    return (None, error) if error is not None else (outcome.result(), None)


def _name(request: httpx.Request) -> str:
    return f"{request.method} {request.url.copy_with(username=None, password=None)}"


def _said(error: BaseException | None) -> str:
    return str(error) or type(error).__name__
