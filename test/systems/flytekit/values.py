"""Reads what tasks ended with, as a flytekit task that takes it as its inputs would: `values.py SYSTEM DIRECTORY`.

DIRECTORY/CASE.pb is the literal map of a case of SYSTEM.py that has ended well. Prints JSON: by case and output, the
value; of a dataset, its rows; of a file, its text.
"""

import importlib
import json
import pathlib
import sys

import pandas as pd
from compile import Case
from flyteidl.core import literals_pb2
from flytekit import FlyteContextManager, StructuredDataset
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.types.file import FlyteFile


def plain(value):
    """A value as JSON can have it."""
    if isinstance(value, StructuredDataset):
        return value.open(pd.DataFrame).all().to_dict("records")
    if isinstance(value, FlyteFile):
        return pathlib.Path(value.download()).read_text()
    return value


def main(system, directory):
    read = {}
    for case in importlib.import_module(system).cases(Case):
        file = directory / f"{case.name}.pb"
        if not file.exists():
            continue
        literals = LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(file.read_bytes()))
        context = FlyteContextManager.current_context()
        types = case.task.python_interface.outputs
        values = TypeEngine.literal_map_to_kwargs(context, literals, types)
        read[case.name] = {name: plain(value) for name, value in values.items()}
    print(json.dumps(read, default=str))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
