import pytest

from protocol.constants import Stage, Status
from tools.client import Cut, Done, Failed, Refused
from tools.client.explain import explain


@pytest.mark.parametrize("status", Status)
def test_every_status_is_explained_by_name(status: Status) -> None:
    text = explain(Refused(status, Stage.QUEUE, 42, 2, tagged=True))
    assert f"Refused with {status.name} (stage QUEUE, come back after 42 s)" in text
    assert "does not know that status" not in text
    assert "{" not in text


@pytest.mark.parametrize(
    ("status", "class_says"),
    [(0x1F, "come back"), (0x2F, "start over"), (0x3F, "a person"), (0x4F, "firmware"), (0x7F, "a person")],
)
def test_an_unknown_status_is_explained_by_its_class(status: int, class_says: str) -> None:
    text = explain(Refused(status, 99, 0, 0, tagged=True))
    assert f"0x{status:02x}" in text
    assert "0x63" in text
    assert class_says in text


def test_details_are_spelt_out() -> None:
    assert "mac, noise" in explain(Refused(Status.SUITE, Stage.HELLO, 0, 0b11, tagged=False))
    assert "signature" in explain(Refused(Status.CSR_BAD, Stage.PROOF, 0, 3, tagged=True))
    assert "reason 77" in explain(Refused(Status.CSR_BAD, Stage.PROOF, 0, 77, tagged=True))
    assert "its policy is not" in explain(Refused(Status.MAPPING, Stage.ATTACH, 300, 2, tagged=True))
    assert "1400" in explain(Refused(Status.MAX_FRAME, Stage.HELLO, 0, 1400, tagged=False))


def test_what_anybody_could_have_said_is_marked() -> None:
    assert "anybody" in explain(Refused(Status.AUTH, Stage.PROOF, 60, 0, tagged=False))
    assert "anybody" not in explain(Refused(Status.ISSUED, Stage.PROOF, 60, 0, tagged=True))


def test_other_endings() -> None:
    assert explain(Done(already=False)) != explain(Done(already=True))
    assert "no answer" in explain(Failed("no answer within 30 s"))
    assert "17 bytes" in explain(Cut(17))
