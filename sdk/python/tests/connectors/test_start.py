"""What a start of agenthost-flytekit saves, and what it may not change by that."""

from __future__ import annotations

import importlib
import pathlib

import pytest

from agenthost.connectors import _cli


def test_a_connector_s_package_is_the_one_that_its_file_belongs_to(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, module in (("acme-one", "acme_space/one.py"), ("acme-two", "acme_space/two/__init__.py")):
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).write_text("")
        record = tmp_path / f"{package.replace('-', '_')}-1.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (record / "RECORD").write_text(f"{module},sha256=abc,0\n{record.name}/METADATA,,\n")
    (tmp_path / "acme_loose.py").write_text("")
    eggs = tmp_path / "acme_old-1.egg-info"
    eggs.mkdir()
    (eggs / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: acme-old\nVersion: 1\n")
    (eggs / "SOURCES.txt").write_text("acme_old.py\n")
    (tmp_path / "acme_old.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("acme_space.one", "acme_space.two", "acme_old", "acme_loose", "os", "__main__")
    for name in names:
        importlib.import_module(name)
    assert [_cli._distribution_of(name) for name in names] == ["acme-one", "acme-two", "acme-old", None, None, None]
