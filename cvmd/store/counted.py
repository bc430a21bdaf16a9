"""The store of a daemon that counts: each step that took effect is told to the meter, by its name."""

from __future__ import annotations

from cvmd.meter import Meter
from cvmd.model import Account, Attribution, DescribedCertificate, Fault, Issuance, Retiring, State
from cvmd.ports import Claim
from cvmd.store import Database, Store, Trail


class CountedStore(Store):
    """A Store whose steps are counted by the node that took them."""

    def __init__(self, database: Database, trail: Trail, meter: Meter) -> None:
        super().__init__(database, trail)
        self._meter = meter

    def queue(
        self,
        device_id: int,
        generation: int,
        *,
        uid: bytes,
        sealed_csr: bytes | None,
        public_key_id: bytes | None,
        replaces: int | None,
        grounds: str = "",
    ) -> bool:
        won = super().queue(
            device_id, generation, uid=uid, sealed_csr=sealed_csr, public_key_id=public_key_id, replaces=replaces,
            grounds=grounds,
        )  # fmt: skip
        return self._became(State.QUEUED, won)

    def record_offered(self, issuance: Issuance, claim: Claim) -> bool:
        return self._became(State.OFFERED, super().record_offered(issuance, claim))

    def acknowledge(self, issuance_id: int, certificate_id: bytes) -> bool:
        return self._became(State.ACKED, super().acknowledge(issuance_id, certificate_id))

    def record_active(self, issuance: Issuance, claim: Claim) -> bool:
        return self._became(State.ACTIVE, super().record_active(issuance, claim))

    def expire(self, issuance: Issuance) -> bool:
        return self._became(State.CLOSED, super().expire(issuance))

    def fail(self, issuance: Issuance, claim_id: bytes | None, fault: Fault, detail: str) -> bool:
        return self._became(State.FAILED, super().fail(issuance, claim_id, fault, detail), fault)

    def record_deleted(self, retiring: Retiring, claim: Claim) -> None:
        super().record_deleted(retiring, claim)
        self._meter.certificate_deleted(retiring.reason)

    def retire_orphan(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        retired = super().retire_orphan(account, found, whose)
        if retired:
            self._meter.orphan_found()
        return retired

    def _became(self, state: State, so: bool, fault: Fault | None = None) -> bool:
        if so:
            self._meter.issuance_became(state, fault)
        return so
