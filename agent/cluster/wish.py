"""What a user says of the cluster that a batch is to run on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...tools.errors import SettingsError
from ..roles import Roles

if TYPE_CHECKING:
    from ..settings import Settings


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the replicas that a batch has there; each is a process with models of its own."""

    address: str = "auto"
    """``auto`` for the cluster that runs here, or else one of this machine; ``local`` for one of this machine;
    ``host:port``. One that is started ends with the batch."""
    replicas: int = 1
    """Those that the cluster has no room for now join as soon as it has."""
    gpus_per_replica: float | None = None
    """None: 1 if the cluster has GPUs, else 0."""
    cpus_per_replica: float | None = None
    """Also the threads that it computes with. None: an equal share of the cluster's, at least 1."""
    store: str | None = None
    """Any URL of fsspec; run folders are put there when they are finished. None: they lie beside the rows, in a folder
    that all machines share."""
    roles: "Callable[[Settings], Roles] | None" = None
    """Makes the roles in each replica, in place of the preset's."""
    news: Callable[[str], object] = lambda line: None
    """Told, in a line, what becomes of cluster and replicas."""

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise SettingsError(f"{self.replicas} replicas should be at least 1")
        for name in ("gpus_per_replica", "cpus_per_replica"):
            share: float | None = getattr(self, name)
            if share is not None and share < 0:
                raise SettingsError(f"{name} of {share} should be at least 0")


@dataclass(frozen=True)
class Share:
    """What each replica has."""

    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """That it computes with."""
        return max(1, int(self.cpus))


def share_of(cluster: Cluster, cpus: float, gpus: float) -> Share:
    """What each replica has of a cluster with so many in all.

    Raises:
        SettingsError: the cluster has no room for one.
    """
    wanted = cluster.cpus_per_replica, cluster.gpus_per_replica
    share = Share(
        cpus=max(1, cpus // cluster.replicas) if wanted[0] is None else wanted[0],
        gpus=float(gpus > 0) if wanted[1] is None else wanted[1],
    )
    if share.cpus > cpus or share.gpus > gpus:
        raise SettingsError(
            f"a replica with {share.cpus:g} CPUs and {share.gpus:g} GPUs has no room in a cluster with {cpus:g} and"
            f" {gpus:g}: say --cpus-per-replica and --gpus-per-replica"
        )
    return share
