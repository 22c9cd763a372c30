"""The schema and the values speak of the same keys, and the schema knows all of them.

    values.py CHART
"""

import json
import pathlib
import sys

import yaml


def main(chart):
    chart = pathlib.Path(chart)
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    problems = list(differences(values, schema, schema["$defs"], ""))
    problems += loose(schema, "")
    sys.exit("\n".join(problems) or None)


def differences(values, schema, defs, path):
    """Closed sections only: below an open one the schema says all, and the values are examples."""
    if "$ref" in schema:
        schema = defs[schema["$ref"].rsplit("/", 1)[-1]]
    known = schema.get("properties")
    if known is None or not isinstance(values, dict):
        return
    for name in values.keys() - known.keys():
        yield f"{path}{name} is in the values, and the schema refuses it"
    # A probe may have settings that have a default in Kubernetes.
    if not path.startswith("probes."):
        for name in known.keys() - values.keys() - {"global"}:
            yield f"{path}{name} is in the schema, and the values do not show it"
    for name in values.keys() & known.keys():
        yield from differences(values[name], known[name], defs, f"{path}{name}.")


def loose(schema, path):
    """Sections with named keys that would let others in."""
    if isinstance(schema, list):
        return [it for index, part in enumerate(schema) for it in loose(part, f"{path}/{index}")]
    if not isinstance(schema, dict):
        return []
    found = [it for name, part in schema.items() for it in loose(part, f"{path}/{name}")]
    if schema.get("type") == "object" and "properties" in schema:
        if schema.get("additionalProperties") is not False:
            found.append(f"{path} lets unknown keys in")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
