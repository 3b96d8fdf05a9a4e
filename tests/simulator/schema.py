"""
JSON schemas (with a few keywords only) of proper API responses, and a validator for them. They were copied by hand from
the API's published OpenAPI document, and from observation where that is silent or too strict (time formats; parts of an
envelope that may be missing). The simulator does not use them: tests compare its responses with them.
"""

import re

_TEXT_OR_NULL = {"type": ["string", "null"]}
_TIME_OR_NULL = {
    "type": ["string", "null"],
    "pattern": r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d|T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?)",
}
_TIME = {**_TIME_OR_NULL, "type": ["string"]}
_NAMESPACE_NAME = r"[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?"

_JOB = {
    "type": ["object"],
    "required": ["id", "source"],
    "properties": {
        "id": {"type": ["string"]},
        "source": {"type": ["string"], "enum": ["user", "schedule"]},
        "description": _TEXT_OR_NULL,
        "end_reason": _TEXT_OR_NULL,
        "started_at": _TIME_OR_NULL,
        "last_seen_at": _TIME_OR_NULL,
        "ended_at": _TIME_OR_NULL,
    },
}

_LOG_ENTRY = {
    "type": ["object"],
    "required": ["id", "created_at", "message", "message_type"],
    "properties": {
        "id": {"type": ["integer"]},
        "created_at": {"type": ["integer", "number"]},
        "message": {"type": ["string"]},
        "message_type": {"type": ["integer"]},
    },
}

_INSTANCE = {
    "type": ["object"],
    "required": ["id", "created_at", "modified_at"],
    "properties": {
        "id": {"type": ["string"], "pattern": r"[a-z0-9_]+(-[a-z0-9_]+)*"},
        "namespace": {"type": ["string", "null"], "pattern": _NAMESPACE_NAME},
        "created_at": _TIME,
        "modified_at": _TIME,
        "type": {"enum": ["r2", "web-crawler", None]},
        "source": _TEXT_OR_NULL,
        "sync_interval": {"enum": [900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]},
        "enable": {"type": ["boolean"]},
        "paused": {"type": ["boolean"]},
        "status": {"type": ["string"]},
        "last_activity": _TIME_OR_NULL,
    },
}

_STATS = {
    "type": ["object"],
    "properties": {
        **{name: {"type": ["integer"]} for name in ("queued", "running", "completed", "error", "skipped", "outdated")},
        "degraded": {"type": ["boolean"]},
        "last_activity": _TIME,
        "file_embed_errors": {"type": ["object"]},
        "index_source_errors": {"type": ["object"]},
        "engine": {"type": ["object"]},
    },
}

_NAMESPACE = {
    "type": ["object"],
    "required": ["name"],
    "properties": {
        "name": {"type": ["string"], "pattern": _NAMESPACE_NAME},
        "created_at": _TIME_OR_NULL,
        "description": _TEXT_OR_NULL,
    },
}

_ERROR_CHAIN_ENTRY = {
    "type": ["object"],
    "properties": {"code": {"type": ["integer"]}, "message": {"type": ["string"]}},
}

_ERROR_ENTRY = {
    "type": ["object"],
    "required": ["message"],
    "properties": {
        "code": {"type": ["integer", "number"]},
        "message": {"type": ["string"]},
        "error_chain": {"type": ["array"], "items": _ERROR_CHAIN_ENTRY},
        "path": {"type": ["array"], "items": {"type": ["string"]}},
    },
}

_RESULT_INFO = {
    "type": ["object"],
    "properties": {name: {"type": ["integer"]} for name in ("count", "page", "per_page", "total_count")},
}

_EMPTY_ARRAY = {"type": ["array"], "maxItems": 0}
_MESSAGES = {"type": ["array"], "items": {"type": ["object"]}}


def _success(result: dict, paged: bool) -> dict:
    properties = {"success": {"enum": [True]}, "errors": _EMPTY_ARRAY, "messages": _MESSAGES, "result": result}
    if paged:
        properties["result_info"] = _RESULT_INFO
    return {"type": ["object"], "required": ["success", "result"], "properties": properties}


JOB = _success(_JOB, paged=False)
LIST = _success({"type": ["array"], "items": _JOB}, paged=True)
LOGS = _success({"type": ["array"], "items": _LOG_ENTRY}, paged=True)
INSTANCE = _success(_INSTANCE, paged=False)
INSTANCES = _success({"type": ["array"], "items": _INSTANCE}, paged=True)
STATS = _success(_STATS, paged=False)
NAMESPACE = _success(_NAMESPACE, paged=False)
NAMESPACES = _success({"type": ["array"], "items": _NAMESPACE}, paged=True)
ERROR = {
    "type": ["object"],
    "required": ["success", "errors"],
    "properties": {
        "success": {"enum": [False]},
        "errors": {"type": ["array"], "minItems": 1, "items": _ERROR_ENTRY},
        "messages": _MESSAGES,
        "result": {"type": ["null", "object"]},
    },
}

_TYPES = {
    "null": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, float),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def violations(schema: dict, value: object, where: str = "$") -> list[str]:
    """Returns all violations of the schema by value; empty if it is valid."""
    if "type" in schema and not any(_TYPES[name](value) for name in schema["type"]):
        return [f"{where}: {value!r} is not of type {' or '.join(schema['type'])}"]
    found = []
    if "enum" in schema and not any(value == one and type(value) is type(one) for one in schema["enum"]):
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and isinstance(value, str) and not re.fullmatch(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, list):
        found += _array_violations(schema, value, where)
    if isinstance(value, dict):
        found += _object_violations(schema, value, where)
    return found


def _array_violations(schema: dict, value: list, where: str) -> list[str]:
    found = []
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        found.append(f"{where}: {len(value)} items")
    for n, item in enumerate(value):
        found += violations(schema.get("items", {}), item, f"{where}[{n}]")
    return found


def _object_violations(schema: dict, value: dict, where: str) -> list[str]:
    found = [f"{where}: no {name}" for name in schema.get("required", []) if name not in value]
    for name, part in schema.get("properties", {}).items():
        if name in value:
            found += violations(part, value[name], f"{where}.{name}")
    return found
