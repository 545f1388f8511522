"""One mesh axis, "data": the batch is split over all devices, the state is on each of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int32, Num, UInt8


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


def split_calls(mesh: Mesh) -> NamedSharding:
    """The second dimension split over the devices: the batches of several steps, `[k, b, ...]`."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def to_devices(
    batch: dict[str, Num[np.ndarray, "..."]], sharding: NamedSharding
) -> dict[str, Num[Array, "..."]]:
    """This process's part of each domain's batch (in process order) to one global array.

    The one transfer that is meant, so allowed inside a `jax.transfer_guard` too.
    """
    with jax.transfer_guard_host_to_device("allow"):
        return {
            domain: jax.make_array_from_process_local_data(sharding, part) for domain, part in batch.items()
        }


def resident(
    count: int, read: Callable[[range], UInt8[np.ndarray, "n s s 3"]], size: int, mesh: Mesh
) -> UInt8[Array, "m s s 3"]:
    """All `count` pictures of a domain, split over the devices; zeros fill up the last one.

    `read` gives the pictures of a range of numbers; each process reads those of its own devices.
    """
    each = -(-count // mesh.size)

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        first = index[0].start or 0 if index else 0
        pictures = np.zeros((each, size, size, 3), np.uint8)
        numbers = range(first, max(first, min(first + each, count)))
        if numbers:
            pictures[: len(numbers)] = read(numbers)
        return pictures

    return jax.make_array_from_callback((each * mesh.size, size, size, 3), split(mesh), part)


def gather(
    pictures: UInt8[Array, "m s s 3"], numbers: Int32[Array, "b"], mesh: Mesh
) -> UInt8[Array, "b s s 3"]:
    """The pictures of these numbers out of a `resident` dataset, split over the devices.

    Each device puts its own pictures where they belong in the whole batch, zeros elsewhere; the sum over
    devices is the batch, of which each receives its part: no device ever holds what is another's.
    """
    if mesh.size == 1:
        return pictures[numbers]

    def part(mine: Array, numbers: Array) -> Array:
        place = numbers - lax.axis_index("data") * mine.shape[0]
        here = (place >= 0) & (place < mine.shape[0])
        rows = mine[jnp.clip(place, 0, mine.shape[0] - 1)]
        rows = jnp.where(here[:, None, None, None], rows, 0)
        return lax.psum_scatter(rows, "data", scatter_dimension=0, tiled=True)

    return jax.shard_map(
        part, mesh=mesh, in_specs=(PartitionSpec("data"), PartitionSpec()), out_specs=PartitionSpec("data")
    )(pictures, numbers)
