"""Credentials at the simulator, and the forms in which the API rejects requests."""

import pytest

from simulator import refusals, schema
from simulator_requests import MANY, PLAIN, answer_of, error, get


def test_both_schemes_are_accepted(simulator):
    simulator.job(PLAIN, "a")
    both = [[("Authorization", f"Bearer {simulator.token}")],
            [("X-Auth-Email", simulator.email), ("X-Auth-Key", simulator.key)]]
    assert [get(simulator, PLAIN, "a", headers=headers).status for headers in both] == [200, 200]


@pytest.mark.parametrize("headers", [
    [],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer wrong")],
    [("Authorization", "Basic {token}")],
    [("Authorization", "Bearer {token}x")],
    [("X-Auth-Email", "{email}")],
    [("X-Auth-Key", "{key}")],
    [("X-Auth-Email", "{email}"), ("X-Auth-Key", "wrong")],
    [("X-Auth-Email", "other@example.com"), ("X-Auth-Key", "{key}")],
])
def test_invalid_credentials_are_rejected(simulator, headers):
    simulator.job(PLAIN, "a")
    known = {"token": simulator.token, "email": simulator.email, "key": simulator.key}
    sent = [(name, value.format(**known)) for name, value in headers]
    assert error(get(simulator, PLAIN, "a", headers=sent)) == (401, 10000, "Authentication error")


def test_duplicate_and_mixed_credentials_are_rejected(simulator):
    simulator.job(PLAIN, "a")
    twice = simulator.credential_headers * 2
    mixed = simulator.credential_headers + [("X-Auth-Email", simulator.email), ("X-Auth-Key", simulator.key)]
    assert [error(get(simulator, PLAIN, "a", headers=headers))[0] for headers in (twice, mixed)] == [400, 400]


def test_a_credential_is_valid_only_for_its_accounts(simulator):
    simulator.account(MANY, tokens=["another"], keys=[])
    simulator.instance(PLAIN, [{"id": "a"}], account=MANY)
    assert get(simulator, PLAIN, "a", account=MANY, headers=[("Authorization", "Bearer another")]).status == 200
    assert error(get(simulator, PLAIN, "a", account=MANY)) == (403, 10000, "Authentication error")
    assert error(get(simulator, PLAIN, "a", account="f" * 32))[:2] == (403, 10000)
    assert error(get(simulator, PLAIN, "a", account="f" * 32, headers=[]))[:2] == (401, 10000)


def test_credentials_can_be_replaced(simulator):
    simulator.job(PLAIN, "a")
    simulator.account(tokens=["next"], keys=[])
    assert get(simulator, PLAIN, "a").status == 401
    assert get(simulator, PLAIN, "a", headers=[("Authorization", "Bearer next")]).status == 200


ALL_FORMS = (refusals.CREDENTIAL_FORMS + refusals.RESOURCE_FORMS + refusals.CLIENT_FORMS + refusals.MISSING_FORMS
             + refusals.LIMIT_FORMS + refusals.SERVER_FORMS)


@pytest.mark.parametrize("form", ALL_FORMS)
def test_forms_of_refusals(simulator, form):
    """Each form matches its name, and can be selected for unknown credentials and as a fault."""
    simulator.job(PLAIN, "a")
    simulator.refusal(form)
    answer = get(simulator, PLAIN, "a", headers=[("Authorization", "Bearer wrong")])
    assert (answer.status, answer.body) == answer_of(form)
    assert schema.violations(schema.ERROR, answer.json()) == []
    numbers = [int(part) for part in form.split("_") if part.isdigit()]
    [one] = answer.json()["errors"]
    codes = [one.get("code"), *(link["code"] for link in one.get("error_chain", []))]
    assert numbers[0] == answer.status and (len(numbers) == 1 or numbers[1:] == codes)
    assert get(simulator, PLAIN, "a").status == 200

    fault = simulator.refuse(form, "/jobs/a$", times=1)
    faulty = get(simulator, PLAIN, "a")
    assert (faulty.status, faulty.json()) == (answer.status, answer.json())
    assert (get(simulator, PLAIN, "a").status, simulator.fault_hits(fault)) == (200, 1)


def test_headers_of_a_refusal(simulator):
    simulator.refuse("429_10429", times=1)
    answer = get(simulator, PLAIN)
    assert (answer.header("Retry-After"), answer.header("Ratelimit")) == ("47", '"default";r=0;t=47')
    simulator.refuse("429_971", headers=[["Retry-After", "3"]])
    answer = get(simulator, PLAIN)
    assert (answer.header("Retry-After"), answer.header("Ratelimit")) == ("3", None)


def test_refusal_form_applies_only_to_unknown_credentials(simulator):
    simulator.account(MANY, tokens=["another"], keys=[])
    simulator.refusal("400_6003_6111")
    assert error(get(simulator, PLAIN, "a", account=MANY))[:2] == (403, 10000)
    assert error(get(simulator, PLAIN, "a", headers=[]))[:2] == (400, 6003)
    simulator.refusal()
    assert error(get(simulator, PLAIN, "a", headers=[]))[:2] == (401, 10000)
