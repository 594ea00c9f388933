"""JSON Schemas (draft 2020-12) of every message, made from the models. ``docs/schemas/`` holds a copy."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from vesemir.contract.control import CONTROL_SCHEMA, ControlMessage, LaneControlMessage
from vesemir.contract.deploy import DEPLOY_SCHEMA, DeployEvent
from vesemir.contract.events import EVENTS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes out of the fields' names: they say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - pydantic's own union of schemas
        del schema
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title", None)
        return made


def deploy_schema() -> Schema:
    """The deploy event. Rules across ``rollout`` and ``haproxy`` are in words only (``docs/messages.md``)."""
    return _document(f"urn:{DEPLOY_SCHEMA.replace('/', ':')}", "Deploy event, version 1", DeployEvent)


def control_schema() -> Schema:
    """One about a deployment or one about a lane, told apart by ``command``."""
    models = (ControlMessage, LaneControlMessage)
    return {
        "$schema": DIALECT,
        "$id": f"urn:{CONTROL_SCHEMA.replace('/', ':')}",
        "title": "Control message, version 1",
        "oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in models],
        "$defs": component_schemas(models, "#/$defs/{model}"),
    }


def events_schema() -> Schema:
    """Any event: one of those in ``$defs``, told apart by ``event``."""
    definitions = component_schemas(EVENTS.values(), "#/$defs/{model}")
    return {
        "$schema": DIALECT,
        "$id": "urn:vesemir.events:1",
        "title": "Events, version 1",
        "oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in EVENTS.values()],
        "$defs": definitions,
    }


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "deploy": deploy_schema,
    "control": control_schema,
    "events": events_schema,
}


def component_schemas(models: Iterable[type[BaseModel]], reference: str) -> Schema:
    """The schemas of the models and of their parts by name; ``reference`` is how they point to each other."""
    _, made = models_json_schema(
        [(model, "validation") for model in models], ref_template=reference, schema_generator=_Untitled
    )
    definitions: Schema = made["$defs"]
    return definitions


def _document(identifier: str, title: str, model: type[BaseModel]) -> Schema:
    made = model.model_json_schema(schema_generator=_Untitled)
    return {"$schema": DIALECT, "$id": identifier, "title": title, **made}
