"""What an outcome means to a person: what happened, and what to do about it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from protocol.constants import STATUS_CLASSES, Stage, Status, Suite

from .outcome import Cut, Done, Failed, Outcome, Refused

_ADVICE: Final = {
    Status.BUSY: "The server is busy. Come back after that pause.",
    Status.TURN: "The queue is longer than --max-wait, or the device has changed its key too soon. "
    "Come back after that pause.",
    Status.DRAINING: "The server is stopping or being restarted. Come back.",
    Status.BACKEND: "The server's database or AWS does not answer. Come back; tell the operator if it lasts.",
    Status.STALE: "What this device holds is no longer on offer. Run again: it goes on where it was.",
    Status.DEADLINE: "The connection took too long. Run again: it goes on where it was.",
    Status.AUTH: "The server does not accept this serial with this token. It tells nobody whether the serial "
    "is unknown, the token wrong or the device disabled: check with the operator.",
    Status.ISSUED: "This serial has its certificate, and its product allows no more. Keep what the device "
    "holds; the operator can open a window for another one.",
    Status.MAPPING: "The operator must mend the mapping of this serial: {mapping}.",
    Status.CHANNEL: "A key made by the server may not leave over this listener in this suite, or to who proves "
    "nothing. Use --suite noise or --tls; without a token, a product whose devices make their own key.",
    Status.QUOTA: "A limit of the AWS account is reached. The operator must have it raised.",
    Status.MALFORMED: "The server cannot read what this device sends.",
    Status.VERSION: "The server speaks CVM/{detail} at most; this client speaks another version.",
    Status.SUITE: "The server does not offer this suite here. It offers: {suites}.",
    Status.FLAG: "The server does not know the flags 0x{detail:x}.",
    Status.MAX_FRAME: "--max-frame is out of range; the nearest value that will do is {detail}.",
    Status.WANT: "What was asked for contradicts the product (bits 0x{detail:x}). Check --key-source and --want.",
    Status.SEQUENCE: "The server met a frame out of order, or altered on its way. Run again.",
    Status.CSR_NEEDED: "Devices of this product make their own key. Use --key-source device-csr.",
    Status.CSR_BAD: "The server refuses the CSR: {csr}.",
    Status.CSR_UNWANTED: "The server makes the keys of this product. Use its key source, not device-csr.",
}
_MAPPING_FAULTS: Final = {
    0: "its thing, policy or account is missing or taken",
    1: "its thing is not at AWS IoT",
    2: "its policy is not at AWS IoT",
    3: "its thing has an ACTIVE certificate that is not this device's",
}
_CSR_FAULTS: Final = {
    0: "AWS does not accept it",
    1: "it does not parse",
    2: "its key is of a kind or size that is not allowed",
    3: "its signature is wrong",
    4: "its subject is not allowed",
    5: "it asks for extensions or attributes",
}


def explain(outcome: Outcome) -> str:
    """One or two sentences for a person."""
    match outcome:
        case Done(already=True):
            return "Done already: the certificate in the directory is active, and nothing had to be fetched."
        case Done():
            return "Done: certificate and key are stored, and the certificate is active."
        case Cut(after=after):
            return f"Cut as asked, after {after} bytes. Run again without --cut-after to resume."
        case Failed(reason=reason):
            return f"Failed: {reason}."
        case Refused(status=status, stage=stage, retry_s=retry_s):
            where = f"stage {stage_name(stage)}, come back after {retry_s} s"
            source = "" if outcome.tagged else "; said in clear, so anybody on the way could have said it"
            return f"Refused with {status_name(status)} ({where}{source}). {_advice(outcome)}"


def status_name(status: int) -> str:
    """`AUTH`, or `0x39` for a status that this client does not know."""
    return _name(Status, status)


def stage_name(stage: int) -> str:
    """`PROOF`, or `0x09` for a stage that this client does not know."""
    return _name(Stage, stage)


def _advice(refused: Refused) -> str:
    if refused.status not in _ADVICE:
        what_to_do = STATUS_CLASSES.get(refused.status >> 4, "a person must look into it")
        return f"This client does not know that status; its class says: {what_to_do}."
    suites = ", ".join(suite.name.lower() for suite in Suite if refused.detail >> suite & 1) or "none"
    csr = _CSR_FAULTS.get(refused.detail, f"reason {refused.detail}")
    mapping = _MAPPING_FAULTS.get(refused.detail, f"reason {refused.detail}")
    return _ADVICE[Status(refused.status)].format(detail=refused.detail, suites=suites, csr=csr, mapping=mapping)


def _name(names: type[IntEnum], number: int) -> str:
    try:
        return names(number).name
    except ValueError:
        return f"0x{number:02x}"
