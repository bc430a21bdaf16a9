"""Networks by which devices are told apart: lists of CIDR (RFC 4632), and whether an address is in one.

A socket that takes IPv6 shows an IPv4 peer as ::ffff:192.0.2.1 (RFC 4291, 2.5.5.2); here that is 192.0.2.1.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from cvmd.errors import ConfigError

Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Network, ...]:
    """The networks of a list that is separated by commas: 10.0.0.0/8,2001:db8::/32,192.0.2.7.

    Raises ConfigError for what is no network, and for one whose address says more than its prefix.
    """
    return tuple(_network(part.strip()) for part in text.split(","))


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(f"{text!r} is no network: write 10.0.0.0/8, 2001:db8::/32 or one address") from None
        raise ConfigError(f"{text!r} is no network: its prefix ends before the address; {meant} is one") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((network.network_address.packed[-4:], network.prefixlen - _MAPPED.prefixlen))
    return network


def plain(address: str) -> str:
    """The address of a peer as a person writes it: without ::ffff: before IPv4, and without a zone."""
    return address.removeprefix("::ffff:") if "." in address else address.partition("%")[0]


def containing(networks: str, source: str) -> Network | None:
    """The first network of the list that `source`, a peer's address, is in."""
    address = ip_address(plain(source))
    return next((network for network in parse(networks) if address in network), None)
