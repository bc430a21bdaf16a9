"""Who may come in."""

from cvmd.admission import Admission, Door


def test_inv7_connections_in_all_are_bounded() -> None:
    door = Door(max_connections=2, max_per_source=2)
    for source in ("a", "b"):
        door.enter(source)
        door.proved()
    assert door.judge("c", 1.0) is Admission.FULL
    door.leave("a", proved=True)
    assert door.judge("c", 1.0) is Admission.ACCEPT


def test_inv7_connections_of_a_source_are_bounded_and_forgotten_when_gone() -> None:
    door = Door(max_connections=1000, max_per_source=1)
    door.enter("a")
    assert door.judge("a", 1.0) is Admission.SOURCE_FULL
    assert door.judge("b", 1.0) is Admission.ACCEPT
    door.leave("a", proved=False)
    assert door.judge("a", 1.0) is Admission.ACCEPT
    assert door.open == 0


def test_early_drop_is_likelier_the_more_have_not_proved_themselves() -> None:
    door = Door(max_connections=100, max_per_source=1000)
    for _ in range(30):
        door.enter("a")
    assert door.judge("a", 0.0) is Admission.ACCEPT
    for _ in range(35):
        door.enter("a")
    assert door.judge("a", 0.49) is Admission.EARLY
    assert door.judge("a", 0.51) is Admission.ACCEPT
    for _ in range(35):
        door.proved()
    assert door.judge("a", 0.0) is Admission.ACCEPT
