"""Where a Worker answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.releases.addresses import Address, addresses_of
from clodo.releases.triggers import Domain, Route, Triggers

names = st.sampled_from(["shop.example", "*.example", "a.b.example"])
paths = st.lists(st.sampled_from(["", "a", "b*", "*", "c"]), min_size=1, max_size=3).map("/".join)
patterns = st.builds(
    lambda scheme, name, path: f"{scheme}{name}/{path}", st.sampled_from(["", "https://"]), names, paths
)
everything = st.builds(
    Triggers,
    routes=st.lists(st.builds(Route, patterns, st.just("zone")), max_size=4).map(tuple),
    domains=st.lists(st.builds(Domain, names.filter(lambda name: "*" not in name), st.just("zone")), max_size=2).map(
        tuple
    ),
    workers_dev=st.booleans(),
)


@pytest.mark.parametrize(
    ("pattern", "reaches", "misses"),
    [
        ("shop.example/*", ["/", "/a", "/a/b?c=d"], []),
        ("shop.example/api/*", ["/api/", "/api/x"], ["/", "/api", "/apis"]),
        ("shop.example/api*", ["/api", "/apis", "/api/x?y"], ["/", "/ap"]),
        ("shop.example/exactly", ["/exactly", "/exactly?a=b"], ["/", "/exactly/more", "/exact"]),
        ("shop.example", ["/"], ["/a"]),
        ("https://shop.example/*", ["/", "/a"], []),
    ],
)
def test_a_route_is_an_address_of_the_paths_it_matches(pattern, reaches, misses):
    """A route reaches the Worker with the paths of its pattern only."""
    (address,) = addresses_of(Triggers(routes=(Route(pattern, "zone"),)), "shop", "acme")

    assert address.hostname == "shop.example"
    assert [path for path in reaches if not address.serves(path)] == []
    assert [path for path in misses if address.serves(path)] == []


@pytest.mark.parametrize("pattern", ["*.example/*", "*shop.example/*", "shop.example/*/cart", "shop.example/a*b*"])
def test_a_route_that_names_no_certain_request_is_no_address(pattern):
    """A wildcard in the hostname, or in the midst of the path, doesn't say what could be asked."""
    assert addresses_of(Triggers(routes=(Route(pattern, "zone"),)), "shop", "acme") == ()


def test_domains_come_before_routes_and_workers_dev_is_the_last():
    """Users' own addresses are asked first."""
    triggers = Triggers(
        routes=(Route("shop.example/*", "zone"),), domains=(Domain("buy.example", "zone"),), workers_dev=True
    )

    hostnames = [address.hostname for address in addresses_of(triggers, "shop", "acme")]

    assert hostnames == ["buy.example", "shop.example", "shop.acme.workers.dev"]


def test_workers_dev_needs_to_be_on_and_to_have_a_subdomain():
    """Off, not looked at, or without an account subdomain there is no workers.dev address."""
    assert addresses_of(Triggers(workers_dev=False), "shop", "acme") == ()
    assert addresses_of(Triggers(), "shop", "acme") == ()
    assert addresses_of(Triggers(workers_dev=True), "shop", None) == ()


@given(everything)
def test_addresses_can_be_asked_and_are_listed_once(triggers):
    """Every address has a plain hostname and a path that it serves itself; none is there twice."""
    addresses = addresses_of(triggers, "shop", "acme")

    assert len(addresses) == len(set(addresses))
    for address in addresses:
        assert "*" not in address.hostname + address.path_prefix
        assert "/" not in address.hostname
        assert address.serves(address.path_prefix)
        assert address.serves(address.path_prefix + "?query")


def test_an_exact_address_serves_nothing_below_it():
    """A pattern without a wildcard at its end is for one path."""
    assert not Address("shop.example", "/a", is_exact=True).serves("/a/b")
    assert Address("shop.example", "/a").serves("/a/b")
