"""Writes the schemas beside it, from the packages that publish them; run by hand, with these two installed.

    pip install kubeflow-trainer-api==2.3.0 skypilot==0.14.1 && python tests/launch/schemas/make.py

Kept of each object are the names of all its fields, and what a field may hold where a file of `launch/` uses it: so a
field that does not exist, one that is missing and a value of the wrong type are found, in a small part of the size.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from kubeflow_trainer_api import models
from sky.utils import schemas

HERE = Path(__file__).parent
LAUNCH = HERE.parents[2] / "launch"
KINDS = {
    "JobSet": models.JobsetV1alpha2JobSet,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
    "TrainJob": models.TrainerV1alpha1TrainJob,
}
# Kubernetes reads these two from a number as well as from text; as models they are wrappers.
SCALARS = ("IoK8sApimachineryPkgApiResourceQuantity", "IoK8sApimachineryPkgUtilIntstrIntOrString")


def kept(schema: dict[str, Any], value: Any, definitions: dict[str, Any], strict: bool) -> dict[str, Any]:
    """As much of `schema` as `value` needs; `strict` allows objects no other fields than they name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return (
            {"type": ["string", "number"]} if name in SCALARS else kept(definitions[name], value, definitions, strict)
        )
    if strict and "anyOf" in schema:  # a field that may be left out
        (schema,) = [{**schema, **way} for way in schema["anyOf"] if way != {"type": "null"}]
        del schema["anyOf"]
        return kept(schema, value, definitions, strict)
    made = {key: schema[key] for key in ("type", "required", "anyOf", "minimum", "maximum", "pattern") if key in schema}
    if values := re.findall(r'- `"(\w+)"`', schema.get("description", "")):
        made["enum"] = values
    if "properties" in schema:
        made["properties"] = {
            name: kept(field, value[name], definitions, strict) if name in value else {}
            for name, field in schema["properties"].items()
        }
        made["additionalProperties"] = False if strict else schema.get("additionalProperties", True)
    elif isinstance(schema.get("additionalProperties"), dict) and value:
        made["additionalProperties"] = kept(
            schema["additionalProperties"], next(iter(value.values())), definitions, strict
        )
    elif "patternProperties" in schema:
        made |= {key: schema[key] for key in ("patternProperties", "additionalProperties")}
    if "items" in schema and value:
        made["items"] = kept(schema["items"], _merged(value), definitions, strict)
    return made


def _merged(values: list[Any]) -> Any:
    """One value with the fields of all."""
    if not isinstance(values[0], dict):
        return values[0]
    return {name: field for value in values for name, field in value.items()}


def _write(name: str, schema: dict[str, Any], source: str) -> None:
    schema = {"$comment": f"From {source}; Apache-2.0; trimmed by make.py.", **schema}
    (HERE / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    for file in ("jobset.yaml", "trainjob.yaml"):
        for document in yaml.safe_load_all((LAUNCH / file).read_text()):
            schema = KINDS[document["kind"]].model_json_schema(by_alias=True)
            _write(document["kind"], kept(schema, document, schema["$defs"], True), "kubeflow-trainer-api 2.3.0")
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    schema = kept(schemas.get_task_schema(), task, {}, False)
    schema["properties"]["resources"] = kept(schemas.get_resources_schema(), task["resources"], {}, False)
    _write("SkyPilot", schema, "skypilot 0.14.1")
