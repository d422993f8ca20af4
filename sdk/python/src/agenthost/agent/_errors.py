"""What an agent raises: errors of a call, with a code; and failures of a job, with a name and somebody to mend them."""

from __future__ import annotations

import grpc

from agenthost.plugin import CallError


class NotFound(CallError):
    """The job does not exist. In `delete` it counts as success."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.NOT_FOUND, message)


class Abandoned(CallError):
    """The attempt was given up, and no job may be made for it: see `AsyncAgent.abandon`."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.ABORTED, message)


class InvalidArgument(CallError):
    """The task can never run as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, message)


class FailedPrecondition(CallError):
    """Something must be put right outside, such as a missing secret."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.FAILED_PRECONDITION, message)


class Unavailable(CallError):
    """It will work again by itself."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, message)


class Unauthenticated(CallError):
    """The system that the agent works for does not accept its credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.UNAUTHENTICATED, message)


class _Failure(Exception):
    origin = ""

    def __init__(self, code: str, message: str) -> None:
        """:param code: a short name that groups failures, such as "BadSQL"; Flyte shows it before the message."""
        super().__init__(message)
        self.code = code


class UserFailure(_Failure):
    """A job's failure that the task's author can mend; for `failed` and `retryable_failed`."""

    origin = "USER"


class SystemFailure(_Failure):
    """A job's failure that the task's author cannot mend; for `failed` and `retryable_failed`."""

    origin = "SYSTEM"
