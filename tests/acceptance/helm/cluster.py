"""A real API server with its etcd on this machine's loopback, for as long as it is wanted."""

import json
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

URL = "https://127.0.0.1:6443"
TOKEN = "acceptance"
ISSUER = "https://cluster.example"


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
             f"--service-account-issuer={ISSUER}",
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
