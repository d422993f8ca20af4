"""Compiles Snowflake tasks with real flytekit: writes NAME.template.pb and NAME.inputs.pb into a given folder."""

import datetime
import pathlib
import sys
from typing import Optional

from flytekit import StructuredDataset, kwtypes
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.tools.translator import get_serializable
from flytekitplugins.snowflake import SnowflakeConfig, SnowflakeTask

CONFIG = SnowflakeConfig(user="FLYTE", account="acme-eu1", database="LAKE", schema="PUBLIC", warehouse="SMALL")
SETTINGS = SerializationSettings(
    project="flights", domain="development", version="v1", image_config=ImageConfig.auto_default_image()
)

when = datetime.datetime(2026, 11, 25, 6, 0, tzinfo=datetime.timezone.utc)
TASKS = {
    "setup": ("create or replace table flights (carrier varchar, distance int)", {}, {}, False),
    "load": (
        "insert into flights select %(carrier)s, %(distance)s",
        kwtypes(carrier=str, distance=int),
        {"carrier": "O'Hare % ? Air", "distance": 700},
        False,
    ),
    "select": (
        "select carrier, '100%%' as pct from flights "
        "where distance >= %(least)s and carrier in %(carriers)s -- %(not)s",
        kwtypes(least=int, carriers=list[str]),
        {"least": 600, "carriers": ["O'Hare % ? Air", "other"]},
        True,
    ),
    "kinds": (
        "select %(i)s as i, %(f)s as f, %(s)s as s, %(b)s as b, %(t)s as t, %(d)s as d, %(n)s as n",
        kwtypes(i=int, f=float, s=str, b=bool, t=datetime.datetime, d=datetime.timedelta, n=Optional[str]),
        {"i": 7, "f": 1.5, "s": "a", "b": True, "t": when, "d": datetime.timedelta(hours=1, seconds=2), "n": None},
        True,
    ),
    "wrong": ("select * from no_such_table", {}, {}, True),
}


def main(folder: pathlib.Path) -> None:
    ctx = FlyteContextManager.current_context()
    for name, (sql, types, values, has_output) in TASKS.items():
        task = SnowflakeTask(
            name=name,
            query_template=sql,
            task_config=CONFIG,
            inputs=types,
            output_schema_type=StructuredDataset if has_output else None,
        )
        template = get_serializable({}, SETTINGS, task).template
        literals = TypeEngine.dict_to_literal_map(ctx, values, types)
        (folder / f"{name}.template.pb").write_bytes(template.to_flyte_idl().SerializeToString())
        (folder / f"{name}.inputs.pb").write_bytes(literals.to_flyte_idl().SerializeToString())


main(pathlib.Path(sys.argv[1]))
