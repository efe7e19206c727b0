"""Where webhooks may go: a receiver's URL must not be a way into this machine's own network."""

from __future__ import annotations

import ipaddress
import ssl

import pytest
import trio

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.webhooks.addresses import (
    Allowed,
    ForbiddenAddress,
    SystemResolver,
    judge,
    read_url,
    vetted_connector,
)

NOTHING = Allowed()
FORBIDDEN = """
    127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.1.1 169.254.169.254
    168.63.129.16 100.64.0.1 100.100.100.200 100.127.255.255 0.0.0.0 0.1.2.3 192.0.0.1 192.0.2.1
    198.18.0.1 198.51.100.1 203.0.113.1 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1
    255.255.255.255
    ::1 :: ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808
    64:ff9b:1::1 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 2002:7f00:1::1
    2001::1 2001:db8::1 3fff::1 100::1 5f00::1 4000::1
""".split()
OPEN = "8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 9.255.255.255 2606:4700::1111 2a00:1450::1".split()


@pytest.mark.parametrize("text", FORBIDDEN)
def test_addresses_that_are_nobodys_business_are_refused(text: str) -> None:
    """Behind each of these stands something that trusts whoever can reach it."""
    with pytest.raises(ForbiddenAddress):
        judge([text], "hook.example", NOTHING)


@pytest.mark.parametrize("text", OPEN)
def test_the_open_internet_is_reached(text: str) -> None:
    """A receiver with a public address must not be refused for its neighbours."""
    assert judge([text], "hook.example", NOTHING) == [ipaddress.ip_address(text)]


def test_one_bad_address_spoils_a_name() -> None:
    """A name that gives an open and a private address waits for us to take the wrong one."""
    with pytest.raises(ForbiddenAddress, match="private"):
        judge(["8.8.8.8", "10.0.0.1"], "hook.example", NOTHING)
    with pytest.raises(OSError, match="no address"):
        judge([], "hook.example", NOTHING)
    with pytest.raises(ForbiddenAddress, match="not an address"):
        judge(["localhost"], "hook.example", NOTHING)


def test_what_the_operator_lists_is_allowed_and_no_more() -> None:
    """A receiver in the operator's own network is their decision, host by host."""
    allowed = Allowed(["10.1.0.0/16", "127.0.0.1/32", "Hook.Internal", "169.254.7.0/24"])
    assert judge(["10.1.2.3"], "any.example", allowed)
    assert judge(["169.254.7.7"], "any.example", allowed)
    assert judge(["192.168.0.9"], "hook.internal", allowed)
    assert judge(["::1", "127.0.0.1"], "hook.internal", allowed)
    for text, host in (
        ("10.2.0.1", "any.example"),
        ("127.0.0.2", "any.example"),
        ("192.168.0.9", "other.internal"),
        # A listed name answers to whoever runs its zone: never metadata, never link-local.
        ("169.254.169.254", "hook.internal"),
        ("fe80::1", "hook.internal"),
        ("::ffff:10.1.2.3", "hook.internal"),
    ):
        with pytest.raises(ForbiddenAddress):
            judge([text], host, allowed)


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "a b", "http://x", "-", "1.2.3", "x..y"])
def test_an_entry_that_means_nothing_is_refused(entry: str) -> None:
    """A mistyped network must not silently allow nothing, or more than was meant."""
    with pytest.raises(Malformed):
        Allowed([entry])


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://hook.example/", "https"),
        ("ftp://hook.example/", "URL"),
        ("wss://hook.example/", "https://"),
        ("https://", "URL"),
        ("https://user@hook.example/", "user"),
        ("https://hook.example:22/", "port 22"),
        ("https://hook.example:99999/", "ort"),
        ("https://10.0.0.1/", "private"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:127.0.0.1]/", "IPv4 in IPv6"),
        ("https://169.254.169.254/latest", "metadata"),
        ("https://hook.example/#x", "fragment"),
        ("https://hook.example/\r\nx: y", "https|blanks|control"),
        ("https://hook.example/" + "a" * 2048, "longer"),
    ],
)
def test_urls_that_cannot_be_receivers_are_refused_at_once(url: str, problem: str) -> None:
    """Who makes a webhook hears of a mistake then, not after three days."""
    with pytest.raises(Malformed, match=problem):
        read_url(url, NOTHING)


def test_urls_of_receivers_are_taken() -> None:
    """https at the usual ports, and whatever the operator listed at any."""
    assert read_url("https://hook.example/a?b=c", NOTHING).path == "/a?b=c"
    assert read_url("https://hook.example:8443/", NOTHING).port == 8443
    allowed = Allowed(["127.0.0.1/32", "hook.internal"])
    assert not read_url("http://127.0.0.1:81/", allowed).secure
    assert not read_url("http://hook.internal/", allowed).secure
    with pytest.raises(Malformed):
        read_url("http://127.0.0.2/", allowed)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost"])
async def test_other_spellings_of_loopback_end_at_the_same_door(host: str) -> None:
    """The resolver reads what looks like a name and is an address; judged is what it gave."""
    url = f"https://{host}/"
    origin = read_url(url, NOTHING)
    connect = vetted_connector(origin, NOTHING, SystemResolver(), ssl.create_default_context)
    with pytest.raises((ForbiddenAddress, OSError)) as caught:
        await connect()
    assert not isinstance(caught.value, ConnectionError)


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    """A name that answers differently the second time (rebinding) must not be asked twice."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def resolve(_host: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        return answers.pop(0)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    allowed = Allowed(["127.0.0.1/32", "hook.internal"])
    origin = read_url(f"http://hook.internal:{port}/", allowed)
    connect = vetted_connector(origin, allowed, resolve, ssl.create_default_context)
    stream = await connect()
    assert isinstance(stream, trio.SocketStream)
    assert stream.socket.getpeername() == ("127.0.0.1", port)
    assert answers == [["10.0.0.1"]]
    await stream.aclose()
    await listeners[0].aclose()
