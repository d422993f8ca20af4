"""The command lines of agenthost-flytekit and agenthost-flyte2."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
from typing import NoReturn

from agenthost.plugin import Description, LoadError, Service, serve
from agenthost.service import AgentService, Registry

from ._dialect import ConnectorDialect
from ._loading import import_lazy


def main(program: str, dialect: ConnectorDialect) -> NoReturn:
    arguments = _parser(program, dialect).parse_args()
    dialect.share_loop = arguments.share_loop
    # As flytekit's and Flyte 2's own servers do: modules beside the caller can be given too.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if arguments.list:
        _list(dialect, arguments.modules)

    def load() -> Service:
        registry = dialect.load(arguments.modules, arguments.task_types).only(arguments.task_types)
        import_lazy({type(one.agent).__module__ for one in registry.all()})
        agents = AgentService(dialect, registry)
        description = _description(program, dialect, arguments.name, registry)
        return Service(description, agents.register, agents.methods())

    serve(load, _hint(program, arguments.task_types))


def _parser(program: str, dialect: ConnectorDialect) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=f"Serves connectors of {dialect.distribution} as a plugin of agenthost. The host starts it.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--task-types", type=_names, metavar="TYPE,…", help="the task types to serve; all others stay unlisted"
    )
    what.add_argument("--list", action="store_true", help="show the task types that this environment has")
    parser.add_argument(
        "--modules",
        type=_names,
        default=[],
        metavar="MODULE,…",
        help=f"modules to import that register connectors, besides the installed plugins of {dialect.distribution}",
    )
    parser.add_argument(
        "--share-loop",
        action="store_true",
        help="run all connectors in one event loop, for those that share a client (default: one each)",
    )
    parser.add_argument("--name", help="what the plugin calls itself (default: the package of its connectors)")
    return parser


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("needs at least one name")
    return names


def _list(dialect: ConnectorDialect, modules: list[str]) -> NoReturn:
    try:
        for one in dialect.load(modules).all():
            mode = "sync" if one.is_sync else "async"
            print(f"{one.task_type}\t{one.version}\t{mode}\t{one.name}\t{type(one.agent).__module__}")
    except LoadError as e:
        sys.exit(str(e))
    sys.exit(0)


def _description(program: str, dialect: ConnectorDialect, name: str | None, registry: Registry) -> Description:
    package, version = _package_of(registry, dialect)
    return Description(
        name=name or package,
        version=version,
        sdk=program,
        sdk_version=importlib.metadata.version("agenthost"),
        language=f"python{platform.python_version()}, {dialect.distribution} "
        f"{importlib.metadata.version(dialect.distribution)}",
    )


def _package_of(registry: Registry, dialect: ConnectorDialect) -> tuple[str, str]:
    """The package that the connectors come from, and its version; flytekit's or Flyte's own for several or none."""
    modules = {type(one.agent).__module__ for one in registry.all()}
    packages = {_distribution_of(module) for module in modules}
    package = packages.pop() if len(packages) == 1 else None
    package = package or dialect.distribution
    return package, importlib.metadata.version(package)


def _distribution_of(module: str) -> str | None:
    """The distribution that a module's file belongs to: the name of a namespace package would say too little.

    Only those beside the module are looked at, and their lists of files as text: to take those of a whole environment
    apart, as `Distribution.files` does, took a fifth of a start.
    """
    path = module.replace(".", "/")
    files = (f"{path}.py", f"{path}/__init__.py")
    loaded_from = (getattr(sys.modules.get(module), "__file__", None) or "").replace(os.sep, "/")
    folders = [loaded_from.removesuffix(f"/{file}") for file in files if loaded_from.endswith(f"/{file}")]
    for distribution in importlib.metadata.distributions(path=folders):
        record = distribution.read_text("RECORD")
        if record is None:  # not a wheel's
            found = any(str(file) in files for file in distribution.files or ())
        else:
            found = any(line.startswith(tuple(f"{file}," for file in files)) for line in record.splitlines())
        if found:
            return str(distribution.metadata["Name"])
    return None


def _hint(program: str, task_types: list[str]) -> str:
    types = ",".join(task_types)
    return f"""{program} is a Flyte agent plugin: it is started by agenthost, not by hand. Give it to the host in its
configuration file:

  plugins:
    {task_types[0].replace("_", "-")}:
      command: [{sys.argv[0]}, --task-types, "{types}"]

Then "agenthost check --start" starts it once and shows what it serves, "agenthost task run" runs a single task with it,
and "agenthost serve" serves it to Flyte. "{program} --list" shows the task types that this environment has."""


def flytekit() -> NoReturn:
    from ._flytekit import Flytekit

    main("agenthost-flytekit", Flytekit())


def flyte2() -> NoReturn:
    from ._flyte2 import Flyte2

    main("agenthost-flyte2", Flyte2())
