"""Tokens of service accounts, as a real API server gives them, at a gateway that knows the cluster's keys:
what docs/CONFIGURATION.md says of them is done as it is said, and seen with grpcurl.

    tokens.py SERVERS SWITCHBOARD GRPCURL SCRATCH     SERVERS: kube-apiserver and etcd
"""

import base64
import json
import pathlib
import re
import subprocess
import sys
import time

from cluster import ISSUER, Cluster

ACCOUNTS = [("crm", "worker"), ("crm", "reader"), ("shop", "worker")]
GATEWAY = "127.0.0.1:50061"
SMS = "contactcenter.v1.SmsSessionData"
ATTACH = {"session_id": "0071023821aec011", "user_data": {"Topic": "billing"}}
CONFIG = """
server:
  listen: {gateway}
  admin_listen: 127.0.0.1:9091
  shutdown_delay: 0s
  jwt: {{ issuer: "{issuer}", audiences: [switchboard], jwks_file: {scratch}/jwks.json }}
policy:
  - {{ callers: ["jwt:system:serviceaccount:crm:worker"], methods: ["{sms}/*"], accounts: ["*"] }}
  - {{ callers: ["jwt:system:serviceaccount:crm:*"], methods: ["{sms}/List*"], accounts: [default] }}
genesys:
  base_url: {genesys}
  accounts:
    default: {{ username: agent1, password_file: {scratch}/password }}
"""


class Site:
    def __init__(self, servers, switchboard, grpcurl, scratch):
        self.switchboard, self.grpcurl = switchboard, grpcurl
        self.scratch = pathlib.Path(scratch)
        self.started = []
        self.cluster = Cluster(servers, scratch)

    def stop(self):
        for process in reversed(self.started):
            process.terminate()
            process.wait()
        self.cluster.stop()

    def run(self, *arguments):
        """Starts the binary; the path of what it prints."""
        path = self.scratch / f"{arguments[0]}.log"
        with open(path, "wb") as log:
            command = [self.switchboard, *arguments]
            self.started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return path

    def get(self, path):
        status, said, _ = self.cluster.ask(path)
        return said if status == 200 else sys.exit(f"{path}: {status} {said}")

    def account(self, namespace, name):
        metadata = {"name": name, "namespace": namespace}
        for document in [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        ]:
            problem = self.cluster.apply(document)
            if problem:
                sys.exit(problem)

    def token(self, namespace, name, audience):
        """What the kubelet asks for, and puts into the projected volume."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                   "spec": {"audiences": [audience], "expirationSeconds": 3600}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        status, said, _ = self.cluster.ask(path, "POST", request)
        return json.loads(said)["status"]["token"] if status == 201 else sys.exit(said)

    def call(self, method, token=None, message=None):
        """The code and the reason of a call, as grpcurl shows them."""
        header = ["-H", f"authorization: Bearer {token}"] if token else []
        command = [self.grpcurl, "-plaintext", *header, "-import-path", "proto", "-proto",
                   "contactcenter/v1/sms_session_data.proto", "-d", json.dumps(message or {}),
                   GATEWAY, f"{SMS}/{method}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode == 0:
            return "OK", None
        code = re.search(r"Code: (\w+)", done.stderr)
        info = re.search(r'/google.rpc.ErrorInfo",\s+"@value": "(\S+)"', done.stderr)
        if not code or not info:
            sys.exit(f"{command[-1]}: {done.stderr}")
        # grpcurl has no descriptor of it without reflection; its first field is the reason.
        info = base64.b64decode(info[1])
        return code[1], info[2:2 + info[1]].decode()


def until(what, true):
    end = time.monotonic() + 60
    while not (found := true()):
        if time.monotonic() > end:
            sys.exit(f"still waiting: {what}")
        time.sleep(0.1)
    return found


def start(site):
    """A cluster, and a gateway that is told of it only what docs/CONFIGURATION.md says."""
    site.cluster.until_ready()
    issuer = json.loads(site.get("/.well-known/openid-configuration"))["issuer"]
    (site.scratch / "jwks.json").write_text(site.get("/openid/v1/jwks"))
    for namespace, name in ACCOUNTS:
        site.account(namespace, name)
    printed = site.run("sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                       "--control-listen", "127.0.0.1:0")
    line = until("the sandbox", lambda: re.search(
        r"^Genesys +(\S+).*password: (.*)$", printed.read_text(), re.MULTILINE))
    (site.scratch / "password").write_text(line[2])
    config = site.scratch / "config.yaml"
    config.write_text(CONFIG.format(gateway=GATEWAY, issuer=issuer, scratch=site.scratch, sms=SMS,
                                    genesys=line[1]))
    site.run("serve", "--config", str(config))
    health = [site.switchboard, "health", "--addr", GATEWAY]
    until("the gateway", lambda: subprocess.run(health, capture_output=True).returncode == 0)
    return issuer


def main(*arguments):
    site, problems = Site(*arguments), []

    def expect(what, seen, code, reason=None):
        print(f"    {what}: {seen[0]} {seen[1] or ''}".rstrip())
        if seen != (code, reason):
            problems.append(f"{what}: {seen} and not {(code, reason)}")

    nobody = ("Unauthenticated", "CALLER_UNAUTHENTICATED")
    denied = ("PermissionDenied", "CALLER_DENIED")
    try:
        issuer = start(site)
        if issuer != ISSUER:
            problems.append(f"the issuer is {issuer}")
        worker = site.token("crm", "worker", "switchboard")
        reader = site.token("crm", "reader", "switchboard")
        stranger = site.token("shop", "worker", "switchboard")
        elsewhere = site.token("crm", "worker", "another")
        forged = worker[:-6] + ("A" * 6 if worker[-6:] != "A" * 6 else "B" * 6)
        expect("crm:worker lists", site.call("ListSessions", worker), "OK")
        expect("crm:worker writes", site.call("AttachUserData", worker, ATTACH), "OK")
        expect("no token", site.call("ListSessions"), *nobody)
        expect("a token for another audience", site.call("ListSessions", elsewhere), *nobody)
        expect("a token of the API server's own audience",
               site.call("ListSessions", site.token("crm", "worker", issuer)), *nobody)
        expect("a token whose signature is wrong", site.call("ListSessions", forged), *nobody)
        expect("crm:reader lists", site.call("ListSessions", reader), "OK")
        expect("crm:reader writes", site.call("AttachUserData", reader, ATTACH), *denied)
        expect("shop:worker lists", site.call("ListSessions", stranger), *denied)
        said = (site.scratch / "serve.log").read_text()
        if "jwt:system:serviceaccount:crm:worker" not in said:
            problems.append("the audit log does not name the caller")
        if any(token in said for token in (worker, reader, stranger, elsewhere)):
            problems.append("a token is in the log")
        print(json.loads(site.get("/version"))["gitVersion"])
    finally:
        site.stop()
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
