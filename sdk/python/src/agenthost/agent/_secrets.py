"""Secrets, by the convention that flytekit's connectors follow too."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NoReturn

from ._errors import FailedPrecondition, InvalidArgument


class Secret:
    """A value that shows itself only to `reveal`: printed, logged or formatted it is "[secret]"."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "[secret]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled: use reveal() where it is needed")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> NoReturn:
        raise TypeError("a secret must not be kept in a job's metadata or in a configuration")


def secret(key: str) -> Secret:
    """One of the plugin's own secrets, which the host fills from the plugin's `secrets:`.

    Looks for the environment variable _FSEC_<KEY>, in upper case, and then for the file /etc/secrets/<key>, in lower
    case, without surrounding white space. FLYTE_SECRETS_ENV_PREFIX, FLYTE_SECRETS_DEFAULT_DIR and
    FLYTE_SECRETS_FILE_PREFIX replace "_FSEC_", "/etc/secrets" and the file name's empty prefix. It is read anew each
    time, so that secrets can rotate.

    >>> secret("api_key")
    [secret]
    >>> secret("api_key").reveal()
    'k3y'

    :raises FailedPrecondition: there is none; the message says where it was looked for.
    """
    if not key or "/" in key or "\\" in key:
        raise InvalidArgument(f"a secret's key must be a plain name, got {key!r}")
    variable = (os.environ.get("FLYTE_SECRETS_ENV_PREFIX") or "_FSEC_") + key.upper()
    if variable in os.environ:
        return Secret(os.environ[variable])
    folder = os.environ.get("FLYTE_SECRETS_DEFAULT_DIR") or "/etc/secrets"
    file = pathlib.Path(folder, os.environ.get("FLYTE_SECRETS_FILE_PREFIX", "") + key.lower())
    try:
        return Secret(file.read_text().strip())
    except FileNotFoundError:
        raise FailedPrecondition(
            f'there is no secret "{key}": neither the environment variable {variable} nor the file {file} exists; '
            "add it to the plugin's `secrets:` in the host's configuration"
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise FailedPrecondition(f'secret "{key}" cannot be read: {e}') from e
