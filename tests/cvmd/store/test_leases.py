"""Leases by name: one holder at a time."""

import pytest

from tests.cvmd.store.conftest import Scene, at_once


def taken(scene: Scene, holder: bytes, lease_s: float = 600) -> bool:
    return scene.store.take_lease("sweep", holder, lease_s)


def test_inv10_of_many_nodes_one_takes_it(scene: Scene) -> None:
    for _ in range(2):
        assert sorted(at_once(6, lambda number: taken(scene, b"%d" % number))) == [False] * 5 + [True]
        scene.sql("UPDATE leases SET until_us = 1")


def test_it_is_not_taken_again_before_it_is_over_not_even_by_its_holder(scene: Scene) -> None:
    assert taken(scene, b"a")
    assert not taken(scene, b"a")
    assert scene.store.take_lease("another", b"b", 600)


@pytest.mark.parametrize("over", [True, False])
def test_one_whose_answer_was_lost_is_ours(scene: Scene, over: bool) -> None:
    if over:
        assert taken(scene, b"b", -1)
    scene.database.lose = 1
    assert taken(scene, b"a")
    scene.database.lose = 1
    assert not taken(scene, b"b")


def test_its_holder_alone_lets_it_end_earlier(scene: Scene) -> None:
    assert taken(scene, b"a")
    scene.store.shorten_lease("sweep", b"b", -1)
    assert not taken(scene, b"b")
    scene.store.shorten_lease("sweep", b"a", -1)
    assert taken(scene, b"b")
