"""
What an upstream may do to us: each behaviour once, with how it is done, and what nginx and collectd have to make of it.

"poison" stands in whatever must not get any further.
"""

import dataclasses
import email.utils
import gzip
import json
import time
from collections.abc import Callable, Iterator

from harness import stall
from harness.illness import Illness, Script

# How long a fetch may take where the upstream stalls, and where it does not.
SHORT, LONG = 1.0, 5.0

STATUSES = {"timeout": 504, "rate_limited": 503}  # of the other causes: 502


@dataclasses.dataclass(frozen=True)
class Behaviour:
    name: str
    text: str
    illness: Illness
    cause: str | None  # of the fault, as the log has it; None: it is an answer
    status: int  # for a client of nginx who waits for the fetch
    patience: int = 0  # seconds for which it does not want to be asked again
    stalls: bool = False  # so that it takes all the time that a fetch may take
    words: str | None = None  # the API's own for its refusal, where clients of nginx get to see them

    @property
    def timeout(self) -> float:
        return SHORT if self.stalls else LONG

    @property
    def closes(self) -> bool:
        """It ends all look-ups with this credential for a while."""
        return self.cause in ("rate_limited", "credential")


def job(job_id: str, **fields) -> str:
    return _envelope(success=True, result={"id": job_id, "source": "user", **fields})


def well(job_id: str, version: int) -> str:
    """The body of a proper answer."""
    return job(job_id, description=f"version {version}", started_at="2026-11-23T12:00:00Z")


def poison(job_id: str) -> str:
    """As good as a proper answer, but for how it comes."""
    return job(job_id, description="poison", started_at="2026-11-23T12:00:00Z", ended_at="2026-11-23T12:30:00Z")


def error(code: int, message: str = "no") -> str:
    return _envelope(success=False, errors=[{"code": code, "message": message}])


def _envelope(success: bool, result=None, errors=()) -> str:
    return json.dumps({"success": success, "errors": list(errors), "messages": [], "result": result})


HTML = "<!DOCTYPE html><html><title>poison</title></html>"

# No answer of nginx's may have any of these.
HEADERS = [("X-Poison", "poison"), ("Set-Cookie", "poison=1")]


def send(data: str) -> dict:
    return {"send": data}


def http(*lines: str, body: str = "") -> dict:
    return send("\r\n".join(lines) + "\r\n\r\n" + body)


def answer(status: int, body: str = "", *headers: tuple[str, str], length: int | None = None) -> Script:
    return [stall.response(status, body, [*HEADERS, *headers], len(body) if length is None else length)]


def always(script: Script) -> Callable[[str], Script]:
    return lambda job_id: script


def pieces(text: str, every: float) -> Script:
    return [step for piece in text for step in (send(piece), {"sleep": every})]


# ---- connections ----------------------------------------------------------------------------------------------------

def _connections() -> Iterator[Behaviour]:
    def greeting(name: str, text: str, script: Script, cause: str, **more) -> Behaviour:
        return _failing(name, text, Illness(greets=script), cause, **more)

    def answering(name: str, text: str, script: Script, cause: str, **more) -> Behaviour:
        return _failing(name, text, Illness(answers=always(script)), cause, **more)

    yield _failing("refused", "refuses connections", Illness(listens="no"), "connect")
    yield _failing("black_hole", "does not answer a connect", Illness(listens="full"), "timeout", stalls=True)
    yield greeting("silent", "accepts, and says nothing", [{"sleep": stall.HOUR}], "timeout", stalls=True)
    yield greeting("fin_at_once", "FIN at once", stall.close_at_once(), "connect")
    yield greeting("rst_at_once", "RST at once", [{"reset": True}], "connect")
    yield answering("fin_after_request", "FIN after the request", stall.close_at_once(), "connect")
    yield answering("rst_after_request", "RST after the request", stall.reset_before_headers(), "connect")
    half = send("HTTP/1.1 200 OK\r\nContent-")
    yield answering("fin_in_header", "FIN within the header", [half, {"close": True}], "server")
    yield answering("rst_in_header", "RST within the header", [half, {"sleep": 0.05}, {"reset": True}], "server")
    yield answering("fin_in_body", "FIN within the body", stall.truncated(), "body")
    yield answering("rst_in_body", "RST within the body", stall.reset_in_body(), "body")
    yield greeting("smtp", "speaks SMTP", stall.not_http(), "server")
    yield answering("binary", "answers with binary garbage", [send("\x00\x01\xfe\xff" * 64), {"close": True}], "server")


# ---- slowness and size ----------------------------------------------------------------------------------------------

def _excess() -> Iterator[Behaviour]:
    def answering(name: str, text: str, answers: Callable[[str], Script] | Script, cause: str, **more) -> Behaviour:
        return _failing(name, text, Illness(answers=answers if callable(answers) else always(answers)), cause, **more)

    yield answering("no_header", "no header", stall.no_headers(), "timeout", stalls=True)
    yield answering("half_header", "half a header", stall.half_headers(), "timeout", stalls=True)
    yield answering("slow_header", "header at a byte per second", pieces("HTTP/1.1 200 OK\r\n" * 4, 1), "timeout",
                    stalls=True)
    yield answering("no_body", "header, but no body", stall.no_body(), "timeout", stalls=True)
    yield answering("slow_body", "body at a byte per second", stall.slow_body(), "timeout", stalls=True)
    yield answering("endless_body", "endless body", stall.endless_body(), "body")
    yield answering("endless_interim", "100 Continue without end",
                    [{"repeat": None, "every": 0.05, "send": "HTTP/1.1 100 Continue\r\n\r\n"}], "timeout", stalls=True)
    yield answering("large", "body over the cap, with its length",
                    lambda job_id: answer(200, poison(job_id) + " " * (1 << 20)), "body")
    yield answering("large_unknown", "body over the cap, of unknown length",
                    lambda job_id: [http("HTTP/1.0 200 OK", body=poison(job_id) + " " * (1 << 20)), {"close": True}],
                    "body")
    yield answering("large_claim", "Content-Length of 2^62", answer(200, "{", length=1 << 62), "body")
    yield answering("long_line", "header line of 1 MiB",
                    [http("HTTP/1.1 200 OK", "X-Poison: " + "p" * (1 << 20), "Content-Length: 0")], "server")


# ---- framing --------------------------------------------------------------------------------------------------------

def _framing() -> Iterator[Behaviour]:
    def answering(name: str, text: str, answers: Callable[[str], Script], cause: str, **more) -> Behaviour:
        return _failing(name, text, Illness(answers=answers), cause, **more)

    def chunked(*chunks: str, end: str = "0\r\n\r\n") -> Script:
        body = "".join(f"{len(chunk):x}\r\n{chunk}\r\n" for chunk in chunks) + end
        return [http("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=body), {"close": True}]

    def gzipped(text: str) -> str:
        return gzip.compress(text.encode()).decode("latin-1")

    bomb = gzipped(" " * (50 << 20))

    yield answering("length_short", "Content-Length too small",
                    lambda job_id: answer(200, poison(job_id), length=20), "body")
    yield answering("length_long", "Content-Length too great",
                    lambda job_id: [*answer(200, poison(job_id), length=1000), {"close": True}], "body")
    yield answering("length_negative", "Content-Length negative", lambda job_id: [
        http("HTTP/1.1 200 OK", "Content-Length: -1", body=poison(job_id)), {"close": True}], "server")
    yield answering("length_twice", "two Content-Lengths",
                    lambda job_id: [*answer(200, poison(job_id), ("Content-Length", "7")), {"close": True}], "body")
    yield answering("bad_chunks", "chunks that are garbage", always(stall.bad_chunks()), "body")
    yield answering("chunk_overflow", "chunk of 2^64 bytes",
                    lambda job_id: chunked(end=f"{1 << 64:x}\r\n{poison(job_id)}"), "body")
    yield answering("chunks_cut", "chunks that end early", lambda job_id: chunked(poison(job_id)[:30], end=""), "body")
    yield answering("gzip", "gzip, when none was asked for", lambda job_id: answer(
        200, gzipped(poison(job_id)), ("Content-Encoding", "gzip")), "body")
    yield answering("gzip_bomb", "gzip bomb", always(answer(200, bomb, ("Content-Encoding", "gzip"))), "body")
    yield answering("encoding", "an unknown Content-Encoding",
                    lambda job_id: answer(200, "\x1b\x0a\x00poison", ("Content-Encoding", "br")), "body")


# ---- statuses -------------------------------------------------------------------------------------------------------

def _statuses(trap: str) -> Iterator[Behaviour]:
    def answering(name: str, text: str, script: Script, cause: str | None, status: int = 0, **more) -> Behaviour:
        return Behaviour(name, text, Illness(answers=always(script)), cause, status or STATUSES.get(cause, 502), **more)

    def before(name: str, text: str, *steps: dict) -> Behaviour:
        """Something that comes before an answer and does it no harm."""
        return Behaviour(name, text, Illness(answers=lambda job_id: [*steps, stall.response(body=well(job_id, 1))]),
                         None, 200)

    yield before("interim", "100, 102 and 103 before the answer", http("HTTP/1.1 100 Continue"),
                 http("HTTP/1.1 102 Processing"), http("HTTP/1.1 103 Early Hints", "Link: </poison>", *_LINES))
    yield answering("switching", "101 to another protocol", [
        http("HTTP/1.1 101 Switching Protocols", "Upgrade: poison", "Connection: Upgrade"), {"close": True}], "server")
    yield answering("accepted", "202 with a proper body", answer(202, poison("x")), "server")
    yield answering("no_content", "204", [http("HTTP/1.1 204 No Content", *_LINES)], "server")
    yield answering("partial", "206, when no range was asked for",
                    answer(206, poison("x"), ("Content-Range", "bytes 0-99/1000")), "server")
    yield answering("not_modified", "304, when no condition was set",
                    [http("HTTP/1.1 304 Not Modified", 'ETag: "poison"', *_LINES)], "server")
    for status in (301, 302, 303, 307, 308):
        yield answering(f"redirect_{status}", f"{status} to another host",
                        answer(status, HTML, ("Location", f"{trap}/elsewhere")), "server")
    yield answering("redirect_itself", "302 to itself", answer(302, "", ("Location", "?again")), "server")
    yield answering("alt_svc", "500 with Alt-Svc, Refresh and Link to another host", answer(
        500, HTML, ("Alt-Svc", f'h2="{trap.removeprefix("http://")}"; ma=86400; persist=1'),
        ("Refresh", f"0;url={trap}"), ("Link", f"<{trap}>; rel=preload")), "server")
    yield answering("http_599", "599 with HTML", answer(599, HTML), "server")

    def refusing(name: str, text: str, status: int, code: int, *headers: tuple[str, str], message: str = "no",
                 **more) -> Behaviour:
        """In the API's own words, which are an answer, but for those about its own trouble."""
        words = error(code, message)
        return Behaviour(name, text, Illness(answers=always(answer(status, words, *headers))),
                         "server" if status >= 500 else None, status, words=words, **more)

    # what the API says no with
    for code, message in ((7002, "ai_search_not_found"), (7021, "job_not_found"), (7063, "namespace_not_found")):
        yield refusing(f"missing_{code}", f"404 with code {code}", 404, code, message=message)
    yield answering("missing_html", "404 with HTML", answer(404, HTML), "body")
    yield refusing("bad_request", "400 with code 7400", 400, 7400)
    yield refusing("forbidden", "403 with code 7003", 403, 7003)
    yield answering("forbidden_html", "403 with HTML", answer(403, HTML), "body")
    yield refusing("gone", "410 with code 7021", 410, 7021)
    yield answering("not_found_success", "404 with success:true", answer(404, poison("x")), "body")

    # the credential
    yield answering("unauthorized", "401", answer(401, error(10000, "Authentication error")), "credential",
                    patience=60)
    yield answering("challenge", "401 that asks for NTLM, Negotiate, Digest and Basic",
                    answer(401, HTML, ("WWW-Authenticate", "NTLM"), ("WWW-Authenticate", "Negotiate"),
                           ("WWW-Authenticate", 'Digest realm="poison", nonce="1"'),
                           ("WWW-Authenticate", 'Basic realm="poison"')), "credential", patience=60)
    yield answering("forbidden_10000", "403 with code 10000", answer(403, error(10000, "Authentication error")),
                    "credential", patience=60)
    yield answering("proxy_challenge", "407", answer(407, HTML, ("Proxy-Authenticate", 'Basic realm="poison"')), "body")

    # the rate limit
    for name, text, patience, *headers in (
            ("none", "no Retry-After", 300),
            ("seconds", "Retry-After: 120", 120, ("Retry-After", "120")),
            ("zero", "Retry-After: 0", 0, ("Retry-After", "0")),
            ("past", "Retry-After: a date in the past", 0, ("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")),
            ("date850", "Retry-After: a date of RFC 850", 0, ("Retry-After", "Sunday, 06-Nov-94 08:49:37 GMT")),
            ("asctime", "Retry-After: a date of asctime()", 0, ("Retry-After", "Sun Nov  6 08:49:37 1994")),
            ("negative", "Retry-After: -1", 300, ("Retry-After", "-1")),
            ("fraction", "Retry-After: 1.5", 300, ("Retry-After", "1.5")),
            ("words", "Retry-After: soon", 300, ("Retry-After", "soon")),
            ("empty", "Retry-After: nothing", 300, ("Retry-After", "")),
            ("centuries", "Retry-After: 10^20", 86400, ("Retry-After", "1" + "0" * 20))):
        yield answering(f"limit_{name}", f"429, {text}", answer(429, error(10429), *headers), "rate_limited",
                        patience=patience)
    yield _failing("limit_date", "429, Retry-After: a date", Illness(
        answers=lambda _: answer(429, HTML, ("Retry-After", email.utils.formatdate(time.time() + 120, usegmt=True)))),
        "rate_limited", patience=120)

    # its own trouble, and that of what stands in between
    for status, code in ((500, 7001), (500, 7068), (503, 7017)):
        yield refusing(f"trouble_{code}", f"{status} with code {code}", status, code)
    yield refusing("trouble_wait", "503 with Retry-After: 120", 503, 7017, ("Retry-After", "120"), patience=120)
    for status in (500, 502, 503, 504, *range(520, 531)):
        yield answering(f"html_{status}", f"{status} with HTML", answer(status, HTML), "server")


_LINES = [f"{name}: {value}" for name, value in HEADERS]


# ---- bodies ---------------------------------------------------------------------------------------------------------

def _bodies() -> Iterator[Behaviour]:
    def body(name: str, text: str, make: Callable[[str], str] | str) -> Behaviour:
        return _failing(name, text, Illness(
            answers=lambda job_id: answer(200, make(job_id) if callable(make) else make)), "body")

    def with_member(text: str) -> Callable[[str], str]:
        return lambda job_id: f"{poison(job_id)[:-1]},{text}}}"

    def with_description(text: str) -> Callable[[str], str]:
        return lambda job_id: job(job_id, description="poison @").replace("@", text)

    def envelope(result: str) -> str:
        return f'{{"success":true,"result":{result}}}'

    yield body("json_empty", "an empty body", "")
    yield body("json_html", "HTML", HTML)
    yield body("json_null", "`null`", "null")
    yield body("json_number", "a number", "1")
    yield body("json_string", "a string", '"poison"')
    yield body("json_array", "an array", lambda job_id: f"[{poison(job_id)}]")
    yield body("json_object", "`{}`", "{}")
    yield body("json_cut", "JSON that ends early", lambda job_id: poison(job_id)[:-1])
    yield body("json_more", "more behind the JSON", lambda job_id: poison(job_id) + poison(job_id))
    yield body("json_deep", "JSON nested 100,000 deep", with_member('"x":' + "[" * 100_000 + "]" * 100_000))
    yield body("json_nan", "NaN", with_member('"x":NaN'))
    yield body("json_twice", "a member twice", with_member('"success":true'))
    yield body("json_nul", "NUL within the JSON", with_member('"x":"\0"'))
    yield body("json_bom", "a byte order mark", lambda job_id: "\xef\xbb\xbf" + poison(job_id))
    yield body("json_utf8", "invalid UTF-8", with_description("\xff"))
    yield body("json_surrogate", "half a surrogate pair", with_description("\\ud800"))
    yield body("no_result", "success:true without a result", '{"success":true}')
    yield body("null_result", "success:true with a null result", envelope("null"))
    yield body("list_result", "a list in the place of a job",
               lambda job_id: envelope(f'[{{"id":"{job_id}","source":"user"}}]'))
    yield body("no_source", "a job without a source", lambda job_id: envelope(f'{{"id":"{job_id}"}}'))
    yield body("number_id", "a number for an id", envelope('{"id":1,"source":"user"}'))
    yield body("another_id", "another job's id", poison("another"))
    yield body("prefix_id", "the beginning of the id", lambda job_id: poison(job_id[:-1]))
    yield body("longer_id", "the id and more", lambda job_id: poison(job_id + "x"))
    yield body("case_id", "the id in other case", lambda job_id: poison(job_id.upper()))
    yield body("time_number", "a number for a time", lambda job_id: job(job_id, description="poison", started_at=1e300))
    yield body("success_text", "success as a string", lambda job_id: poison(job_id).replace("true", '"true"'))
    yield body("refusal_200", "success:false with 200", error(7021))
    yield body("long_number", "a number of 400 digits", with_member('"x":' + "9" * 400))
    yield Behaviour("huge_number", "1e999, in a member that nobody knows", Illness(
        answers=lambda job_id: answer(200, well(job_id, 1)[:-1] + ',"x":1e999}')), None, 200)


def _failing(name: str, text: str, illness: Illness, cause: str, **more) -> Behaviour:
    return Behaviour(name, text, illness, cause, STATUSES.get(cause, 502), **more)


def behaviours(trap: str) -> list[Behaviour]:
    """The trap is a URL that some of them try to have us go to."""
    return [*_connections(), *_excess(), *_framing(), *_statuses(trap), *_bodies()]


NAMES = [behaviour.name for behaviour in behaviours("http://trap.invalid")]
