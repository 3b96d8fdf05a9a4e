"""What the tests of the simulator share: requests to it, and checks of its responses."""

import json

from harness import net
from harness.simulator import ACCOUNT
from simulator import refusals, schema

PLAIN = "instances/my-ai-search"
NAMESPACED = "namespaces/support/instances/tickets"
AUTORAG = "rags/old-docs"
GENERATIONS = (PLAIN, NAMESPACED, AUTORAG)
MANY = "00000000000000000000000000000000"


def get(simulator, instance, job=None, logs=False, query="", headers=None, account=ACCOUNT, **options):
    target = simulator.path(instance, job, logs, account) + query
    headers = simulator.credential_headers if headers is None else headers
    return net.request(simulator.address, target, headers, **options)


def result(simulator, instance, job=None, **options):
    response = get(simulator, instance, job, **options)
    assert response.status == 200, response
    return response.json()["result"]


def read(simulator, resource, query=""):
    """Requests a resource other than those of an instance's jobs."""
    return net.request(simulator.address, simulator.resource(resource) + query, simulator.credential_headers)


def listing(simulator, namespace=None, query=""):
    return net.request(simulator.address, simulator.listing(namespace) + query, simulator.credential_headers)


def error(response):
    """Checks the envelope of a rejection, and returns its status, code and message."""
    assert schema.violations(schema.ERROR, response.json()) == []
    assert response.header("Content-Type").startswith("application/json")
    first = response.json()["errors"][0]
    return response.status, first["code"], first["message"]


def bad_query(response):
    """Returns the argument that is named by a rejection without a code."""
    assert schema.violations(schema.ERROR, response.json()) == []
    assert response.status == 400
    [one] = response.json()["errors"]
    assert set(one) == {"message", "path"} and one["path"][0] == "query"
    return one["path"][1]


def answer_of(form):
    """Returns the status and the body of a refusal, in the API's own format."""
    refusal = refusals.refusal(form)
    return refusal.status, json.dumps(refusal.body, separators=(",", ":")).encode()


def pages(simulator, instance, per_page, job=None, logs=False):
    """Requests pages until one is empty, like the official SDKs."""
    page = 1
    while True:
        response = get(simulator, instance, job, logs, f"?page={page}&per_page={per_page}")
        yield response.json()
        if not response.json()["result"]:
            return
        page += 1


def limit_headers(response):
    """Returns limit, remaining calls and seconds until the reset, from the new form of headers."""
    reported = {}
    for name in ("Ratelimit", "Ratelimit-Policy"):
        if response.header(name) is not None:
            policy, *parameters = response.header(name).split(";")
            assert policy == '"default"'
            reported.update(parameter.split("=") for parameter in parameters)
    return [reported.get("q"), reported.get("r"), reported.get("t")]
