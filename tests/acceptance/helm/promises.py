"""What each values file below `ci/` is there to show, asserted on what was rendered from it."""

import json
import re

KINDS = {
    "ConfigMap", "Deployment", "GRPCRoute", "HorizontalPodAutoscaler", "NetworkPolicy", "Pod",
    "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "Service", "ServiceAccount", "ServiceMonitor",
}


def broken(rendered):
    """The promises that are not kept, and the kinds that no values file makes."""
    found = []
    for name, holds in PROMISES:
        files = rendered if name == "*" else [name]
        for file in files:
            if file not in rendered:
                found.append(f"{file}: there is no such values file")
            elif not holds(Rendered(rendered[file])):
                found.append(f"{file}: not so: {holds.__doc__ or holds.__name__}")
    found += unrolled(rendered)
    made = {it["kind"] for documents in rendered.values() for it in documents}
    return found + [f"no values file makes a {it}" for it in sorted(KINDS - made)]


def unrolled(rendered):
    """A changed configuration must change the pods, and nothing else may by way of the checksum."""
    pairs = set()
    for it in map(Rendered, rendered.values()):
        config = it.configuration
        if config:
            annotations = it.deployment["template"]["metadata"]["annotations"]
            pairs.add((config, annotations["checksum/config"]))
    configs, sums = ({pair[side] for pair in pairs} for side in (0, 1))
    if len(pairs) > 1 and len(pairs) == len(configs) == len(sums):
        return []
    return [f"{len(configs)} configurations have {len(sums)} checksums"]


class Rendered:
    def __init__(self, documents):
        self.documents = documents

    def one(self, kind, suffix=""):
        """The only document of a kind, or None."""
        found = [
            it for it in self.documents
            if it["kind"] == kind and it["metadata"]["name"].endswith(suffix)
        ]
        return found[0] if len(found) == 1 else None

    @property
    def configuration(self):
        """The gateway's file, or None."""
        maps = [it["data"] for it in self.documents if it["kind"] == "ConfigMap"]
        return next((it["switchboard.yaml"] for it in maps if "switchboard.yaml" in it), None)

    @property
    def deployment(self):
        return self.one("Deployment")["spec"]

    @property
    def pod(self):
        return self.deployment["template"]["spec"]

    @property
    def gateway(self):
        return self.pod["containers"][0]


def every_service_finds_the_pods(it):
    labels = it.deployment["template"]["metadata"]["labels"]
    services = [doc["spec"] for doc in it.documents if doc["kind"] == "Service"]
    return len(services) == 2 and all(
        spec["selector"].items() <= labels.items() and all(p["appProtocol"] for p in spec["ports"])
        for spec in services
    )


def the_test_pod_gets_no_calls(it):
    pod = it.one("Pod", "-health")
    return pod is None or not (
        it.deployment["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    )


def the_name_that_resolves_to_pods_has_no_address_of_its_own(it):
    return it.one("Service", "-headless")["spec"]["clusterIP"] == "None"


def everybody_is_in_one_namespace(it):
    ours = [doc for doc in it.documents if "helm.sh/chart" in doc["metadata"].get("labels", {})]
    return ours and all(doc["metadata"]["namespace"] == "acceptance" for doc in ours)


def telemetry_says_which_pod(it):
    names = [variable["name"] for variable in it.gateway["env"]]
    # The kubelet puts in only what stands above.
    return names.index("OTEL_RESOURCE_ATTRIBUTES") > max(
        names.index(source) for source in ("POD_NAME", "POD_UID", "POD_NAMESPACE", "NODE_NAME")
    )


def what_the_image_says_of_itself_is_left_to_it(it):
    variables = {variable["name"]: variable.get("value") for variable in it.gateway["env"]}
    return "service.version" not in variables["OTEL_RESOURCE_ATTRIBUTES"]


def no_variable_is_there_twice(it):
    names = [variable["name"] for variable in it.gateway["env"]]
    return len(names) == len(set(names))


def a_variable_of_the_operator_goes_before_the_charts_own(it):
    variables = {variable["name"]: variable.get("value") for variable in it.gateway["env"]}
    return variables["OTEL_SERVICE_NAME"] == "contact-centre"


def a_pods_own_label_goes_before_the_common_one(it):
    labels = it.deployment["template"]["metadata"]["labels"]
    return labels["team"] == "gateways" and it.one("ServiceAccount")["metadata"]["labels"]["team"] == "all"


def the_test_goes_where_the_pods_may(it):
    test = it.one("Pod", "-health")["spec"]
    return all(test.get(key) == it.pod[key] for key in ("nodeSelector", "tolerations"))


def telemetry_speaks_what_the_collectors_port_does(it):
    variables = {variable["name"]: variable.get("value") for variable in it.gateway["env"]}
    return (
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4317")
        and variables.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc"
    )


def telemetry_goes_nowhere(it):
    return not any("OTLP" in variable["name"] for variable in it.gateway["env"])


def nothing_is_mounted_that_is_no_secret_of_the_cluster(it):
    return "volumes" not in it.pod and it.one("ConfigMap") is None


def one_pod(it):
    return it.deployment["replicas"] == 1 and it.one("PodDisruptionBudget") is None


def the_autoscaler_alone_counts_pods(it):
    spec = it.one("HorizontalPodAutoscaler")["spec"]
    return "replicas" not in it.deployment and len(spec["metrics"]) == 3 and spec["behavior"]


def the_grace_period_is_the_one_that_was_asked_for(it):
    return it.pod["terminationGracePeriodSeconds"] == 120


def the_grace_period_is_the_sum_rounded_up(it):
    return it.pod["terminationGracePeriodSeconds"] == 2 + 60 + 10


def constraints_are_about_our_pods_unless_they_say_otherwise(it):
    ours, other = it.pod["topologySpreadConstraints"]
    matched = ours["labelSelector"]["matchLabels"]
    return matched == it.deployment["selector"]["matchLabels"] and other["labelSelector"] == {
        "matchLabels": {"team": "contact-centre"}
    }


def the_old_pod_ends_before_the_new_one_begins(it):
    # Kubernetes refuses the settings of a rolling update beside it.
    return it.deployment["strategy"] == {"type": "Recreate"}


def half_of_the_pods_stay(it):
    spec = it.one("PodDisruptionBudget")["spec"]
    return spec["minAvailable"] == "50%" and "maxUnavailable" not in spec


def the_digest_goes_before_the_tag(it):
    return it.gateway["image"].startswith("images.example.com/contact-centre/switchboard@sha256:0123")


def every_pod_is_scraped_once(it):
    wanted = it.one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    services = [doc for doc in it.documents if doc["kind"] == "Service"]
    return [
        "admin" in [port["name"] for port in doc["spec"]["ports"]]
        for doc in services if wanted.items() <= doc["metadata"]["labels"].items()
    ] == [True]


def look_at(labels, queries):
    """Every series that a query looks at has these labels."""
    matchers = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    looked_at = [
        found for query in queries
        for found in re.findall(r"\b(?:switchboard|rpc_server|http_client|process)_\w+(?:{([^}]*))?", query)
    ]
    return len(looked_at) >= len(queries) > 10 and all(
        found.replace('", ', '",').startswith(matchers) for found in looked_at
    )


def alerts_know(**labels):
    """Every series that a rule looks at is one of this release, and its alerts say so."""

    def holds(it):
        rules = [rule for group in it.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
        return look_at(labels, [rule["expr"] for rule in rules]) and all(
            labels.items() <= rule["labels"].items() for rule in rules
        )

    holds.__doc__ = f"alerts look at {labels}"
    return holds


def the_dashboard_is_of_this_release(it):
    (file, text), = it.one("ConfigMap", "-dashboards")["data"].items()
    dashboard = json.loads(text)
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    queries += [it["query"]["query"] for it in dashboard["templating"]["list"] if it["type"] == "query"]
    labels = {"job": "acceptance-switchboard-headless", "namespace": "acceptance"}
    return look_at(labels, queries) and dashboard["title"] == "switchboard acceptance/acceptance-switchboard" \
        and dashboard["uid"] != "switchboard" and file == dashboard["uid"] + ".json"


def the_kubelet_asks_the_health_service(it):
    # Whether to begin the container anew is no question of health: that is no until the first keys are
    # fetched, and while as many connections are open as there may be.
    anew = [it.gateway[name]["httpGet"] for name in ("startupProbe", "livenessProbe")]
    return it.gateway["readinessProbe"]["grpc"] == {"port": 8443} and all(
        probe == {"path": "/livez", "port": "admin"} for probe in anew
    )


def calls_are_let_in_from_bots_and_go_out_to_three_places(it):
    spec = it.one("NetworkPolicy")["spec"]
    return len(spec["ingress"]) == 2 and len(spec["egress"]) == 3


def the_test_pod_may_call(it):
    labels = it.one("Pod", "-health")["metadata"]["labels"]
    return any(
        source.get("podSelector", {"matchLabels": {"-": "-"}})["matchLabels"].items() <= labels.items()
        for source in it.one("NetworkPolicy")["spec"]["ingress"][0]["from"]
    )


def certificates_come_from_secrets_and_config_maps(it):
    sources = [next(iter(source.items())) for source in it.pod["volumes"][0]["projected"]["sources"]]
    return {(kind, source["name"]) for kind, source in sources[1:]} == {
        ("secret", "genesys-agent1"), ("secret", "switchboard-tls"), ("configMap", "callers-ca"),
    }


PROMISES = [
    ("*", every_service_finds_the_pods),
    ("*", the_test_pod_gets_no_calls),
    ("*", the_name_that_resolves_to_pods_has_no_address_of_its_own),
    ("*", everybody_is_in_one_namespace),
    ("*", telemetry_says_which_pod),
    ("*", what_the_image_says_of_itself_is_left_to_it),
    ("*", no_variable_is_there_twice),
    ("extras", a_variable_of_the_operator_goes_before_the_charts_own),
    ("extras", a_pods_own_label_goes_before_the_common_one),
    ("availability", the_test_goes_where_the_pods_may),
    ("otel", telemetry_speaks_what_the_collectors_port_does),
    ("minimal", telemetry_goes_nowhere),
    ("sandbox", nothing_is_mounted_that_is_no_secret_of_the_cluster),
    ("sandbox", one_pod),
    ("autoscaling", the_autoscaler_alone_counts_pods),
    ("availability", the_grace_period_is_the_one_that_was_asked_for),
    ("every-setting", the_grace_period_is_the_sum_rounded_up),
    ("availability", constraints_are_about_our_pods_unless_they_say_otherwise),
    ("recreate", the_old_pod_ends_before_the_new_one_begins),
    ("availability", half_of_the_pods_stay),
    ("digest", the_digest_goes_before_the_tag),
    ("service-monitor", every_pod_is_scraped_once),
    ("service-monitor", alerts_know(job="acceptance-switchboard-headless", namespace="acceptance")),
    ("service-monitor", the_dashboard_is_of_this_release),
    ("pod-monitor", alerts_know(job="acceptance/acceptance-switchboard", namespace="acceptance")),
    ("extras", alerts_know(job='a "gateway"')),
    ("grpc-probes-ports", the_kubelet_asks_the_health_service),
    ("network-policy", calls_are_let_in_from_bots_and_go_out_to_three_places),
    ("network-policy", the_test_pod_may_call),
    ("mtls-policy", certificates_come_from_secrets_and_config_maps),
]
