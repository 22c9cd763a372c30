"""Starts what the chart renders, in namespaces of its own: it gets ready, serves, takes a changed
secret without a restart, and drains within its grace period.

    started.py HELM CHART NOTES ROOT GRPCURL SCRATCH      NOTES: the sandbox's, rendered
"""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

from material import Material
from pod import BINARY, Failed, Pod, ask

LIST = "contactcenter.v1.SmsSessionData/ListSessions"
# The simulated vendor's.
PASSWORD = b"sandbox\n"


class Scene:
    def __init__(self, helm, chart, notes, root, grpcurl, scratch):
        self.helm, self.chart, self.grpcurl = helm, chart, grpcurl
        self.root = pathlib.Path(root)
        self.notes = pathlib.Path(notes).read_text()
        self.scratch = pathlib.Path(scratch)
        self.password = b"an old one\n"

    def rendered(self, values, *more):
        return subprocess.run(
            [self.helm, "template", "acceptance", self.chart, "--namespace", "acceptance",
             "--kube-version", "1.31", "--values", f"{self.chart}/ci/{values}-values.yaml", *more],
            capture_output=True, text=True, check=True,
        ).stdout

    def pod(self, values, *more):
        return Pod(self.rendered(values, *more), self.root, lambda name, key, path: self.password)

    def calling(self, port, *arguments):
        command = [self.grpcurl, "-plaintext", "-max-time", "20", f"127.0.0.1:{port}", *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def call(self, port, *arguments):
        calling = self.calling(port, *arguments)
        said = calling.communicate()[0]
        return calling.returncode, said


def sandbox(scene):
    """The sandbox mode, and every grpcurl line of its notes."""
    pod = scene.pod("sandbox")
    with running(pod, scene.scratch / "sandbox.log"):
        lines = re.findall(r"^ +(grpcurl (?:.*\\\n)*.*)$", scene.notes, re.MULTILINE)
        if len(lines) < 7:
            raise Failed(f"the notes have only {len(lines)} lines for grpcurl")
        for line in lines:
            words = shlex.split(line.replace("\\\n", " "))
            ran = subprocess.run(
                [scene.grpcurl, *words[1:]], capture_output=True, text=True, check=False
            )
            if ran.returncode:
                raise Failed(f"{line}\n{ran.stdout}{ran.stderr}")
        tested(scene, Pod(scene.rendered("sandbox"), scene.root, None, "Pod"))
        took = pod.ended(pod.terminate())
    return f"ready, {len(lines)} lines of the notes, helm test, ended after {took:.1f} of {pod.grace} s"


def other_ports(scene):
    """Ports and probes that are not the defaults."""
    pod = scene.pod("grpc-probes-ports")
    with running(pod, scene.scratch / "ports.log"):
        took = pod.ended(pod.terminate())
    return f"ready by gRPC, ended after {took:.1f} of {pod.grace} s"


def tested(scene, test):
    """The pod of `helm test`, which asks by the name of the Service, in a root of its own."""
    service = test.first("Service")["metadata"]["name"]
    test.root = scene.scratch / "test"
    shutil.copytree(scene.root, test.root, symlinks=True)
    (test.root / "etc/hosts").write_text(f"127.0.0.1 localhost {service}\n")
    test.mount()
    ran = test.run(*test.container["args"])
    shutil.rmtree(test.root)
    if ran.returncode:
        raise Failed(f"{test.container['args']}: {ran.stderr}")


def with_certificates(scene):
    """TLS, with certificates of callers."""
    stuff = Material(scene.scratch / "callers")
    manifests = scene.rendered("mtls-policy")
    pod, test = (
        Pod(manifests, scene.root, lambda name, key, path: stuff.of(path), kind)
        for kind in ("Deployment", "Pod")
    )
    with running(pod, scene.scratch / "tls.log"):
        tested(scene, test)
        code, said = scene.call(pod.port("grpc"), "list")
        if code == 0:
            raise Failed(f"a caller in clear is served: {said}")
        took = pod.ended(pod.terminate())
    return f"ready, helm test by certificate, ended after {took:.1f} of {pod.grace} s"


def serving(scene):
    """The main mode, in front of a simulated vendor."""
    with Vendor(scene) as vendor:
        # A delay that is shorter than the call which is in flight, so that it needs the drain.
        pod = scene.pod(
            "minimal", "--set", f"config.genesys.base_url={vendor.genesys}",
            "--set", "config.server.shutdown_delay=1s",
        )
        with running(pod, scene.scratch / "serve.log"):
            rotates(scene, pod)
            return drains(scene, pod, vendor)


def rotates(scene, pod):
    code, said = scene.call(pod.port("grpc"), LIST)
    if code == 0 or "VENDOR_CREDENTIAL_REJECTED" not in said:
        raise Failed(f"a wrong password is not told: {said}")
    scene.password = PASSWORD
    pod.mount_again()
    for _ in range(100):
        code, said = scene.call(pod.port("grpc"), LIST)
        if code == 0:
            return
        time.sleep(0.1)
    raise Failed(f"the changed password is not taken: {said}")


def drains(scene, pod, vendor):
    fault = {"operation": "ListSessions", "times": 1, "fault": {"kind": "latency", "ms": 3000}}
    ask(f"{vendor.control}/faults", "PUT", [fault])
    slow = scene.calling(pod.port("grpc"), LIST)
    until("the vendor has the call", lambda: b'"times":0' in vendor.faults())
    since = pod.terminate()
    until("/readyz says 503", lambda: pod.get("/readyz") == 503)
    if pod.get("/livez") != 200:
        raise Failed("a draining gateway is not alive")
    code, said = scene.call(pod.port("grpc"), LIST)
    if code:
        raise Failed(f"refused during the delay, when the cluster has not noticed yet: {said}")
    took = pod.ended(since)
    said = slow.communicate()[0]
    if slow.returncode:
        raise Failed(f"the call in flight was lost: {said}")
    return f"ready, took a changed secret, drained a call, ended after {took:.1f} of {pod.grace} s"


class Vendor:
    """A sandbox, for its simulated vendors."""

    def __init__(self, scene):
        self.log = scene.scratch / "vendor.log"
        addresses = ("--listen", "--admin-listen", "--control-listen")
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [scene.root / BINARY, "sandbox", *(f"{it}=127.0.0.1:0" for it in addresses)],
                stdout=out, stderr=out,
            )

    def __enter__(self):
        # The last line of what it prints.
        until("the simulated vendor serves", lambda: self.address("AICC"))
        self.genesys = self.address("Genesys")
        self.control = re.search(r"^faults +(http://[^/ ]+)", self.log.read_text(), re.MULTILINE)[1]
        return self

    def address(self, vendor):
        found = re.search(rf"^{vendor} +(http://\S+) .*\n", self.log.read_text(), re.MULTILINE)
        return found and found[1]

    def faults(self):
        return ask(f"{self.control}/faults").replace(b" ", b"")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class running:
    def __init__(self, pod, log):
        self.pod, self.log = pod, log

    def __enter__(self):
        self.pod.start(self.log)

    def __exit__(self, *_):
        self.pod.kill()


def until(what, holds):
    end = time.monotonic() + 30
    while not holds():
        if time.monotonic() > end:
            raise Failed(f"not within 30 s: {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        for act in (sandbox, other_ports, serving, with_certificates):
            print(f"{act.__doc__} {act(Scene(*sys.argv[1:]))}", flush=True)
    except Failed as failure:
        sys.exit(f"FAILED: {failure}")
