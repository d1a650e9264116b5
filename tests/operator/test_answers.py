"""Tests that a real API server gives the answers with which the tests' stand-in is checked."""

from __future__ import annotations

import json
import os

from kubernetes import config
from kubernetes.client import ApiClient, Configuration

from tests.integration.kube_exchanges import NAMESPACE, RECORDED, Answer, Exchange, answers
from tests.operator.cluster import Cluster


def test_the_recorded_answers_are_those_of_this_api_server(cluster: Cluster, namespace: str) -> None:
    """Compare the recorded answers with this server's; record them if OPERATOR_TEST_RECORD is set."""
    configuration = Configuration()
    configuration.retries = False
    config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    admin = ApiClient(configuration)
    unknown = Configuration(host=configuration.host)
    unknown.ssl_ca_cert = configuration.ssl_ca_cert
    unknown.api_key = {"BearerToken": "Bearer wrong"}
    nobody = ApiClient(unknown)

    def ask(exchange: Exchange) -> Answer:
        api = nobody if exchange.user == "nobody" else admin
        headers = {"Accept": "application/json"}
        body = exchange.body(namespace)
        if body:
            headers["Content-Type"] = "application/apply-patch+yaml"
        if exchange.user == "somebody":
            headers["Impersonate-User"] = "somebody"
        request = api.param_serialize(
            method=exchange.method,
            resource_path=exchange.path.replace(NAMESPACE, namespace),
            query_params=list(exchange.query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = api.call_api(*request)
        return answer.status, answer.read().decode()

    found = answers(ask)
    if os.environ.get("OPERATOR_TEST_RECORD"):
        RECORDED.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(RECORDED.read_text())
