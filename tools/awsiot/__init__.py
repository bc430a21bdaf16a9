"""The stand-in for AWS IoT's control plane that the tests and the demo run against. README.md says how."""

from tools.awsiot.client import Control, run_in_thread
from tools.awsiot.faults import Fault
from tools.awsiot.quotas import AWS_QUOTAS
from tools.awsiot.server import Settings, StandIn

__all__ = ["AWS_QUOTAS", "Control", "Fault", "Settings", "StandIn", "run_in_thread"]
