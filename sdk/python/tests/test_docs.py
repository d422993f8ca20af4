"""The examples in the SDK's documentation, run."""

import doctest
import importlib
import pathlib
import pkgutil
import re

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


PACKAGE = pathlib.Path(__file__).parents[1]
BLOCK = re.compile("```python\n(.*?)```\n", re.DOTALL)


def unindented(code: str) -> str:
    """Code without what a page or a formatter puts around its lines."""
    return "\n" + "\n".join(line.strip() for line in code.splitlines() if line.strip()) + "\n"


def test_what_the_readme_shows_is_code_that_runs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of an example or of a test; or else it is a module that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    sources = [unindented(path.read_text()) for path in PACKAGE.rglob("*.py")]
    blocks = BLOCK.findall((PACKAGE / "README.md").read_text())
    for i, block in enumerate(blocks):
        if not any(unindented(block) in source for source in sources):
            (tmp_path / f"readme_{i}.py").write_text(block)
            importlib.import_module(f"readme_{i}")
    assert len(blocks) > 7


def test_what_the_readme_names_is_there() -> None:
    named = re.findall(r"`[^`\n]*`", (PACKAGE / "README.md").read_text())
    found = {name for code in named for name in re.findall(r"\b(?:task|job|plugin|storage|httpclient)\.\w+", code)}
    for name in found:
        owner, attribute = name.split(".")
        kinds = {"task": agenthost.agent.Task, "job": agenthost.agent.Job, "plugin": agenthost.agent.Plugin}
        kind = kinds.get(owner) or importlib.import_module(f"agenthost.{owner}")
        fields = getattr(kind, "__dataclass_fields__", {})
        made = vars(agenthost.agent.Plugin("p", "1", [])) if owner == "plugin" else {}
        assert hasattr(kind, attribute) or attribute in fields or attribute in made, name
    assert len(found) > 10
