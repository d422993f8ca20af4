"""What a release consists of: checked by the registry's own tool, and used without this checkout."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile
from collections.abc import Callable

import pytest

from agenthost.agent import Phase
from agenthost.testing import Client

PACKAGE = pathlib.Path(__file__).parents[1]
ROOT = PACKAGE.parents[1]


@pytest.fixture(scope="module")
def publish() -> pathlib.Path:
    """The programs that a release is made with."""
    made = subprocess.run([ROOT / "scripts" / "venv", "publish"], check=True, capture_output=True, text=True)
    return pathlib.Path(made.stdout.strip())


@pytest.fixture(scope="module")
def sdist(publish: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(
        [publish / "python", "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=PACKAGE, check=True
    )
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(publish: pathlib.Path, sdist: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Made of the source distribution, as installers do where they get no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    subprocess.run(
        [publish / "python", "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=source, check=True
    )
    (made,) = folder.glob("*.whl")
    return made


def test_the_registrys_own_tool_has_nothing_against_it(
    publish: pathlib.Path, sdist: pathlib.Path, wheel: pathlib.Path
) -> None:
    subprocess.run([publish / "twine", "check", "--strict", sdist, wheel], check=True)


def test_the_wheel_serves_a_plugin_without_a_checkout(
    wheel: pathlib.Path, tmp_path: pathlib.Path, agenthost_command: Callable[..., Client]
) -> None:
    program = tmp_path / "hello.py"
    program.write_bytes((PACKAGE / "examples" / "hello" / "hello.py").read_bytes())
    installed = tmp_path / "installed"
    (uv,) = ROOT.glob(".cache/uv-*/bin/uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", installed, wheel], check=True)
    env = {"PYTHONPATH": str(installed)}
    where = [sys.executable, "-c", "import agenthost.agent; print(agenthost.agent.__file__)"]
    ran = subprocess.run(where, env=os.environ | env, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert pathlib.Path(ran.stdout.strip()).is_relative_to(installed)
    client = agenthost_command([sys.executable, str(program)], env=env, cwd=str(tmp_path))
    done = client.run_task("hello", inputs={"name": "Ada"})
    assert (done.phase, done.outputs) == (Phase.SUCCEEDED, {"greeting": "Hello, Ada"})
    (license,) = installed.glob("agenthost-*.dist-info/licenses/LICENSE")
    assert license.read_bytes() == (ROOT / "LICENSE").read_bytes()
