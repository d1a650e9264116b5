"""Test that the Kubernetes API stand-in answers like a real API server, in what the client reads."""

from __future__ import annotations

import json

import httpx

from tests.integration.kube_api import TOKEN, kube_api
from tests.integration.kube_exchanges import NAMESPACE, RECORDED, Answer, Exchange, answers


def test_the_stand_in_answers_as_recorded() -> None:
    with kube_api() as api, httpx.Client(base_url=api.url) as client:
        api.absent = {"nowhere.example"}

        def ask(exchange: Exchange) -> Answer:
            api.denied = {"serviceaccounts"} if exchange.user == "somebody" else set()
            headers = {"Authorization": f"Bearer {TOKEN if exchange.user != 'nobody' else 'wrong'}"}
            body = exchange.body("one")
            if body:
                headers["Content-Type"] = "application/apply-patch+yaml"
            answer = client.request(
                exchange.method,
                exchange.path.replace(NAMESPACE, "one"),
                params=exchange.query,
                headers=headers,
                content=json.dumps(body) if body else None,
            )
            return answer.status_code, answer.text

        assert answers(ask) == json.loads(RECORDED.read_text())
