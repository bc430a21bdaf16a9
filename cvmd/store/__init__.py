"""What the daemon keeps: SQL lives here and nowhere else."""

from cvmd.store.admin import AdminStore
from cvmd.store.adoption import Adoption
from cvmd.store.audit import Trail
from cvmd.store.deployment import check_schema, migrate
from cvmd.store.devices import DeviceEvents
from cvmd.store.disposal import DisposalSteps
from cvmd.store.due import DueRows
from cvmd.store.engine import Database
from cvmd.store.inventory import Inventory
from cvmd.store.issuances import WorkerSteps
from cvmd.store.leases import Leases
from cvmd.store.nodes import Nodes
from cvmd.store.takeover import TakeOver

__all__ = ["AdminStore", "Database", "Nodes", "Store", "Trail", "check_schema", "migrate"]


class Store(DeviceEvents, WorkerSteps, DueRows, TakeOver, DisposalSteps, Inventory, Adoption, Leases):
    """VendingStore, WorkerStore, DisposalStore and ReconcileStore of cvmd.ports on one database; leases."""
