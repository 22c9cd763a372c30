"""A real API server takes every manifest by server-side apply, in a namespace that is held to the restricted
pod-security standard. The pods that Deployments would make are tried one by one, as a namespace
refuses pods and only warns of what makes them.

    apiserver.py FOLDER SERVERS SCRATCH     FOLDER: manifests; SERVERS: kube-apiserver and etcd
"""

import json
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

URL = "https://127.0.0.1:6443"
TOKEN = "acceptance"
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


class Cluster:
    def __init__(self, servers, scratch):
        self.scratch = pathlib.Path(scratch)
        self.started = []
        self.tls = ssl._create_unverified_context()
        key = self.scratch / "tokens.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (self.scratch / "tokens").write_text(f"{TOKEN},admin,admin,system:masters\n")
        self.start(
            [f"{servers}/etcd", "--data-dir", self.scratch / "etcd",
             "--listen-peer-urls=http://127.0.0.1:2380"])
        self.start(
            [f"{servers}/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
             "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
             f"--cert-dir={self.scratch}/certs", "--service-cluster-ip-range=10.0.0.0/24",
             "--service-account-issuer=https://cluster.example",
             f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
             f"--token-auth-file={self.scratch}/tokens", "--authorization-mode=AlwaysAllow",
             "--endpoint-reconciler-type=none"])

    def start(self, command):
        log = open(self.scratch / f"{pathlib.Path(command[0]).name}.log", "wb")
        self.started.append(subprocess.Popen(command, stdout=log, stderr=log))

    def stop(self):
        for process in reversed(self.started):
            process.terminate()
            process.wait()

    def ask(self, path, method="GET", body=None, kind="application/json"):
        request = urllib.request.Request(
            URL + path, None if body is None else json.dumps(body).encode(), method=method,
            headers={"authorization": f"Bearer {TOKEN}", "content-type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.tls) as answer:
                return answer.status, answer.read().decode(), answer.headers.get_all("warning") or []
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), []

    def until_ready(self):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if any(process.poll() is not None for process in self.started):
                break
            try:
                if self.ask("/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        log = (self.scratch / "kube-apiserver.log").read_text(errors="replace")
        sys.exit(f"the API server does not get ready:\n{log[-3000:]}")

    def apply(self, document):
        """Why it was not taken, or was taken with a warning; None when all is well."""
        path = self.path(document)
        query = "?fieldManager=acceptance&force=true&fieldValidation=Strict"
        status, said, warnings = self.ask(
            path + query, "PATCH", document, "application/apply-patch+yaml")
        if status not in (200, 201):
            return json.loads(said).get("message", said)
        return "; ".join(warnings) or None

    def path(self, document):
        version, name = document["apiVersion"], document["metadata"]["name"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        listed = json.loads(self.ask(base)[1])["resources"]
        found = next(
            it for it in listed if it["kind"] == document["kind"] and "/" not in it["name"])
        if found["namespaced"]:
            base += f"/namespaces/{document['metadata'].get('namespace', 'acceptance')}"
        return f"{base}/{found['name']}/{name}"


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
