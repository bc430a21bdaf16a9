"""Who a caller is: the token it must have used, whether it may call, why it may not, what is wrong in a set-up."""

import hmac
from dataclasses import replace
from typing import Any

import pytest

from cvmd.authentication import Denial, credentials, may_have_server_key, problems
from cvmd.errors import SealError
from cvmd.model import US, Access, Account, Auth, Device, KeySource, Product, Secret, View
from cvmd.sealing import Sealer
from cvmd.seals import seal_access, seal_product_key, seal_token

SEALER = Sealer(Secret(bytes(range(32))))
SERIAL, TOKEN, KEY = b"SN-1", b"t" * 32, b"k" * 20
NOW = 1_800_000_000 * US
ACCOUNT = Account(1, "default", None, None, None, None, 10)
INSIDE, OUTSIDE = "10.1.2.3", "192.0.2.1"
WINDOW = "from 192.0.2.1, window until 2027-01-15T08:00:00+00:00"
IN_NETWORK = Access(source_networks="10.0.0.0/8")


def a_view(auth: Auth, access: Access | None = None, *, disabled: bool = False) -> View:
    sealed = seal_token(Secret(TOKEN), SERIAL, SEALER)
    key = seal_product_key(Secret(KEY), "meter", SEALER)
    product = Product(1, "meter", ACCOUNT, auth, KeySource.EC_P256, 0, 600, 60, 5, False)
    device = Device(1, SERIAL, "thing", "policy", disabled, 0, 0, None, sealed if auth is Auth.TOKEN else b"")
    if auth is Auth.DERIVED and access is None:
        access = Access(key)
    elif auth is Auth.SERIAL:
        access = replace(access or Access(), sealed_auth=seal_access(access or Access(), "meter", SEALER))
    return View(device, product, None, None, NOW, access or Access())


@pytest.mark.parametrize(
    ("view", "token"),
    [(a_view(Auth.TOKEN), TOKEN), (a_view(Auth.DERIVED), hmac.digest(KEY, SERIAL, "sha256"))],
    ids=["token", "derived"],
)
def test_who_has_a_secret_is_checked_with_it_from_anywhere(view: View, token: bytes) -> None:
    found = credentials(view, SERIAL, OUTSIDE, SEALER)
    assert (found.token, found.known, found.denial, found.grounds) == (Secret(token), True, Denial.WRONG_TOKEN, "")


@pytest.mark.parametrize(
    ("access", "source", "grounds"),
    [
        (IN_NETWORK, INSIDE, "from 10.1.2.3 in 10.0.0.0/8"),
        (Access(window_until_us=NOW + 1), OUTSIDE, "from 192.0.2.1, window until 2027-01-15T08:00:00+00:00"),
        (
            replace(IN_NETWORK, window_until_us=NOW + 1),
            OUTSIDE,
            "from 192.0.2.1, window until 2027-01-15T08:00:00+00:00",
        ),
    ],
    ids=["network", "window", "both"],
)
def test_auth_serial_lets_in_from_its_networks_or_while_a_window_is_open(
    access: Access, source: str, grounds: str
) -> None:
    found = credentials(a_view(Auth.SERIAL, access), SERIAL, source, SEALER)
    assert (found.token, found.known, found.denial) == (Secret(b""), True, Denial.TOKEN_USED)
    assert found.grounds == grounds


@pytest.mark.parametrize(
    ("view", "denial"),
    [
        (None, Denial.UNKNOWN_SERIAL),
        (a_view(Auth.TOKEN, disabled=True), Denial.DISABLED),
        (a_view(Auth.DERIVED, disabled=True), Denial.DISABLED),
        (a_view(Auth.SERIAL, Access(window_until_us=NOW + 1), disabled=True), Denial.DISABLED),
        (a_view(Auth.SERIAL), Denial.WINDOW_CLOSED),
        (a_view(Auth.SERIAL, Access(window_until_us=NOW)), Denial.WINDOW_CLOSED),
        (a_view(Auth.SERIAL, IN_NETWORK), Denial.NOT_IN_NETWORK),
        (a_view(Auth.SERIAL, replace(IN_NETWORK, window_until_us=NOW)), Denial.NOT_IN_NETWORK),
    ],
)
def test_inv8_who_may_not_call_is_checked_with_a_token_that_it_cannot_have(view: View | None, denial: Denial) -> None:
    found = credentials(view, SERIAL, OUTSIDE, SEALER)
    assert (found.known, found.denial) == (False, denial)
    assert len(found.token.reveal()) == 32
    assert found.denial.reason


def test_inv6_a_product_key_opens_in_its_own_row_alone() -> None:
    view = a_view(Auth.DERIVED)
    with pytest.raises(SealError):
        credentials(replace(view, product=replace(view.product, name="other")), SERIAL, INSIDE, SEALER)
    with pytest.raises(SealError):
        credentials(replace(view, access=Access()), SERIAL, INSIDE, SEALER)
    assert KEY.decode() not in repr(view)


@pytest.mark.parametrize(
    "changed",
    [{"window_until_us": NOW + 2}, {"source_networks": None}, {"allow_server_keys": True}, {"sealed_auth": None}],
)
def test_inv6_what_auth_serial_allows_is_what_was_sealed(changed: dict[str, Any]) -> None:
    view = a_view(Auth.SERIAL, replace(IN_NETWORK, window_until_us=NOW + 1))
    credentials(view, SERIAL, INSIDE, SEALER)
    with pytest.raises(SealError):
        credentials(replace(view, access=replace(view.access, **changed)), SERIAL, INSIDE, SEALER)


@pytest.mark.parametrize(("sealed_for", "put_in"), [(Auth.SERIAL, Auth.DERIVED), (Auth.DERIVED, Auth.SERIAL)])
def test_inv6_what_one_auth_rests_on_is_none_of_the_other(sealed_for: Auth, put_in: Auth) -> None:
    """Else the digest of public rules would be a product key."""
    view = a_view(sealed_for)
    with pytest.raises(SealError):
        credentials(replace(view, product=replace(view.product, auth=put_in)), SERIAL, INSIDE, SEALER)


@pytest.mark.parametrize("auth", Auth)
@pytest.mark.parametrize("allowed", [True, False])
def test_a_key_made_here_goes_to_who_proves_itself_or_where_it_is_allowed(auth: Auth, allowed: bool) -> None:
    view = a_view(auth, Access(allow_server_keys=allowed))
    assert may_have_server_key(view) is (allowed or auth is not Auth.SERIAL)


@pytest.mark.parametrize(
    ("auth", "rules", "access", "says"),
    [
        (Auth.TOKEN, {}, Access(), []),
        (Auth.TOKEN, {}, IN_NETWORK, ["have no effect under auth token"]),
        (Auth.TOKEN, {}, Access(allow_server_keys=True), ["have no effect"]),
        (Auth.TOKEN, {}, Access(window_until_us=NOW - 1), []),
        (Auth.DERIVED, {}, Access(b"sealed"), []),
        (Auth.DERIVED, {}, Access(), ["without a product key"]),
        (Auth.DERIVED, {}, Access(b"sealed", window_until_us=NOW + 1), ["have no effect under auth derived"]),
        (Auth.SERIAL, {"key_source": KeySource.DEVICE_CSR}, IN_NETWORK, []),
        (Auth.SERIAL, {"key_source": KeySource.DEVICE_CSR}, Access(window_until_us=NOW + 1), []),
        (Auth.SERIAL, {"key_source": KeySource.DEVICE_CSR}, Access(window_until_us=NOW), ["may call now: say"]),
        (Auth.SERIAL, {}, IN_NETWORK, ["refuses keys made here"]),
        (Auth.SERIAL, {}, replace(IN_NETWORK, allow_server_keys=True), ["gets its certificate and its key"]),
        (
            Auth.SERIAL,
            {"key_source": KeySource.DEVICE_CSR, "reissue_limit": None},
            Access(source_networks="10.0.0.0/8,::/0"),
            ["::/0, which is everybody: name", "replaces the certificate that its device uses: "],
        ),
    ],
)
def test_what_is_wrong_in_a_set_up(auth: Auth, rules: dict[str, Any], access: Access, says: list[str]) -> None:
    product = replace(a_view(auth).product, **rules)
    found = list(problems(product, access, NOW))
    assert len(found) == len(says)
    assert all(part in problem for part, problem in zip(says, found, strict=True))
    assert all(": " in problem for problem in found)
