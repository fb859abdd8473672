"""How a form is posted, how its reply is read, and what each failure means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Judgement, Reply, UserError
from pipeline.wire import FAILURES, Phase, Wire, check_base_url, judge_failure
from schemas.spec import Verdict

URL = "https://dialer.example/HttpImport/InjectLead.php"
TOKEN = "t0ken/with+signs&more"
CREDENTIALS = {"token": TOKEN, "accid": "acc 1"}
BODY = b"PrimaryPhone=2015550123&Notes=50%25"

Handler = Callable[[httpx.Request], httpx.Response]


def post(handler: Handler, body: bytes = BODY, credentials: dict[str, str] = CREDENTIALS) -> Reply:
    wire = Wire(url=URL, credentials=credentials, transport=httpx.MockTransport(handler), timeout_seconds=30)
    return asyncio.run(wire.post(body))


def sent(body: bytes = BODY, credentials: dict[str, str] = CREDENTIALS) -> httpx.Request:
    requests: list[httpx.Request] = []

    def keep(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    post(keep, body, credentials)
    [request] = requests
    return request


def reply_to(**response: object) -> Reply:
    return post(lambda request: httpx.Response(200, **response))  # type: ignore[arg-type]


# ---- the request


def test_the_form_goes_out_as_a_post_with_the_credentials_at_its_end() -> None:
    """The body is the payload as it is, then the credentials, form-encoded; the URL holds none of it."""
    request = sent()
    assert request.method == "POST"
    assert str(request.url) == URL
    assert request.content == BODY + b"&token=t0ken%2Fwith%2Bsigns%26more&accid=acc+1"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["content-length"] == str(len(request.content))
    assert request.headers["host"] == "dialer.example"


@pytest.mark.parametrize(
    ("body", "credentials", "expected"),
    [
        (b"a=1", {}, b"a=1"),
        (b"", {"key": "k"}, b"key=k"),
        (b"", {}, b""),
        (b"a=1", {"key": "k"}, b"a=1&key=k"),
    ],
)
def test_an_empty_part_adds_no_separator(body: bytes, credentials: dict[str, str], expected: bytes) -> None:
    """Payload and credentials are joined by "&" only where both are there."""
    assert sent(body, credentials).content == expected


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4), st.dictionaries(st.text(min_size=1), st.text()))
def test_any_values_come_out_as_they_went_in(payload: dict[str, str], credentials: dict[str, str]) -> None:
    """Whatever the values, the server reads the payload's pairs and then the credentials' pairs."""
    content = sent(urlencode(payload, errors="replace").encode(), credentials).content.decode()
    pairs = parse_qsl(content, keep_blank_values=True)
    assert len(pairs) == len(payload) + len(credentials)


def test_the_timeouts_are_handed_to_the_transport() -> None:
    """Connecting gets ten seconds at most, the reply all of the timeout."""
    assert sent().extensions["timeout"] == {"pool": 30, "connect": 10, "write": 30, "read": 30}


def test_the_repr_holds_no_secret() -> None:
    """A wire shows where it leads, and neither credentials nor a query."""
    wire = Wire(
        url="https://user:pw@dialer.example:8443/ibp_api.php?key=k3y",
        credentials=CREDENTIALS,
        transport=httpx.MockTransport(lambda request: httpx.Response(200)),
        timeout_seconds=1,
    )
    assert repr(wire) == "Wire(https://dialer.example:8443/ibp_api.php)"


# ---- the reply


def test_a_reply_carries_status_text_and_the_headers_that_matter() -> None:
    """Status, body, content type, Retry-After and Date come back, whatever the status."""
    headers = {"Content-Type": "text/plain", "Retry-After": "7", "Date": "Mon, 23 Nov 2026 03:39:54 GMT"}
    reply = post(lambda request: httpx.Response(503, text="busy", headers=headers))
    assert reply == Reply(503, "busy", "text/plain", "7", "Mon, 23 Nov 2026 03:39:54 GMT")


def test_a_reply_without_headers_has_empty_ones() -> None:
    """A header that isn't there is the empty text."""
    assert reply_to() == Reply(200, "", "", "", "")


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        ("é".encode(), "text/html", "é"),
        ("é".encode("latin-1"), "text/html; charset=ISO-8859-1", "é"),
        ("é".encode("latin-1"), 'text/html; Charset="latin1"', "é"),
        ("é".encode("latin-1"), "text/html", "�"),
        ("é".encode(), "text/html; charset=no-such", "é"),
        ("é".encode(), "text/html; charset=base64", "é"),
        ("é".encode(), "text/html; charset=idna", "é"),
        ("\ufeffResult: OK".encode(), "text/html", "Result: OK"),
        (b"a\x00b", "", "a\x00b"),
    ],
)
def test_a_reply_is_text_by_its_charset(content: bytes, content_type: str, text: str) -> None:
    """The charset of the reply counts, else UTF-8; bytes that don't fit are replaced, never an error."""
    assert reply_to(content=content, headers={"Content-Type": content_type}).body == text


def test_a_streamed_reply_is_read_and_closed() -> None:
    """A transport that streams its reply is read to the end and closed."""

    class Stream(httpx.AsyncByteStream):
        closed = False

        async def __aiter__(self):  # type: ignore[no-untyped-def]
            yield b"Result: "
            yield b"OK"

        async def aclose(self) -> None:
            self.closed = True

    stream = Stream()
    assert reply_to(stream=stream).body == "Result: OK"
    assert stream.closed


def test_a_reply_that_cannot_be_unpacked_is_in_doubt() -> None:
    """Content that isn't the gzip it claims to be is no usable reply."""
    stream = httpx.ByteStream(b"not gzip")
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        reply_to(stream=stream, headers={"Content-Encoding": "gzip"})
    assert judge_failure(caught.value).verdict is Verdict.IN_DOUBT
    assert caught.value.__context__ is None


# ---- failures


@pytest.mark.parametrize(
    ("error", "verdict", "code"),
    [
        (httpx.ConnectError, Verdict.NOT_DELIVERED, "connect_error"),
        (httpx.ConnectTimeout, Verdict.NOT_DELIVERED, "connect_timeout"),
        (httpx.PoolTimeout, Verdict.NOT_DELIVERED, "pool_timeout"),
        (httpx.ReadTimeout, Verdict.IN_DOUBT, "read_timeout"),
        (httpx.WriteTimeout, Verdict.IN_DOUBT, "write_timeout"),
        (httpx.ReadError, Verdict.IN_DOUBT, "connection_reset"),
        (httpx.WriteError, Verdict.IN_DOUBT, "write_error"),
        (httpx.CloseError, Verdict.IN_DOUBT, "close_error"),
        (httpx.RemoteProtocolError, Verdict.IN_DOUBT, "no_reply"),
        (httpx.LocalProtocolError, Verdict.IN_DOUBT, "transport_error"),
        (httpx.ProxyError, Verdict.IN_DOUBT, "transport_error"),
        (httpx.TransportError, Verdict.IN_DOUBT, "transport_error"),
    ],
)
def test_the_phase_of_a_failure_decides(error: type[httpx.TransportError], verdict: Verdict, code: str) -> None:
    """Only what fails before a byte has left is not delivered; everything else is in doubt."""
    judgement = judge_failure(error(""))
    assert (judgement.verdict, judgement.code) == (verdict, code)
    assert judgement.message


def _descendants(kind: type[httpx.TransportError]) -> set[type[httpx.TransportError]]:
    return {kind}.union(*(_descendants(child) for child in kind.__subclasses__()))


def test_never_sent_are_three_and_no_more() -> None:
    """Of all the exceptions httpx knows, three say that nothing was sent."""
    never_sent = {kind for kind, failure in FAILURES.items() if failure.phase is Phase.NEVER_SENT}
    judged = {
        kind for kind in _descendants(httpx.TransportError) if judge_failure(kind("")).verdict is Verdict.NOT_DELIVERED
    }
    assert judged == never_sent == {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout}


def test_a_message_is_one_line_without_urls() -> None:
    """The message keeps the reason and loses URLs, line ends and length."""
    error = httpx.ConnectError(f"refused\n by  {URL}?token=abc now" + "x" * 500)
    message = judge_failure(error).message
    assert message.startswith("refused by [url] nowx")
    assert len(message) == 200


@pytest.mark.parametrize("leak", [TOKEN, urlencode(CREDENTIALS), f"at {URL}"])
def test_an_error_of_the_transport_loses_what_it_holds(leak: str) -> None:
    """An error is raised anew: same kind, no request, no chain, and no secret in its words."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout(leak, request=request) from ValueError(leak)

    with pytest.raises(httpx.ReadTimeout) as caught:
        post(fail)
    error = caught.value
    assert leak not in repr(error)
    assert "t0ken" not in repr(error)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert error._request is None


def test_an_exception_of_ours_is_not_taken_for_a_failure_on_the_way() -> None:
    """What is no failure of the transport passes as it is."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError):
        post(fail)


# ---- the base URL


@pytest.mark.parametrize(
    "url",
    [
        "https://api.chasedatacorp.com/HttpImport/",
        "https://dialer.example:8443/",
        "http://127.0.0.1:8000/HttpImport/",
        "http://127.8.9.10/x/",
        "http://localhost:8000/",
        "http://LOCALHOST/",
        "http://[::1]:8000/",
    ],
)
def test_a_good_base_url_passes(url: str) -> None:
    """https anywhere and http to this machine, ending in a slash."""
    check_base_url(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "https://HOST/PATH/"),
        ("dialer.example/x/", "https://HOST/PATH/"),
        ("/x/", "https://HOST/PATH/"),
        ("https:///x/", "https://HOST/PATH/"),
        ("ftp://dialer.example/", "https://HOST/PATH/"),
        ("https://dialer.example:port/", "can't be read"),
        ("https://dialer.example/\n", "can't be read"),
        ("https://dialer.example", "trailing slash"),
        ("https://dialer.example/x", "trailing slash"),
        ("https://user:s3cret@dialer.example/", "user name"),
        ("https://s3cret@dialer.example/", "user name"),
        ("https://dialer.example/?token=s3cret", '"?"'),
        ("https://dialer.example/?/", '"?"'),
        ("https://dialer.example/#s3cret/", '"#"'),
        ("http://dialer.example/", "dialer.example in plain text"),
        ("http://127.0.0.1.dialer.example/", "plain text"),
        ("http://127.1/", "plain text"),
        ("http://10.0.0.1/", "plain text"),
        ("http://localhost.dialer.example/", "plain text"),
        ("http://[::2]/", "plain text"),
    ],
)
def test_a_bad_base_url_is_refused_in_one_line(url: str, says: str) -> None:
    """Each fault has its own line, which shows no secret that the URL may hold."""
    with pytest.raises(UserError, match=says.replace("?", r"\?")) as caught:
        check_base_url(url)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "echo",
    [
        TOKEN,
        TOKEN.upper(),
        "t0ken%2fwith%2bsigns%26more",
        "t0ken/with+signs&amp;more",
        "t0ken\\/with+signs&more",
        "\0".join(TOKEN),
        "".join(f"%{byte:02X}" for byte in TOKEN.encode()),
    ],
)
def test_a_secret_that_comes_back_in_any_spelling_is_not_kept(echo: str) -> None:
    """The verdict stands; of the reply nothing is kept."""
    wire = Wire(url=URL, credentials=CREDENTIALS, transport=httpx.MockTransport(lambda _: None), timeout_seconds=30)
    judged = Judgement(Verdict.REJECTED, "gateway_refused", f"no {echo}", 200, f"Result: no {echo}", f'"{echo}"')
    kept = wire.cleansed(judged, Reply(200, f"Result: no {echo}"))
    assert (kept.verdict, kept.code) == (Verdict.REJECTED, "gateway_refused")
    assert {kept.message, kept.reply, kept.result} == {"[secret]", '"[secret]"'}
    assert wire.cleansed(judged, Reply(200, "Result:  OK")) is judged
