"""OTLP in JSON: log records, and the requests that carry them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from sprockets.logbook import _caller
from sprockets.logbook._text import safe_str
from sprockets.logbook.handlers._plain import is_int64

_caller.register(__file__)


class JSON:
    """OTLP in JSON.

    Source: OTLP specification, "JSON Protobuf Encoding": names in lowerCamelCase, ids in
    hexadecimal, 64-bit numbers as text.
    """

    def item(self, scope: str, facts: Mapping[str, Any]) -> bytes:
        record: dict[str, Any] = {
            "timeUnixNano": str(facts["time"]),
            "observedTimeUnixNano": str(facts["observed"]),
            "severityNumber": facts["severity"],
            "severityText": facts["severity_text"],
            "body": {"stringValue": facts["body"]},
            "attributes": _json_pairs(facts["attributes"]),
        }
        if facts["dropped"]:
            record["droppedAttributesCount"] = facts["dropped"]
        if facts["trace_id"]:
            record["traceId"] = facts["trace_id"]
        if facts["span_id"]:
            record["spanId"] = facts["span_id"]
        if facts["flags"] is not None:
            record["flags"] = facts["flags"]
        # A line break is in neither of them.
        return f"{json.dumps(scope)}\n{_dump(record)}".encode("ascii")

    def request(self, resource: Mapping[str, Any], items: list[bytes]) -> bytes:
        scopes: dict[bytes, list[bytes]] = {}
        for item in items:
            scope, _, record = item.partition(b"\n")
            scopes.setdefault(scope, []).append(record)
        return b'{"resourceLogs":[{"resource":{"attributes":%s},"scopeLogs":[%s]}]}' % (
            _dump(_json_pairs(resource)).encode("ascii"),
            b",".join(
                [
                    b'{"scope":{"name":%s},"logRecords":[%s]}' % (scope, b",".join(records))
                    for scope, records in scopes.items()
                ]
            ),
        )

    def rejected(self, body: bytes) -> int:
        try:
            said = json.loads(body)["partialSuccess"]
            return max(int(said.get("rejectedLogRecords", 0)), 0)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return 0


def _dump(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _json_pairs(pairs: Mapping[str, Any]) -> list[dict[str, Any]]:
    # "value": {} is how an empty value should look, but receivers refuse it, and all with it.
    return [
        {"key": name} if value is None else {"key": name, "value": _json_value(value)}
        for name, value in pairs.items()
    ]


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if is_int64(value) else {"stringValue": safe_str(value)}
    if isinstance(value, float):
        # Protocol Buffers say "NaN" and "Infinity" here, which receivers refuse, and all with it.
        return {"doubleValue": value} if math.isfinite(value) else {"stringValue": str(value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_json_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _json_pairs(value)}}
    return {"stringValue": ""}
