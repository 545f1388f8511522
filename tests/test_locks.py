"""Two processes and one folder; disks that have locks and disks that have none."""

import errno
import fcntl
from pathlib import Path

import pytest

from xgan_jax import locks
from xgan_jax.data.journal import Journal
from xgan_jax.outputs import Outputs
from xgan_jax.runs.folder import held

REQUEST = {"domains": {}}


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, errno.errorcode[number])

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_holds_is_respected(tmp_path: Path, monkeypatch, number: int) -> None:
    refuse(monkeypatch, number)
    with pytest.raises(ValueError, match="another training process is running"), held(tmp_path / "run"):
        pass
    with pytest.raises(ValueError, match="another prepare is writing"):
        Journal(tmp_path / "data", REQUEST)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_disk_without_locks_is_used_with_one_warning(
    tmp_path: Path, monkeypatch, caplog, number: int
) -> None:
    refuse(monkeypatch, number)
    with held(tmp_path / "run"), Journal(tmp_path / "data", REQUEST):
        outputs = Outputs(tmp_path / "out")
        assert [outputs.write(name, b"x", "all") for name in ("a", "b")] == ["a", "b"]
    assert [record.message.partition(": its disk has no locks")[0] for record in caplog.records] == [
        str(tmp_path / name) for name in ("run", "data.partial", "out")
    ]


def test_the_lock_goes_with_the_file(tmp_path: Path) -> None:
    with (tmp_path / "f").open("a") as one, (tmp_path / "f").open("a") as other:
        assert locks.lock(one, tmp_path) and not locks.lock(other, tmp_path)
        one.close()
        assert locks.lock(other, tmp_path, wait=True)
