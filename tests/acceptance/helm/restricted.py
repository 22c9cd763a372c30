"""The restricted pod-security standard, as rules over a pod's spec, and what the chart adds to it."""

import copy

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}
PROFILES = {"RuntimeDefault", "Localhost"}

# Each breaks one rule, to show that the rule is there: a path into the spec, and a value.
BREAKS = [
    (("hostNetwork",), True),
    (("hostPID",), True),
    (("hostIPC",), True),
    (("automountServiceAccountToken",), True),
    (("enableServiceLinks",), True),
    (("volumes",), [{"name": "host", "hostPath": {"path": "/"}}]),
    (("securityContext", "runAsNonRoot"), False),
    (("securityContext", "runAsUser"), 0),
    (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
    (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    (("containers", 0, "ports"), [{"containerPort": 80, "hostPort": 80}]),
    (("containers", 0, "securityContext", "privileged"), True),
    (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
    (("containers", 0, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
    (("containers", 0, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["SYS_TIME"]}),
    (("containers", 0, "securityContext", "procMount"), "Unmasked"),
    (("containers", 0, "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    (("containers", 0, "securityContext", "runAsUser"), 0),
    (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False),
]


def pod_of(document):
    if document["kind"] == "Pod":
        return document["spec"]
    if document["kind"] == "Deployment":
        return document["spec"]["template"]["spec"]
    return None


def violations(pod):
    found = [it for it in ("hostNetwork", "hostPID", "hostIPC") if pod.get(it)]
    if pod.get("automountServiceAccountToken") is not False:
        found.append("automountServiceAccountToken is not false")
    if pod.get("enableServiceLinks") is not False:
        found.append("enableServiceLinks is not false")
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            found.append(f"volume {volume['name']}: {kinds}")
    shared = pod.get("securityContext", {})
    if shared.get("sysctls"):
        found.append("sysctls")
    for container in pod.get("initContainers", []) + pod["containers"]:
        found += [f"{container['name']}: {it}" for it in container_violations(container, shared)]
    ours = pod["containers"][0]
    if ours.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
        found.append(f"{ours['name']}: readOnlyRootFilesystem is not true")
    return found


def container_violations(container, shared):
    own = container.get("securityContext", {})
    both = {**shared, **own}
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if both.get("runAsUser") == 0:
        yield "runs as root"
    if both.get("seccompProfile", {}).get("type") not in PROFILES:
        yield "seccompProfile"


def unnoticed(pod):
    """The breaks of a pod that is in order which go unnoticed."""
    found = []
    for path, value in BREAKS:
        broken = copy.deepcopy(pod)
        node = broken
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value
        if not violations(broken):
            found.append(f"restricted: {path} = {value} is not noticed")
    return found
