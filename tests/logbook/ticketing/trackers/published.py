"""What GitHub and GitLab publish of their interfaces, and whether requests and answers are so.

``published.json`` has the facts, of the paths that are used; ``README.md`` says where they are from.
"""

import json
from pathlib import Path

_KINDS = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


class Published:
    """What one of them publishes.

    Args:
        name: ``"github"`` or ``"gitlab"``.
    """

    def __init__(self, name):
        text = Path(__file__).with_name("published.json").read_text()
        facts = json.loads(text)[name]
        self._schemas = facts["schemas"]
        self.operations = facts["operations"]

    def faults_of_request(self, operation, arguments, body):
        """Return what is wrong with a request.

        Args:
            operation: Method and path, as they are published.
            arguments: Values of the query, by name.
            body: What it has as JSON; None if it has none.
        """
        facts = self.operations[operation]
        known = facts.get("query", {})
        for name, text in arguments.items():
            if name not in known:
                yield f"the parameter {name} is not published"
                continue
            wants_number = known[name].get("type") == "integer"
            value = int(text) if wants_number and text.isdecimal() else text
            if known[name].get("type") == "boolean":
                value = {"true": True, "false": False}.get(text, text)
            yield from self._faults(value, known[name], name)
        if "body" in facts:
            yield from self._faults(body, facts["body"], "body")
            # What is not published is dropped there without a word.
            for name in sorted((body or {}).keys() - facts["body"]["properties"].keys()):
                yield f"body: {name} is not published"
        elif body is not None:
            yield "a body, where none is published"

    def faults_of_answer(self, operation, status, document):
        """Return what is wrong with an answer that is a success."""
        schema = self.operations[operation]["answer"].get(str(status))
        if schema is None:
            yield f"the status {status} is not published"
        else:
            yield from self._faults(document, schema, "answer")

    def _faults(self, value, schema, where):
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"]]
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(_KINDS[kind](value) for kind in kinds):
            yield f"{where}: {value!r} is no {' or '.join(kinds)}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
        for word, is_right in (("oneOf", lambda count: count == 1), ("anyOf", bool)):
            if word in schema:
                fitting = [one for one in schema[word] if not list(self._faults(value, one, where))]
                if not is_right(len(fitting)):
                    yield f"{where}: {value!r} is {len(fitting)} of {word}"
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                yield from self._faults(item, schema["items"], f"{where}[{index}]")
        if isinstance(value, dict):
            for name in schema.get("required", ()):
                if name not in value:
                    yield f"{where}: {name} is missing"
            known = schema.get("properties", {})
            for name, item in value.items():
                if name in known:
                    yield from self._faults(item, known[name], f"{where}.{name}")
                elif schema.get("additionalProperties") is False:
                    yield f"{where}: {name} is not published"
