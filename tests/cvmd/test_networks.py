"""Lists of networks, and which addresses are in them."""

import pytest

from cvmd import networks
from cvmd.errors import ConfigError


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("10.255.0.1", "10.0.0.0/8"),
        ("11.0.0.1", None),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.8", None),
        ("198.51.100.9", "198.51.100.0/24"),
        ("2001:db8::1", "2001:db8::/32"),
        ("fe80::1%eth0", "fe80::/10"),
        ("2001:db9::1", None),
        ("::1", None),
    ],
)
def test_the_network_that_an_address_is_in(source: str, network: str | None) -> None:
    listed = "10.0.0.0/8, 192.0.2.7,::ffff:198.51.100.0/120,2001:db8::/32,fe80::/10"
    found = networks.containing(listed, source)
    assert (found and str(found)) == network


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no network"),
        ("10.0.0.0/8,", "'' is no network"),
        ("10.0.0.0/33", "'10.0.0.0/33' is no network: write"),
        ("factory", "'factory' is no network"),
        ("10.1.0.0/8", "'10.1.0.0/8' is no network: its prefix ends before the address; 10.0.0.0/8 is one"),
        ("2001:db8::1/32", "2001:db8::/32 is one"),
    ],
)
def test_what_is_no_network_is_named(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        networks.parse(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("address", "plain"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("", "")],
)
def test_a_peer_as_a_person_writes_it(address: str, plain: str) -> None:
    assert networks.plain(address) == plain
