"""The examples in the SDK's documentation, run."""

import doctest
import importlib
import pkgutil

import pytest

import agenthost.agent
import agenthost.testing

MODULES = [
    module.name
    for package in (agenthost.agent, agenthost.testing)
    for module in [package.__spec__, *pkgutil.iter_modules(package.__path__, package.__name__ + ".")]
    if module is not None
]
MODULES += ["agenthost.jobstore", "agenthost.storage"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_do_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_FSEC_API_KEY", "k3y")  # as the host fills it
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_what_an_author_meets_first_has_an_example() -> None:
    sdk = agenthost.agent
    for first in (sdk, sdk.Task.input, sdk.Plugin.configure, sdk.succeeded, sdk.failed, sdk.secret):
        assert any(found.examples for found in doctest.DocTestFinder(recurse=False).find(first)), f"{first} has none"
