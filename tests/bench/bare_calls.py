"""The floor of a vend: its five AWS calls and nothing else, by boto3's clients as they come, on a thread pool."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import boto3

BareVend = tuple[str, str, str]
"""(CSR in PEM, policy, thing)."""


class BareCalls:
    """So many threads, a client each: one client for all keeps 10 connections and would open the rest anew."""

    def __init__(self, endpoint_url: str, at_once: int) -> None:
        self._pool = ThreadPoolExecutor(at_once)
        self._clients: SimpleQueue[Any] = SimpleQueue()
        session = boto3.Session()
        for _ in range(at_once):
            self._clients.put(session.client("iot", endpoint_url=endpoint_url))

    def cpu_s(self, vends: Sequence[BareVend]) -> float:
        """User and system time of this process for all of them."""
        begin = os.times()
        list(self._pool.map(self._vend, vends))
        end = os.times()
        return end.user + end.system - begin.user - begin.system

    def _vend(self, vend: BareVend) -> None:
        csr_pem, policy, thing = vend
        iot = self._clients.get()
        made = iot.create_certificate_from_csr(certificateSigningRequest=csr_pem, setAsActive=False)
        arn = made["certificateArn"]
        iot.attach_policy(policyName=policy, target=arn)
        iot.attach_thing_principal(thingName=thing, principal=arn)
        iot.list_thing_principals(thingName=thing)
        iot.update_certificate(certificateId=made["certificateId"], newStatus="ACTIVE")
        self._clients.put(iot)


_calls: BareCalls


def begin(endpoint_url: str, at_once: int) -> None:
    """What a process of its own starts with."""
    global _calls  # a worker process of a pool has no other place to keep it
    _calls = BareCalls(endpoint_url, at_once)


def cpu_of_calls_s(vends: Sequence[BareVend]) -> float:
    """BareCalls.cpu_s of this process."""
    return _calls.cpu_s(vends)
