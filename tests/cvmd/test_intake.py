"""Lines of a CSV: what is taken as it stands, and the reason why another one is not."""

import secrets
from array import array
from collections.abc import Iterable

import pytest

from cvmd.errors import ConfigError
from cvmd.intake import COLUMNS, MAX_LINE, Accept, Candidate, Checks, Line, Unfit, fold, read, token_of
from cvmd.model import Account, Auth, KeySource, Product

HEADER = b"serial,token,product,thing,policy\n"
TOKEN = "00ff" * 15 + "0102"
ACCOUNTS = [Account(number, f"account-{number}", None, None, None, None, 10) for number in (1, 2)]
ALL = frozenset(Accept)


def product(name: str, auth: Auth = Auth.TOKEN, *, account: int = 0, share_things: bool = False) -> Product:
    return Product(1, name, ACCOUNTS[account], auth, KeySource.EC_P256, 0, 60, 60, 5, share_things)


PRODUCTS = {
    it.name: it
    for it in (
        product("meter"), product("valve", account=1), product("shared", share_things=True),
        product("derived", Auth.DERIVED), product("listed", Auth.SERIAL),
    )
}  # fmt: skip


def checks(there: Iterable[bytes] = (), accept: frozenset[Accept] = frozenset()) -> Checks:
    return Checks(PRODUCTS, array("q", sorted(map(fold, there))), accept)


def lines(*text: bytes, header: bytes = HEADER, **defaults: str) -> list[Line]:
    return list(read([header, *text], defaults))


def judged(*text: bytes, accept: frozenset[Accept] = frozenset()) -> list[Candidate | str]:
    """What becomes of each line."""
    made, found = checks(accept=accept), []
    for line in lines(*text):
        try:
            found.append(made.candidate(line))
        except Unfit as reason:
            found.append(str(reason))
    return found


# Reading


def test_a_line_is_its_cells_and_its_number() -> None:
    assert lines(b"A1,00ff,meter,t,p\n", b"\n", b'"B,2",,"m""",t,p\r\n') == [
        Line(2, ("A1", "00ff", "meter", "t", "p")),
        Line(4, ("B,2", "", 'm"', "t", "p")),
    ]


def test_columns_may_be_in_any_order_and_defaults_fill_what_is_empty() -> None:
    header = b"\xef\xbb\xbfreason,thing,serial,policy\n"
    assert lines(b"whatever,t,A1,\n", b"x,t,B2,own\n", header=header, product="meter", policy="p") == [
        Line(2, ("A1", "", "meter", "t", "p")),
        Line(3, ("B2", "", "meter", "t", "own")),
    ]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"", "names no column serial and no product and no thing and no policy"),
        (b"serial,thing,policy\n", "names no column product"),
        (b"serial;token;product;thing;policy\n", "separate the columns by commas"),
        (b"Serial,token,product,thing,policy\n", "a column 'Serial'"),
        (b"serial,token,product,thing,policy,serial\n", "twice"),
        (b"serial,tok\xff\n", "not UTF-8"),
        (b'"serial\n', "no line of CSV"),
        (b"A1,00ff,meter,t,p\n", "a column 'A1'"),
    ],
)
def test_a_first_line_that_names_no_columns_ends_it(header: bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        lines(header=header)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"A1,00ff,meter,t\n", "has 4 fields, the first line of the file has 5"),
        (b"A1,00ff,meter,t,p,\n", "has 6 fields"),
        (b'A1,00ff,meter,t,"p\n', "no line of CSV"),
        (b'A1,00ff,meter,t,"p"x\n', "no line of CSV"),
        (b"A1,00ff,meter,\xe4,p\n", "not UTF-8"),
        (b"x" * (MAX_LINE + 1), f"more than {MAX_LINE} bytes"),
    ],
)
def test_a_line_that_cannot_be_split_spoils_no_other(text: bytes, problem: str) -> None:
    spoilt, good = lines(text, b"B2,,meter,t,p\n")
    assert problem in spoilt.problem
    assert spoilt.cells[0].startswith(text[:2].decode())
    assert good == Line(3, ("B2", "", "meter", "t", "p"))
    with pytest.raises(Unfit, match=problem):
        checks().candidate(spoilt)


# What a line says


def test_a_good_line_is_taken_as_it_stands() -> None:
    (it,) = judged(f"A-z:0_9.,{TOKEN},meter,T:h_1-,p+=,.@-_\n".replace("p+=,.@-_", '"p+=,.@-_"').encode())
    assert isinstance(it, Candidate)
    assert (it.serial, it.thing, it.policy, it.product) == (b"A-z:0_9.", "T:h_1-", "p+=,.@-_", PRODUCTS["meter"])
    assert it.token is not None
    assert it.token.reveal() == bytes.fromhex(TOKEN)


CELLS = dict(zip(COLUMNS, ("A1", TOKEN, "meter", "t", "p"), strict=True))


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"serial": ""}, "it has no serial"),
        ({"serial": " A1"}, "the serial has white space around it"),
        ({"serial": "A 1"}, "serial 'A 1' is to be 1 to 64"),
        ({"serial": "Ä1"}, "serial '\\xc41' is to be"),
        ({"serial": "x" * 65}, "is to be 1 to 64"),
        ({"product": ""}, "it has no product"),
        ({"product": "pump"}, "there is no product 'pump'"),
        ({"product": "meter "}, "the product has white space"),
        ({"thing": ""}, "it has no thing"),
        ({"thing": "a.b"}, "thing 'a.b' is to be"),
        ({"thing": "t\t"}, "the thing has white space"),
        ({"policy": ""}, "it has no policy"),
        ({"policy": "a/b"}, "policy 'a/b' is to be"),
        ({"token": "00" * 15 + "01"}, None),
        ({"token": "0102" * 7}, "the token has 14 bytes"),
        ({"token": "0102" * 33}, "the token has 66 bytes"),
        ({"token": "07" * 32}, "one byte again and again"),
        ({"token": " " + TOKEN}, "white space around it"),
        ({"token": "0x" + TOKEN}, "begins with 0x"),
        ({"token": TOKEN[1:]}, "odd number of hex digits"),
        ({"token": "1.23457E+38"}, "a number as a spreadsheet rounds it"),
        ({"token": "correct horse battery"}, "not written as hex digits"),
        ({"token": "ÿ" * 32}, "not written as hex digits"),
        ({"token": b"correct horse battery".hex()}, "the token's bytes are text"),
        ({"token": TOKEN.encode().hex()}, "was it encoded twice?"),
        ({"product": "derived"}, "product derived has auth derived: its devices have no tokens"),
        ({"product": "listed"}, "product listed has auth serial: its devices have no tokens"),
        ({"product": "listed", "token": ""}, None),
    ],
)
def test_each_thing_that_is_wrong_has_its_reason(cells: dict[str, str], reason: str | None) -> None:
    line = Line(7, tuple({**CELLS, **cells}.values()))
    if reason is None:
        assert checks().candidate(line).line is line
        return
    with pytest.raises(Unfit) as caught:
        checks().candidate(line)
    assert reason in str(caught.value)


def test_inv6_no_reason_repeats_a_token() -> None:
    for text in ("correct horse battery", TOKEN[1:], "0x" + TOKEN, TOKEN[:20], TOKEN.encode().hex()[:64]):
        with pytest.raises(Unfit) as caught:
            token_of(text, frozenset())
        assert text not in str(caught.value)
        assert text[2:10] not in str(caught.value)


def test_random_tokens_are_never_text() -> None:
    for _ in range(2000):
        token = secrets.token_bytes(32)
        found = token_of(token.hex().upper(), frozenset())
        assert found is not None
        assert found.reveal() == token


# What a line says beside others


def test_what_must_be_once_in_a_file() -> None:
    other = "aa" + TOKEN[2:]
    found = judged(
        f"A1,{TOKEN},meter,t1,p\n".encode(),
        f"A1,{other},meter,t2,p\n".encode(),
        f"a1,{other},meter,t3,p\n".encode(),
        f"B1,{TOKEN},meter,t4,p\n".encode(),
        b"B2,,meter,t1,p\n",
        b"B3,,valve,t1,p\n",  # another account's
        b"B4,,shared,t1,p\n",
        b"B5,,shared,t1,p\n",
    )
    assert [it if isinstance(it, str) else None for it in found] == [
        None,
        "serial A1 is in line 2 already",
        "line 2 has this serial in other letters, upper or lower case (--accept look-alikes takes both)",
        "the token is in line 2 already (--accept shared-tokens takes it)",
        "thing t1 is in line 2 already (--accept shared-things takes it)",
        None,
        None,
        None,
    ]


def test_what_is_meant_is_taken() -> None:
    text = b"correct horse battery".hex()
    same = [f"{serial},{text},meter,t1,p\n".encode() for serial in ("A1", "a1")]
    assert all(isinstance(it, Candidate) for it in judged(*same, accept=ALL))
    assert not any(isinstance(it, Candidate) for it in judged(*same))


def test_a_serial_that_resembles_one_that_is_there() -> None:
    assert checks([b"ab1", b"x"]).resembles(b"AB1")
    assert not checks([b"ab1", b"x"]).resembles(b"AB2")
    assert not checks([b"ab1"], ALL).resembles(b"AB1")
    assert not checks().resembles(b"AB1")
