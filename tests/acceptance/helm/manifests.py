"""Holds rendered manifests against Kubernetes: schemas, restricted pod security, and what the chart
promises of each feature.

    manifests.py FOLDER FILE     one file NAME.yaml for each values file; one that is held against schemas only
"""

import copy
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

import promises
import restricted

VERSIONS = [f"1.{minor}" for minor in range(28, 38)]
# Kinds that no Kubernetes brings with it, by hand-written schemas of what the chart uses of them.
CUSTOM = json.loads(pathlib.Path(__file__).with_name("custom.json").read_text())


class Strict(yaml.SafeLoader):
    """Of two values of one key Helm takes the last, and others refuse both."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise SystemExit(f"{self.name}: {key} is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def strictly(path):
    with open(path) as text:
        return [it for it in yaml.load_all(text, Strict) if it]


def main(folder, odd):
    rendered = {
        path.stem: strictly(path)
        for path in sorted(pathlib.Path(folder).glob("*.yaml"))
    }
    if not rendered:
        sys.exit(f"{folder} holds no manifests")
    problems = can_fail(next(iter(rendered.values())))
    # Most documents are the same in many files: each is looked at once.
    distinct = {}
    for name, documents in rendered.items():
        for document in documents:
            distinct.setdefault(json.dumps(document, sort_keys=True), (name, document))
    checked = 0
    for name, document in [*distinct.values(), *(("numbered", it) for it in strictly(odd))]:
        title = f"{name}: {document['kind']} {document['metadata']['name']}"
        checked += 1
        problems += [f"{title}: {it}" for it in against_schemas(document)]
        pod = restricted.pod_of(document)
        if pod:
            problems += [f"{title}: {it}" for it in restricted.violations(pod)]
    problems += promises.broken(rendered)
    print(f"{len(rendered)} files, {checked} distinct documents, {len(VERSIONS)} versions")
    sys.exit("\n".join(problems) or None)


def against_schemas(document):
    custom = CUSTOM.get(f"{document['apiVersion']}/{document['kind']}")
    if custom:
        errors = jsonschema.Draft202012Validator(custom).iter_errors(document)
        return [f"{error.json_path}: {error.message}" for error in errors]
    return [it for version in VERSIONS for it in against_version(document, version)]


def against_version(document, version):
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(str(it) for it in error.path)
        return [f"Kubernetes {version}: {where}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"Kubernetes {version}: {error.message}"]
    return []


def can_fail(documents):
    """A check that lets anything pass would show nothing."""
    deployment = next(it for it in documents if it["kind"] == "Deployment")
    odd = copy.deepcopy(deployment)
    odd["spec"]["template"]["spec"]["serviceLinks"] = False
    passed = [it for it in VERSIONS if not against_version(odd, it)]
    problems = [f"Kubernetes {it}: an unknown field is not noticed" for it in passed]
    return problems + restricted.unnoticed(restricted.pod_of(deployment))


if __name__ == "__main__":
    main(*sys.argv[1:])
