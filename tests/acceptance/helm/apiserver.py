"""A real API server takes every manifest by server-side apply, in a namespace that is held to the restricted
pod-security standard. The pods that Deployments would make are tried one by one, as a namespace
refuses pods and only warns of what makes them.

    apiserver.py FOLDER SERVERS SCRATCH     FOLDER: manifests; SERVERS: kube-apiserver and etcd
"""

import json
import pathlib
import sys

import yaml

from cluster import Cluster

# Their definitions belong to other projects; tests/acceptance/helm/custom.json has what is used of them.
CUSTOM = {"GRPCRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"}
# What a cluster has beside the release.
BESIDE = [
    {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1,
     "metadata": {"name": "high-priority"}},
    {"apiVersion": "v1", "kind": "ServiceAccount",
     "metadata": {"name": "contact-centre", "namespace": "acceptance"}},
    {"apiVersion": "v1", "kind": "ServiceAccount",
     "metadata": {"name": "default", "namespace": "acceptance"}},
]
NAMESPACE = {
    "apiVersion": "v1", "kind": "Namespace",
    "metadata": {"name": "acceptance", "labels": {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
    }},
}


def pod_of(deployment, name):
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"name": f"{name}-pod", "namespace": "acceptance",
                     "labels": template["metadata"]["labels"]},
    }


def main(folder, servers, scratch):
    cluster = Cluster(servers, scratch)
    try:
        cluster.until_ready()
        problems, applied = [], 0
        for document in [NAMESPACE, *BESIDE]:
            problems += [it for it in [cluster.apply(document)] if it]
        for path in sorted(pathlib.Path(folder).glob("*.yaml")):
            documents = [it for it in yaml.safe_load_all(path.read_text()) if it]
            documents = [it for it in documents if it["kind"] not in CUSTOM]
            # First what pods need to be taken.
            documents.sort(key=lambda it: it["kind"] != "ServiceAccount")
            pods = [pod_of(it, path.stem) for it in documents if it["kind"] == "Deployment"]
            for document in documents + pods:
                applied += 1
                problem = cluster.apply(document)
                if problem:
                    problems.append(f"{path.stem}: {document['kind']}: {problem}")
            for document in documents + pods:
                cluster.ask(cluster.path(document) + "?gracePeriodSeconds=0", "DELETE")
        problems += can_refuse(cluster, pods[0])
        print(f"{applied} objects, {json.loads(cluster.ask('/version')[1])['gitVersion']}")
    finally:
        cluster.stop()
    sys.exit("\n".join(problems) or None)


def can_refuse(cluster, pod):
    """A namespace that takes anything would show nothing."""
    pod["spec"]["serviceAccountName"] = "default"  # the release's own is gone by now
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    said = cluster.apply(pod) or ""
    return [] if "violates PodSecurity" in said else [f"a pod that is not restricted is taken: {said}"]


if __name__ == "__main__":
    main(*sys.argv[1:])
