"""What the secrets of a cluster would hold: passwords, and certificates made for the occasion."""

import base64
import json
import pathlib
import subprocess

AUTHORITY = """
[ca]
default_ca = all
[all]
database = index
default_md = sha256
default_crl_days = 30
crl_extensions = second_version
crlnumber = number
[second_version]
authorityKeyIdentifier = keyid:always
"""


class Material:
    """`folder` is where certificates are made, when one is asked for."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.made = False

    def of(self, path):
        """By the setting's name, which is the end of the path in the volume."""
        setting = path.rsplit("/", 1)[-1]
        if setting in ("password", "app_secret"):
            return b"a secret\n"
        if setting == "redis_url":
            return b"redis://:password@redis.example:6379/0\n"
        self.make()
        if setting == "jwks":
            return self.key_set()
        files = {"ca": "ca.pem", "client_ca": "ca.pem", "crl": "crl.pem"}
        files.update({"cert": "leaf.pem", "client_cert": "leaf.pem"})
        files.update({"key": "leaf.key", "client_key": "leaf.key"})
        return (self.folder / files[setting]).read_bytes()

    def make(self):
        if self.made:
            return
        self.made = True
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "index").touch()
        (self.folder / "number").write_text("01\n")
        (self.folder / "authority").write_text(AUTHORITY)
        new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        self.openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority",
                     "-addext", "keyUsage=keyCertSign,cRLSign")
        self.openssl(*new, "-keyout", "leaf.key", "-out", "leaf.pem", "-subj", "/CN=switchboard",
                     "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE",
                     "-addext", "subjectAltName=DNS:acceptance-switchboard,IP:127.0.0.1")
        self.openssl("ca", "-gencrl", "-config", "authority", "-keyfile", "ca.key",
                     "-cert", "ca.pem", "-out", "crl.pem")

    def key_set(self):
        line = self.openssl("rsa", "-in", "leaf.key", "-noout", "-modulus")
        modulus = base64.urlsafe_b64encode(bytes.fromhex(line.strip().split("=")[1])).rstrip(b"=")
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "e": "AQAB"}
        return json.dumps({"keys": [{**key, "n": modulus.decode()}]}).encode()

    def openssl(self, *arguments):
        ran = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise SystemExit(f"openssl {arguments[0]}: {ran.stderr}")
        return ran.stdout
