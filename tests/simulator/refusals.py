"""
All forms in which the API refuses requests, by name: status, body and headers. They were copied by hand from the API's
reference and its users' reports. The name contains status and code; the tables below are grouped by meaning.
"""

from typing import NamedTuple


class Refusal(NamedTuple):
    status: int
    body: dict
    headers: tuple[tuple[str, str], ...] = ()


def _refusal(status: int, code: int, message: str, **more) -> Refusal:
    """With a code and possibly other fields in the error."""
    error = {"code": code, "message": message, **more}
    return Refusal(status, {"success": False, "errors": [error], "messages": [], "result": None})


def _no_code(status: int, message: str) -> Refusal:
    return Refusal(status, {"success": False, "errors": [{"message": message}], "messages": [], "result": None})


def _bare(status: int, **error) -> Refusal:
    """The short envelope: without messages and with an empty result."""
    return Refusal(status, {"success": False, "errors": [error], "result": {}})


def _chained(*chain: tuple[int, str]) -> Refusal:
    return _refusal(400, 6003, "Invalid request headers",
                    error_chain=[{"code": code, "message": message} for code, message in chain])


def _throttled(code: int, message: str, seconds: int) -> Refusal:
    headers = (("Retry-After", f"{seconds}"), ("Ratelimit", f'"default";r=0;t={seconds}'))
    return _refusal(429, code, message)._replace(headers=headers)


def bad_query(name: str) -> Refusal:
    """An invalid query argument."""
    return _bare(400, message="Invalid input", path=["query", name])


_AUTHENTICATION = (10000, "Authentication error")
_UNABLE = (10001, "Unable to authenticate request")
_BAD_TOKEN = (9109, "Invalid access token")
_UNKNOWN_KEY = (9103, "Unknown X-Auth-Key or X-Auth-Email")
_NO_ROUTE = (7000, "No route for that URI")
_COULD_NOT_ROUTE = (7003, "Could not route to /accounts/0/ai-search, perhaps your object identifier is invalid?")

# The credential is rejected.
_CREDENTIAL = {
    "401": _refusal(401, *_AUTHENTICATION),
    "403_10000": _refusal(403, *_AUTHENTICATION),
    "400_10000": _refusal(400, *_AUTHENTICATION),
    "400_10001": _refusal(400, *_UNABLE),
    "403_10001": _refusal(403, *_UNABLE),
    "400_6003_6111": _chained((6111, "Invalid format for Authorization header")),
    "400_6003_6102_6103": _chained((6102, "Invalid format for X-Auth-Email header"),
                                   (6103, "Invalid format for X-Auth-Key header")),
    "403_9109": _refusal(403, *_BAD_TOKEN),
    "401_9109": _refusal(401, *_BAD_TOKEN),
    "400_9109": _refusal(400, *_BAD_TOKEN),
    "403_9109_location": _refusal(403, 9109, "Cannot use the access token from location: 192.0.2.7"),
    "403_9103": _refusal(403, *_UNKNOWN_KEY),
    "400_9103": _refusal(400, *_UNKNOWN_KEY),
    "400_9106": _refusal(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
}

# The credential is valid, but not for this resource, or the path does not exist.
_RESOURCE = {
    "403_9109_resource": _refusal(403, 9109, "Unauthorized to access requested resource"),
    "403_7003": _refusal(403, *_COULD_NOT_ROUTE),
    "400_7003": _refusal(400, *_COULD_NOT_ROUTE),
    "400_7000": _refusal(400, *_NO_ROUTE),
    "404_7000": _refusal(404, *_NO_ROUTE),
    "410_gone": _no_code(410, "Gone"),
}

# Invalid parameters.
_CLIENT = {
    "400_no_code": _no_code(400, "Bad Request"),
    "400_path": bad_query("per_page"),
}

# The resource does not exist.
_MISSING = {
    "404_job": _bare(404, code=7021, message="job_not_found"),
    "404_instance": _bare(404, code=7002, message="ai_search_not_found"),
    "404_namespace": _bare(404, code=7063, message="namespace_not_found"),
}

# Too many calls.
_LIMIT = {
    "429_10429": _throttled(10429, "Too Many Requests", 47),
    "429_971": _throttled(971, "Please wait and consider throttling your request speed", 47),
}

# A temporary problem of the API: retry.
_SERVER = {
    "500_7001": _refusal(500, 7001, "Internal Error"),
    "500_7068": _refusal(500, 7068, "Internal Error"),
    "503_7017": _refusal(503, 7017, "unable_to_connect_to_ai_search"),
}

# The API's documentation describes no error for this case: it is our own.
_OURS = {
    "405": _refusal(405, 10405, "Method not allowed")._replace(headers=(("Allow", "GET, HEAD"),)),
}

CREDENTIAL_FORMS = list(_CREDENTIAL)
RESOURCE_FORMS = list(_RESOURCE)
CLIENT_FORMS = list(_CLIENT)
MISSING_FORMS = list(_MISSING)
LIMIT_FORMS = list(_LIMIT)
SERVER_FORMS = list(_SERVER)

# The response to a call over the limit has its own headers.
TOO_MANY = _LIMIT["429_10429"]._replace(headers=())

_FORMS = {**_CREDENTIAL, **_RESOURCE, **_CLIENT, **_MISSING, **_LIMIT, **_SERVER, **_OURS}


def refusal(form: str) -> Refusal:
    """Returns the refusal with that name."""
    if form not in _FORMS:
        raise ValueError(f"a refusal is one of {', '.join(_FORMS)}")
    return _FORMS[form]


class Refused(Exception):
    """Ends a lookup without a result."""

    def __init__(self, what: Refusal | str) -> None:
        super().__init__(what)
        self.refusal = refusal(what) if isinstance(what, str) else what
