"""One mesh axis, "data": the batch is split over all devices, the state is on each of them."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, UInt8


def make_mesh() -> Mesh:
    """All devices of all processes on the axis "data".

    Automatic axes, because explicit ones (jax's default) refuse slices and reshapes of a batch.
    """
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading dimension split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def to_devices(
    batch: dict[str, UInt8[np.ndarray, "b h w 3"]], mesh: Mesh
) -> dict[str, UInt8[Array, "n h w 3"]]:
    """This process's part of each domain's batch (in process order) to one global array."""
    return {
        domain: jax.make_array_from_process_local_data(split(mesh), pictures)
        for domain, pictures in batch.items()
    }
