"""Every configuration that the chart renders, given to `switchboard check` in the root of the image,
with the files that it names. What the gateway says to be in effect has every setting that it knows, and
the chart's schema has to know them, too.

    configured.py FOLDER ROOT SCRATCH SCHEMA    FOLDER has one NAME.yaml for each values file
"""

import json
import pathlib
import sys

import yaml

import material
from pod import Pod


# What the chart says itself, by `ports` and `listenHost`.
OURS = {"config.server.listen", "config.server.admin_listen"}


def main(folder, root, scratch, schema):
    schema = json.loads(pathlib.Path(schema).read_text())
    stuff = material.Material(pathlib.Path(scratch) / "certificates")
    problems, checked = [], 0
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        pod = Pod(path.read_text(), root, lambda name, key, path: stuff.of(path))
        command, *arguments = pod.container["args"]
        if command != "serve":
            continue  # the sandbox, which takes no configuration
        pod.mount()
        ran = pod.run("check", *arguments)
        checked += 1
        if ran.returncode:
            problems.append(f"{path.stem}: exit code {ran.returncode}: {ran.stderr.strip()}")
            continue
        effective = yaml.safe_load(ran.stdout)
        missing = set(unknown(effective, schema["properties"]["config"], schema["$defs"], "config"))
        problems += [f"{path.stem}: the schema does not know {it}" for it in missing - OURS]
        if not missing >= OURS:
            problems.append(f"{path.stem}: {ran.stdout}")
    print(f"{checked} configurations, {len(problems)} refused")
    sys.exit("\n".join(problems) or (None if checked else "nothing was checked"))


def unknown(effective, schema, defs, path):
    """Settings that the schema would refuse."""
    while "$ref" in schema or "then" in schema:
        schema = defs[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema["then"]
    if not isinstance(effective, dict):
        return
    for name, value in effective.items():
        name = name.removesuffix("_file")
        below = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if below:
            yield from unknown(value, below, defs, f"{path}.{name}")
        else:
            yield f"{path}.{name}"


if __name__ == "__main__":
    main(*sys.argv[1:])
