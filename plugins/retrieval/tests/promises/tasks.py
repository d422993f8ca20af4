"""Writes task templates, compiled by flytekit, into the folder that is named: each is a file of its task's name."""

import sys
from collections import OrderedDict
from pathlib import Path

from flytekit import FlyteFile, StructuredDataset, kwtypes
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.extend import SQLTask
from flytekit.tools.translator import get_serializable

from agenthost.tasks import DataRetrieval


class Query(SQLTask[None]):
    """A task class as others write them: with the query in the custom part."""

    def get_custom(self, settings: SerializationSettings) -> dict[str, str]:
        return {"query": self.query_template}


airlines = sys.argv[2]
tasks = [
    DataRetrieval(
        name="far",
        query_template="""
            select a.name, max(f.distance) as miles -- the farthest flight of each
            from flights f join airlines a on a.carrier = f.carrier
            where f.distance >= {{ .inputs.least }} group by a.name order by miles desc, a.name
        """,
        inputs=kwtypes(flights=StructuredDataset, least=float),
        outputs=kwtypes(name=list[str], miles=list[float]),
        sources={"airlines": airlines},
    ),
    DataRetrieval(
        name="rows",
        query_template="select carrier, name from airlines where carrier in ('AA', 'UA') order by carrier",
        inputs=kwtypes(airlines=FlyteFile),
        outputs=kwtypes(rows=list[dict]),
    ),
    DataRetrieval(
        name="dataset",
        query_template="select distinct carrier from flights",
        inputs=kwtypes(flights=StructuredDataset),
        output_structured_dataset_type=StructuredDataset,
    ),
    Query(
        name="plain",
        task_type="data_retrieval",
        query_template="select count(*) as n from flights where distance > {{ .inputs.least }}",
        inputs=kwtypes(flights=StructuredDataset, least=int),
        outputs=kwtypes(n=int),
    ),
]
settings = SerializationSettings(image_config=ImageConfig(Image("default", "flytekit", "1")))
for task in tasks:
    template = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
    (Path(sys.argv[1]) / task.name).write_bytes(template.SerializeToString())
