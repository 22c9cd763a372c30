"""The first container of a rendered Deployment or Pod, run as a process: its arguments, variables,
mounts, user and probes as a kubelet would have them, in the root of the image."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import yaml

import projected

BINARY = "usr/local/bin/switchboard"
FIELDS = {
    "metadata.name": "acceptance-switchboard-0", "metadata.namespace": "acceptance",
    "metadata.uid": "00000000-0000-0000-0000-000000000000", "spec.nodeName": "node-1",
}


class Failed(Exception):
    pass


class Pod:
    """`secret(name, key, path)` gives the bytes of a file that comes from the cluster."""

    def __init__(self, manifests, root, secret, kind="Deployment"):
        self.documents = [it for it in yaml.safe_load_all(manifests) if it]
        self.root = pathlib.Path(root)
        self.secret = secret
        self.process = None
        spec = self.first(kind)["spec"]
        self.spec = spec["template"]["spec"] if "template" in spec else spec
        self.container = self.spec["containers"][0]
        self.grace = self.spec.get("terminationGracePeriodSeconds")

    def first(self, kind):
        return next(it for it in self.documents if it["kind"] == kind)

    def port(self, name):
        return next(it["containerPort"] for it in self.container["ports"] if it["name"] == name)

    def mount(self):
        self.each_volume(projected.clear)
        self.mount_again()

    def mount_again(self):
        """As the kubelet does when a secret has changed: the container is not told."""
        self.each_volume(lambda folder, volume: projected.lay(folder, volume, self.contents))

    def each_volume(self, act):
        volumes = {it["name"]: it for it in self.spec.get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            folder = self.root / mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            act(folder, volumes[mount["name"]].get("projected", {"sources": []})["sources"])

    def contents(self, kind, name, key, path):
        for document in self.documents:
            if document["kind"] == "ConfigMap" and document["metadata"]["name"] == name:
                return document["data"][key].encode()
        return self.secret(name, key, path)

    def variables(self):
        env = {}
        for it in self.container.get("env", []):
            if "value" in it:
                value = re.sub(r"\$\((\w+)\)", lambda m: env.get(m[1], m[0]), it["value"])
            elif "fieldRef" in it["valueFrom"]:
                value = FIELDS[it["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                continue  # an optional key of a secret that is not there
            env[it["name"]] = value
        return env

    def command(self, *arguments):
        user, group = (self.spec["securityContext"][it] for it in ("runAsUser", "runAsGroup"))
        # Who is not root cannot become somebody else, and is in a user namespace then.
        become = [f"--userspec={user}:{group}"] if os.environ.get("AS_ROOT") else []
        return [shutil.which("chroot"), *become, str(self.root), f"/{BINARY}", *arguments]

    def run(self, *arguments):
        return subprocess.run(
            self.command(*arguments), env=self.variables(), capture_output=True, text=True,
            timeout=60, check=False,
        )

    def start(self, log):
        self.mount()
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                self.command(*self.container["args"]), env=self.variables(), stdout=out, stderr=out
            )
        for name in ("startupProbe", "readinessProbe"):
            self.until_passes(name, log)
        if not self.passes("livenessProbe"):
            raise Failed("the liveness probe does not pass")

    def until_passes(self, name, log):
        probe = self.container[name]
        # A slow machine starts slowly; the pod would be begun anew after these.
        end = time.monotonic() + max(30, probe["periodSeconds"] * probe["failureThreshold"])
        while not self.passes(name):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"{name} does not pass:\n{pathlib.Path(log).read_text()}")
            time.sleep(0.1)

    def passes(self, name):
        probe = self.container[name]
        if "grpc" in probe:
            return self.run("health", f"--addr=127.0.0.1:{probe['grpc']['port']}").returncode == 0
        return self.get(probe["httpGet"]["path"]) == 200

    def get(self, path):
        try:
            url = f"http://127.0.0.1:{self.port('admin')}{path}"
            return urllib.request.urlopen(url, timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def ended(self, since):
        """Within the grace period, and with a drain that was not cut."""
        try:
            code = self.process.wait(self.grace - (time.monotonic() - since))
        except subprocess.TimeoutExpired:
            raise Failed(f"did not end within {self.grace} s") from None
        if code:
            raise Failed(f"ended with exit code {code}")
        return time.monotonic() - since

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def ask(url, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()
