"""
The rows of docs/faults.md: each way in which an upstream may misbehave, how to simulate it, and the expected reaction of
nginx and collectd.

Data that must not be cached, served or reported contains the word "poison".
"""

import dataclasses
import email.utils
import gzip
import json
import struct
import time
from collections.abc import Callable, Iterator

from harness import http2 as h2
from harness import stall
from harness.illness import Illness, Script
from simulator import refusals

# The token of the second credential, which the upstream accepts.
NEXT_TOKEN = "token-of-next"

# The timeout of a fetch in seconds: if the upstream stalls, and otherwise.
SHORT, LONG = 2.0, 10.0

STATUSES = {"timeout": 504, "rate_limited": 503}  # 502 for all other causes


@dataclasses.dataclass(frozen=True)
class Behaviour:
    name: str
    text: str
    illness: Illness
    cause: str | None  # the fault that the log names; None: the response is valid
    status: int  # for a client of nginx that waits for the fetch
    patience: int = 0  # seconds until the upstream accepts calls again
    stalls: bool = False  # the fetch lasts until its timeout
    words: str | None = None  # the body of the API's rejection if nginx passes it to clients
    unverified: bool = False  # the upstream cannot be verified and must not get a request
    otherwise: str | None = None  # another possible cause: versions of libcurl differ

    @property
    def timeout(self) -> float:
        return SHORT if self.stalls else LONG

    in_haste: str | None = None  # another possible cause if the timeout is short: libcurl retries some requests

    def causes(self, in_haste: bool = False) -> list[str]:
        """The causes that the log may name."""
        return [cause for cause in (self.cause, self.otherwise, self.in_haste if in_haste else None) if cause]

    def name_cause(self, cause: str | None, in_haste: bool = False) -> str | None:
        """The cause in the table, which does not depend on the version of libcurl."""
        causes = self.causes(in_haste)
        return " or ".join(causes) if cause in causes else cause

    @property
    def closes(self) -> bool:
        """Whether all lookups with this credential may be suspended for a while."""
        return self.cause in ("rate_limited", "credential") or self.patience > 0


def job(job_id: str, **fields) -> str:
    return _envelope(success=True, result={"id": job_id, "source": "user", **fields})


def well(job_id: str, version: int) -> str:
    """The body of a valid response."""
    return job(job_id, description=f"version {version}", started_at="2026-11-23T12:00:00Z")


def poison(job_id: str) -> str:
    """A body that would be valid in a valid response."""
    return job(job_id, description="poison", started_at="2026-11-23T12:00:00Z", ended_at="2026-11-23T12:30:00Z")


def error(code: int) -> str:
    return _envelope(success=False, errors=[{"code": code, "message": "no"}])


def _envelope(success: bool, result=None, errors=()) -> str:
    return json.dumps({"success": success, "errors": list(errors), "messages": [], "result": result})


HTML = "<!DOCTYPE html><html><title>poison</title></html>"

# Headers that no response of nginx may contain.
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

    yield _failing("refused", "connection refused", Illness(listens="no"), "connect")
    yield _failing("black_hole", "no response to connection attempts", Illness(listens="full"), "timeout", stalls=True)
    yield greeting("silent", "accepts connections, but sends nothing", [{"sleep": stall.HOUR}], "timeout", stalls=True)
    yield greeting("fin_at_once", "immediate FIN", stall.close_at_once(), "connect")
    yield greeting("rst_at_once", "immediate RST", [{"reset": True}], "connect")
    yield answering("fin_after_request", "FIN after the request", stall.close_at_once(), "connect")
    yield answering("rst_after_request", "RST after the request", stall.reset_before_headers(), "connect")
    half = send("HTTP/1.1 200 OK\r\nContent-")
    yield answering("fin_in_header", "FIN in the middle of the header", [half, {"close": True}], "server")
    yield answering("rst_in_header", "RST in the middle of the header", [half, {"sleep": 0.05}, {"reset": True}], "server")
    yield answering("fin_in_body", "FIN in the middle of the body", stall.truncated(), "body")
    yield answering("rst_in_body", "RST in the middle of the body", stall.reset_in_body(), "body")
    yield greeting("smtp", "SMTP instead of HTTP", stall.not_http(), "server")
    yield answering("binary", "binary garbage as a response", [send("\x00\x01\xfe\xff" * 64), {"close": True}], "server")


# ---- slowness and size ----------------------------------------------------------------------------------------------

def _excess() -> Iterator[Behaviour]:
    def answering(name: str, text: str, answers: Callable[[str], Script] | Script, cause: str, **more) -> Behaviour:
        return _failing(name, text, Illness(answers=answers if callable(answers) else always(answers)), cause, **more)

    yield answering("no_header", "no response to the request", stall.no_headers(), "timeout", stalls=True)
    yield answering("half_header", "incomplete header", stall.half_headers(), "timeout", stalls=True)
    yield answering("slow_header", "one byte of the header per second", pieces("HTTP/1.1 200 OK\r\n" * 4, 1), "timeout",
                    stalls=True)
    yield answering("no_body", "complete header, but no body", stall.no_body(), "timeout", stalls=True)
    yield answering("slow_body", "one byte of the body per second", stall.slow_body(), "timeout", stalls=True)
    yield answering("endless_body", "endless body", stall.endless_body(), "body")
    yield answering("endless_interim", "endless 100 Continue responses",
                    [{"repeat": None, "every": 0.05, "send": "HTTP/1.1 100 Continue\r\n\r\n"}], "timeout", stalls=True)
    yield answering("large", "body above the size limit, with Content-Length",
                    lambda job_id: answer(200, poison(job_id) + " " * (1 << 20)), "body")
    yield answering("large_unknown", "body above the size limit, of unknown length",
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
    yield answering("length_long", "Content-Length too large",
                    lambda job_id: [*answer(200, poison(job_id), length=1000), {"close": True}], "body")
    yield answering("length_negative", "negative Content-Length", lambda job_id: [
        http("HTTP/1.1 200 OK", "Content-Length: -1", body=poison(job_id)), {"close": True}], "server")
    yield answering("length_twice", "two Content-Length headers",
                    lambda job_id: [*answer(200, poison(job_id), ("Content-Length", "7")), {"close": True}], "body",
                    otherwise="server")
    yield answering("bad_chunks", "invalid chunks", always(stall.bad_chunks()), "body")
    yield answering("chunk_overflow", "chunk of 2^64 bytes",
                    lambda job_id: chunked(end=f"{1 << 64:x}\r\n{poison(job_id)}"), "body")
    yield answering("chunks_cut", "truncated chunks", lambda job_id: chunked(poison(job_id)[:30], end=""), "body")
    yield answering("gzip", "gzip encoding that was not requested", lambda job_id: answer(
        200, gzipped(poison(job_id)), ("Content-Encoding", "gzip")), "body")
    yield answering("gzip_bomb", "a gzip bomb", always(answer(200, bomb, ("Content-Encoding", "gzip"))), "body")
    yield answering("encoding", "an unknown Content-Encoding",
                    lambda job_id: answer(200, "\x1b\x0a\x00poison", ("Content-Encoding", "br")), "body")


# ---- status codes ---------------------------------------------------------------------------------------------------

def _statuses(trap: str) -> Iterator[Behaviour]:
    def answering(name: str, text: str, script: Script, cause: str | None, status: int = 0, **more) -> Behaviour:
        return Behaviour(name, text, Illness(answers=always(script)), cause, status or STATUSES.get(cause, 502), **more)

    def before(name: str, text: str, *steps: dict) -> Behaviour:
        """A valid response after some other data that is ignored."""
        return Behaviour(name, text, Illness(answers=lambda job_id: [*steps, stall.response(body=well(job_id, 1))]),
                         None, 200)

    yield before("interim", "100, 102 and 103 before the response", http("HTTP/1.1 100 Continue"),
                 http("HTTP/1.1 102 Processing"), http("HTTP/1.1 103 Early Hints", "Link: </poison>", *_LINES))
    yield answering("switching", "101, switching to another protocol", [
        http("HTTP/1.1 101 Switching Protocols", "Upgrade: poison", "Connection: Upgrade"), {"close": True}], "server")
    yield answering("accepted", "202 with a valid body", answer(202, poison("x")), "server")
    yield answering("no_content", "204", [http("HTTP/1.1 204 No Content", *_LINES)], "server")
    yield answering("partial", "206, although no range was requested",
                    answer(206, poison("x"), ("Content-Range", "bytes 0-99/1000")), "server")
    yield answering("not_modified", "304 to an unconditional request",
                    [http("HTTP/1.1 304 Not Modified", 'ETag: "poison"', *_LINES)], "server")
    for status in (301, 302, 303, 307, 308):
        yield answering(f"redirect_{status}", f"{status}, redirecting to another host",
                        answer(status, HTML, ("Location", f"{trap}/elsewhere")), "server")
    yield answering("redirect_itself", "302, redirecting to the same resource",
                    answer(302, "", ("Location", "?again")), "server")
    yield answering("alt_svc", "500 with Alt-Svc, Refresh and Link headers that name another host", answer(
        500, HTML, ("Alt-Svc", f'h2="{trap.removeprefix("http://")}"; ma=86400; persist=1'),
        ("Refresh", f"0;url={trap}"), ("Link", f"<{trap}>; rel=preload")), "server")
    yield answering("http_599", "599 with HTML", answer(599, HTML), "server")

    def failing(name: str, text: str, status: int, code: int, *headers: tuple[str, str], **more) -> Behaviour:
        """An error of the API in its own format."""
        words = error(code)
        return Behaviour(name, text, Illness(answers=always(answer(status, words, *headers))), "server", status,
                         words=words, **more)

    # rejections that do not have the API's own format; see _refusals() for those that do
    yield answering("missing_html", "404 with HTML", answer(404, HTML), "body")
    yield answering("forbidden_html", "403 with HTML", answer(403, HTML), "body")
    yield answering("not_found_success", "404 with `success:true`", answer(404, poison("x")), "body")
    yield answering("misdirected", "421", answer(421, HTML), "server")

    # the credential
    yield answering("challenge", "401 that offers NTLM, Negotiate, Digest and Basic authentication",
                    answer(401, HTML, ("WWW-Authenticate", "NTLM"), ("WWW-Authenticate", "Negotiate"),
                           ("WWW-Authenticate", 'Digest realm="poison", nonce="1"'),
                           ("WWW-Authenticate", 'Basic realm="poison"')), "credential", patience=60)
    yield answering("proxy_challenge", "407", answer(407, HTML, ("Proxy-Authenticate", 'Basic realm="poison"')), "body")

    # the rate limit
    for name, text, patience, *headers in (
            ("none", "without Retry-After", 300),
            ("seconds", "Retry-After: 120", 120, ("Retry-After", "120")),
            ("zero", "Retry-After: 0", 0, ("Retry-After", "0")),
            ("past", "Retry-After with a date in the past", 0, ("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")),
            ("date850", "Retry-After with a date in the format of RFC 850", 0,
             ("Retry-After", "Sunday, 06-Nov-94 08:49:37 GMT")),
            ("asctime", "Retry-After with a date in the format of asctime()", 0,
             ("Retry-After", "Sun Nov  6 08:49:37 1994")),
            ("negative", "Retry-After: -1", 300, ("Retry-After", "-1")),
            ("fraction", "Retry-After: 1.5", 300, ("Retry-After", "1.5")),
            ("words", "Retry-After: soon", 300, ("Retry-After", "soon")),
            ("empty", "empty Retry-After", 300, ("Retry-After", "")),
            ("centuries", "Retry-After: 10^20", 86400, ("Retry-After", "1" + "0" * 20))):
        yield answering(f"limit_{name}", f"429, {text}", answer(429, error(10429), *headers), "rate_limited",
                        patience=patience)
    yield _failing("limit_date", "429, Retry-After with a date", Illness(
        answers=lambda _: answer(429, HTML, ("Retry-After", email.utils.formatdate(time.time() + 120, usegmt=True)))),
        "rate_limited", patience=120)

    # errors of the API and of proxies in front of it
    for status, code in ((500, 7001), (500, 7068), (503, 7017)):
        yield failing(f"trouble_{code}", f"{status} with code {code}", status, code)
    yield failing("trouble_wait", "503 with Retry-After: 100", 503, 7017, ("Retry-After", "100"), patience=100)
    for status in (500, 502, 503, 504, *range(520, 531)):
        yield answering(f"html_{status}", f"{status} with HTML", answer(status, HTML), "server")


_LINES = [f"{name}: {value}" for name, value in HEADERS]


# ---- rejections -----------------------------------------------------------------------------------------------------

def _refusals() -> Iterator[Behaviour]:
    """All rejections in the API's own format."""
    def refusing(form: str, cause: str | None) -> Behaviour:
        status, body, _ = refusals.refusal(form)
        [fault] = body["errors"]
        codes = [fault.get("code"), *(link["code"] for link in fault.get("error_chain", []))]
        text = f"{status} with {' and '.join(str(code) for code in codes)}" if codes[0] else f"{status} without a code"
        words = json.dumps(body)
        told = {"status": 502, "patience": 60} if cause == "credential" else {"status": status, "words": words}
        return Behaviour(f"no_{form}", f'{text}: "{fault["message"]}"',
                         Illness(answers=always(answer(status, words)), spares=NEXT_TOKEN), cause, **told)

    for cause, forms in (("credential", refusals.CREDENTIAL_FORMS),
                         ("refused", [*refusals.RESOURCE_FORMS, *refusals.CLIENT_FORMS]),
                         (None, refusals.MISSING_FORMS)):
        for form in forms:
            yield refusing(form, cause)


# ---- bodies ---------------------------------------------------------------------------------------------------------

def _bodies() -> Iterator[Behaviour]:
    def body(name: str, text: str, make: Callable[[str], str] | str) -> Behaviour:
        return _failing(name, text, Illness(
            answers=lambda job_id: answer(200, make(job_id) if callable(make) else make)), "body")

    def odd(name: str, text: str, make: Callable[[str], str]) -> Behaviour:
        """An unusual body that is nevertheless valid."""
        return Behaviour(name, text, Illness(answers=lambda job_id: answer(200, make(job_id))), None, 200)

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
    yield body("json_cut", "truncated JSON", lambda job_id: poison(job_id)[:-1])
    yield body("json_more", "trailing data after the JSON", lambda job_id: poison(job_id) + poison(job_id))
    yield body("json_deep", "JSON with 100,000 levels of nesting", with_member('"x":' + "[" * 100_000 + "]" * 100_000))
    yield body("json_nan", "NaN", with_member('"x":NaN'))
    yield body("json_twice", "a duplicate member", with_member('"success":true'))
    yield body("json_nul", "a NUL byte in the JSON", with_member('"x":"\0"'))
    yield body("json_bom", "a byte order mark", lambda job_id: "\xef\xbb\xbf" + poison(job_id))
    yield body("json_utf8", "invalid UTF-8", with_description("\xff"))
    yield body("json_surrogate", "an unpaired surrogate", with_description("\\ud800"))
    yield body("no_result", "`success:true` without a result", '{"success":true}')
    yield body("null_result", "`success:true` with a null result", envelope("null"))
    yield body("list_result", "a list instead of a job",
               lambda job_id: envelope(f'[{{"id":"{job_id}","source":"user"}}]'))
    yield odd("no_source", "a job without a source",
              lambda job_id: envelope(f'{{"id":"{job_id}","started_at":"2026-11-23T12:00:00Z"}}'))
    yield body("number_id", "a number as the ID", envelope('{"id":1,"source":"user"}'))
    yield body("another_id", "the ID of another job", poison("another"))
    yield body("prefix_id", "a prefix of the ID", lambda job_id: poison(job_id[:-1]))
    yield body("longer_id", "the ID with a suffix", lambda job_id: poison(job_id + "x"))
    yield body("case_id", "the ID in upper case", lambda job_id: poison(job_id.upper()))
    yield odd("time_number", "a number as a time", lambda job_id: job(job_id, started_at=1e300))
    yield body("success_text", "`success` as a string", lambda job_id: poison(job_id).replace("true", '"true"'))
    yield body("refusal_200", "`success:false`", error(7021))
    yield body("long_number", "a number of 400 digits", with_member('"x":' + "9" * 400))
    yield Behaviour("huge_number", "1e999 in an unknown member", Illness(
        answers=lambda job_id: answer(200, well(job_id, 1)[:-1] + ',"x":1e999}')), None, 200)


# ---- TLS ------------------------------------------------------------------------------------------------------------

def _tls() -> Iterator[Behaviour]:
    def handshake(name: str, text: str, script: Script, cause: str, **more) -> Behaviour:
        return _failing(name, text, Illness(tls="good", greets=script), cause, unverified=True, **more)

    for kind, text in (("expired", "expired certificate"), ("wrong_host", "certificate of another host"),
                       ("self_signed", "self-signed certificate"), ("old", "TLS 1.1 at most")):
        yield _failing(f"tls_{kind}", text, Illness(tls=kind), "tls", unverified=True)
    yield handshake("tls_plain", "plain HTTP instead of TLS", answer(200, poison("x")), "tls")
    yield handshake("tls_garbage", "garbage instead of TLS", [send("\x16\x03\x03\x00\xffpoison" + "\xff" * 250)], "tls")
    yield handshake("tls_alert", "handshake_failure alert", [send("\x15\x03\x03\x00\x02\x02\x28"), {"close": True}], "tls")
    yield handshake("tls_silent", "no response to the handshake", [{"sleep": stall.HOUR}], "timeout", stalls=True)
    yield handshake("tls_fin", "FIN during the handshake", stall.close_at_once(), "tls")
    yield handshake("tls_rst", "RST during the handshake", [{"hear": True}, {"reset": True}], "tls")
    yield _failing("tls_client", "requires a client certificate", Illness(tls="client"), "connect")
    yield _failing("tls_truncated", "truncated response without close_notify", Illness(tls="good", answers=lambda job_id: [
        http("HTTP/1.0 200 OK", body=poison(job_id)[:-1]), {"close": True}]), "body")


# ---- HTTP/2 ---------------------------------------------------------------------------------------------------------

def _http2() -> Iterator[Behaviour]:
    def frames(name: str, text: str, make: Callable[[int, str], Script], cause: str | None, **more) -> Behaviour:
        illness = Illness(tls="good", frames=make)
        if cause is None:
            return Behaviour(f"h2_{name}", text, illness, None, 200)
        return _failing(f"h2_{name}", text, illness, cause, in_haste="timeout" if cause == "connect" else None, **more)

    def bytes_of(name: str, text: str, make: Callable[[int, str], bytes], cause: str | None, **more) -> Behaviour:
        return frames(name, text, lambda stream, job_id: [h2.raw(make(stream, job_id))], cause, **more)

    def half(stream: int, job_id: str) -> bytes:
        return h2.headers(stream) + h2.frame(h2.DATA, 0, stream, poison(job_id)[:30].encode())

    def good(stream: int, job_id: str) -> bytes:
        return h2.answer(stream, well(job_id, 1))

    def bad(stream: int, job_id: str, **more) -> bytes:
        return h2.answer(stream, poison(job_id), **more)

    repeated: set[str] = set()

    def is_repeat(job_id: str) -> bool:
        repeated.symmetric_difference_update([job_id])
        return job_id not in repeated

    # (Floods are covered by test_nginx_floods.py.)
    def endless(frame: bytes) -> Callable[[int, str], Script]:
        return lambda stream, job_id: [h2.raw(frame * 20, repeat=None, every=0.1)]

    # closed streams and connections
    for name, code in (("internal", h2.INTERNAL_ERROR), ("cancel", h2.CANCEL),
                       ("no_error", h2.NO_ERROR), ("calm", h2.ENHANCE_YOUR_CALM)):
        yield bytes_of(f"rst_{name}", f"RST_STREAM with code {code}",
                       lambda stream, _, code=code: h2.rst_stream(stream, code), "connect")
    yield bytes_of("rst_refused", "RST_STREAM with code 7; the retry gets a response",
                   lambda stream, job_id: good(stream, job_id) if is_repeat(job_id) else h2.rst_stream(
                       stream, h2.REFUSED_STREAM), None)
    yield bytes_of("rst_in_body", "RST_STREAM in the middle of the body",
                   lambda stream, job_id: half(stream, job_id) + h2.rst_stream(stream, h2.INTERNAL_ERROR), "connect",
                   otherwise="body")
    yield frames("goaway", "GOAWAY and FIN",
                 lambda *_: [h2.raw(h2.goaway(0, h2.NO_ERROR)), {"close": True}], "connect")
    yield bytes_of("goaway_stays", "GOAWAY without FIN", lambda *_: h2.goaway(0, h2.NO_ERROR), "connect")
    yield frames("goaway_calm", "GOAWAY with code 11 and FIN",
                 lambda *_: [h2.raw(h2.goaway(0, h2.ENHANCE_YOUR_CALM)), {"close": True}], "connect")
    yield frames("goaway_in_body", "GOAWAY and FIN in the middle of the body", lambda stream, job_id: [
        h2.raw(half(stream, job_id) + h2.goaway(0, h2.INTERNAL_ERROR)), {"close": True}], "connect",
        otherwise="body")
    yield bytes_of("goaway_answer", "GOAWAY before the response",
                   lambda stream, job_id: h2.goaway(stream, h2.NO_ERROR) + good(stream, job_id), None)
    yield frames("fin", "FIN", lambda *_: [{"close": True}], "connect")
    yield frames("rst", "RST", lambda *_: [{"reset": True}], "connect")

    # time
    yield frames("silent", "no more frames", lambda *_: [{"sleep": stall.HOUR}], "timeout", stalls=True)
    yield frames("no_body", "complete header, but no body",
                 lambda stream, _: [h2.raw(h2.headers(stream)), {"sleep": stall.HOUR}], "timeout", stalls=True)
    yield frames("pings", "endless PING frames", endless(h2.frame(h2.PING, 0, 0, b"poison!!")), "timeout", stalls=True)
    yield frames("settings", "endless SETTINGS frames", endless(h2.frame(h2.SETTINGS, 0, 0)), "timeout", stalls=True)
    yield frames("empty_data", "endless empty DATA frames", lambda stream, _: [
        h2.raw(h2.headers(stream)), h2.raw(h2.frame(h2.DATA, 0, stream) * 20, repeat=None, every=0.1)], "timeout",
        stalls=True)
    yield bytes_of("no_streams", "a limit of 0 streams, and no response",
                   lambda *_: h2.frame(h2.SETTINGS, 0, 0, h2.setting(h2.MAX_CONCURRENT_STREAMS, 0)), "timeout",
                   stalls=True)

    # size
    yield frames("large", "body above the size limit", lambda stream, _: [
        h2.raw(h2.headers(stream)), h2.raw(h2.frame(h2.DATA, 0, stream, b" " * 16384), repeat=128)], "body")
    yield frames("continuation", "endless header", lambda stream, _: [
        h2.raw(h2.headers(stream, flags=0)),
        h2.raw(h2.frame(h2.CONTINUATION, 0, stream, h2.block([("x-poison", "p" * 1000)])), repeat=None)], "connect",
        otherwise="server")
    yield frames("large_header", "header of 1 MiB and FIN", lambda stream, _: [
        h2.raw(h2.headers(stream, flags=0)),
        h2.raw(h2.frame(h2.CONTINUATION, 0, stream, h2.block([("x-poison", "p" * 16000)])), repeat=64),
        h2.raw(h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream)), {"close": True}], "connect", otherwise="server")
    yield bytes_of("large_frame", "frame larger than allowed", lambda stream, job_id: h2.headers(stream) + h2.frame(
        h2.DATA, h2.END_STREAM, stream, poison(job_id).encode().ljust(20000)), "body")

    # invalid data
    yield bytes_of("short", "Content-Length too small",
                   lambda stream, job_id: bad(stream, job_id, fields=[("content-length", "20")]), "connect",
                   otherwise="body")
    yield bytes_of("long", "Content-Length too large",
                   lambda stream, job_id: bad(stream, job_id, fields=[("content-length", "1000")]), "connect",
                   otherwise="body")
    yield frames("data_first", "DATA without HEADERS, then FIN", lambda stream, job_id: [
        h2.raw(h2.frame(h2.DATA, h2.END_STREAM, stream, poison(job_id).encode())), {"close": True}], "connect")
    yield bytes_of("no_status", "no :status", lambda stream, job_id: h2.frame(
        h2.HEADERS, h2.END_HEADERS, stream, h2.block([("x-poison", "poison")])) + bad(stream, job_id), "connect",
        otherwise="server")
    yield frames("hpack", "invalid header block, then FIN", lambda stream, job_id: [
        h2.raw(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, b"\xff" * 20) + bad(stream, job_id)), {"close": True}],
        "connect")
    yield frames("http_1_answer", "HTTP/1.1 response, then FIN", lambda _, job_id: [
        h2.raw(f"HTTP/1.1 200 OK\r\n\r\n{poison(job_id)}".encode()), {"close": True}], "connect")
    yield bytes_of("push", "PUSH_PROMISE of another job, followed by its response", lambda stream, job_id: h2.frame(
        h2.PUSH_PROMISE, h2.END_HEADERS, stream, struct.pack(">I", 2) + h2.block([
            (":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/poison")]))
        + bad(2, "x") + bad(stream, job_id), "connect")
    yield bytes_of("other_stream", "response on another stream",
                   lambda stream, job_id: bad(stream + 100, job_id), "connect")
    yield frames("window", "window of more than 2^31, then FIN", lambda *_: [
        h2.raw(h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2), {"close": True}], "connect")
    yield bytes_of("unknown", "frame of unknown type before the response",
                   lambda stream, job_id: h2.frame(0xbb, 0xff, stream, b"poison") + good(stream, job_id), None)
    yield bytes_of("trailers", "trailers after the response", lambda stream, job_id: h2.headers(stream) + h2.frame(
        h2.DATA, 0, stream, well(job_id, 1).encode()) + h2.frame(
        h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.block([("x-poison", "poison")])), None)


def _failing(name: str, text: str, illness: Illness, cause: str, **more) -> Behaviour:
    return Behaviour(name, text, illness, cause, STATUSES.get(cause, 502), **more)


REFUSALS = "Rejections"


def groups(trap: str) -> dict[str, list[Behaviour]]:
    """Returns all behaviors by section. Some of them try to redirect the client to the trap, a URL."""
    return {title: list(group) for title, group in {
        "Connections": _connections(), "Slowness and size": _excess(), "Framing": _framing(),
        "Status codes": _statuses(trap), REFUSALS: _refusals(), "Bodies with status 200": _bodies(), "TLS": _tls(),
        "HTTP/2": _http2(),
    }.items()}


NAMES = [behaviour.name for group in groups("http://trap.invalid").values() for behaviour in group]
