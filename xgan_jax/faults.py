"""What can go wrong with a command, said in one sentence: what, where, what to do; and the exit status.

Every command does its work inside `run`. The rooms below raise what they find: a ValueError or a
FileNotFoundError whose text is such a sentence, or simply what the system says, which gets its sentence here.
"""

import contextlib
import errno
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

INPUT = 2  # what was given is at fault: a flag, a setting, a path, a file
MACHINE = 1  # the machine is (its disk, its memory), or the run (NaN), or this program
STOPPED = 130  # Ctrl-C

_GO_ON = "then give the same command again"
# What the system says, in words; the path stands before it. A text with a colon is whole.
_SYSTEM: dict[int, tuple[str, str, int]] = {
    errno.ENOSPC: ("the disk is full", f"free some space, {_GO_ON}", MACHINE),
    errno.EDQUOT: ("your quota of the disk is used up", f"free some space, {_GO_ON}", MACHINE),
    errno.EFBIG: ("the file is larger than this disk or user may have", "choose another disk", MACHINE),
    errno.EROFS: ("it lies on a disk that can only be read", "choose another folder", INPUT),
    errno.EACCES: ("this user may not read or write it", "change its permissions or choose another", INPUT),
    errno.EPERM: ("this user may not do that to it", "change its permissions or choose another", INPUT),
    errno.ENOENT: ("it does not exist", "look at how it is written", INPUT),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another path", INPUT),
    errno.EISDIR: ("a folder stands where a file is needed", "choose another path", INPUT),
    errno.EEXIST: ("something stands there already", "choose another path", INPUT),
    errno.ENOTEMPTY: ("the folder is not empty", "choose another", INPUT),
    errno.ENAMETOOLONG: ("the name is too long for this disk", "choose a shorter one", INPUT),
    errno.ELOOP: ("its links go round in a circle", "give the file or folder itself", INPUT),
    errno.EINVAL: ("the system does not take it", "choose another path", INPUT),
    errno.EBUSY: ("it is in use, or a disk is mounted there", "choose another path", INPUT),
    errno.EIO: ("the disk does not answer as it should", f"look after it, {_GO_ON}", MACHINE),
    errno.ESTALE: ("the network disk was mounted anew", _GO_ON, MACHINE),
    errno.ENOTCONN: ("the network disk is gone", f"mount it, {_GO_ON}", MACHINE),
    errno.ETIMEDOUT: ("the network disk does not answer", f"look after it, {_GO_ON}", MACHINE),
    errno.EMFILE: ("too many files are open", f"allow more with `ulimit -n 4096`, {_GO_ON}", MACHINE),
    errno.ENFILE: ("too many files are open on this machine", f"end other programs, {_GO_ON}", MACHINE),
    errno.EPIPE: ("whoever read what is printed has stopped", _GO_ON, 141),  # as shells say SIGPIPE
}
# Packages that are no dependencies, and the extra that has them.
_EXTRAS = {"cv2": "detector", "torch": "bench"}
# Of each command, what to lower where memory does not suffice.
_SMALLER = {
    "train.py": "lower --config.run.batch_size or the networks' width",
    "eval.py": "lower --count, or --metrics_count",
    "xgan prepare": "lower --workers",
    "xgan translate": "lower --batch-size",
}


@dataclass(frozen=True)
class Fault:
    """`what` is wrong and where, what to `do`, and the exit status."""

    what: str
    do: str
    status: int

    def __str__(self) -> str:
        return f"{self.what}: {self.do}." if self.do else self.what


class MachineError(OSError):
    """What the machine failed in, as one sentence."""


def run(command: str, work: Callable[[], object]) -> int:
    """Does the work of a command, and returns its exit status: 0, or what the fault of it has, after one line
    about that on stderr.

    A fault of this program comes with its traceback; `XGAN_TRACEBACK=1` shows that of every fault.
    """
    logging.basicConfig(format="%(message)s")  # before a library's first warning chooses another form
    _quieten_libraries()
    try:
        with _heeding_ctrl_c(command):
            status = _exit_status(work)
        print(end="", flush=True)
    except BaseException as error:
        fault = fault_of(error, command)
        if fault is None or os.environ.get("XGAN_TRACEBACK"):
            traceback.print_exception(error)
        fault = fault or Fault(
            "this is a fault of xgan_jax", "please report it with the lines above", MACHINE
        )
        print(f"{command}: {fault}", file=sys.stderr)
        status = fault.status
    _let_go_of_stdout()
    return status


@contextlib.contextmanager
def writing(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Says of an error of the system that it was about `folder`, where the system says of no file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (None, errno.EPIPE) and error.filename is None:
            error.filename = os.fspath(folder)
        raise


def fault_of(error: BaseException, command: str = "", folder: str | None = None) -> Fault | None:
    """What `error` means to whoever gave the command; None where it can only be a mistake in this program.

    `folder`: what was written into, where the system says of no file.
    """
    text = " ".join(str(error).split())
    smaller = _SMALLER.get(command, "do less at a time")
    if isinstance(error, KeyboardInterrupt):
        return Fault("stopped", "the same command goes on", STOPPED)
    if isinstance(error, MachineError):
        return Fault(text, "", MACHINE)
    if isinstance(error, OSError) or "os_error_code=" in text:
        return _system_fault(error, text, folder)
    if isinstance(error, MemoryError):
        return Fault("this machine's memory does not suffice", smaller, MACHINE)
    if "RESOURCE_EXHAUSTED" in text:
        return Fault(f"the device's memory does not suffice ({text[:200]})", smaller, MACHINE)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_package(error.name)
    if isinstance(error, FloatingPointError):  # a number of the run became NaN
        return Fault(text, "", MACHINE)
    if "Unable to initialize backend" in text:
        return Fault(text, "unset JAX_PLATFORMS, or install jax for that device (README)", INPUT)
    if isinstance(error, ValueError):
        return Fault(text, "", INPUT)
    return None


def _system_fault(error: BaseException, text: str, folder: str | None) -> Fault:
    """Of an OSError, or of an error in whose text TensorStore tells the system's."""
    told = re.search(r"os_error_code='(\d+)'", text)
    number = int(told[1]) if told else getattr(error, "errno", None)
    if number is None:  # a sentence of ours
        return Fault(text, "", INPUT if isinstance(error, FileNotFoundError) else MACHINE)
    path = getattr(error, "filename", None) or folder
    if path is None and told and (quoted := re.search(r'"(/[^"]*)"', text)):
        path = quoted[1]
    if number == errno.EEXIST and path is not None and not os.path.isdir(path):
        number = errno.ENOTDIR  # what mkdir says of a file in its way
    what, do, status = _SYSTEM.get(number, (os.strerror(number), f"look after it, {_GO_ON}", MACHINE))
    where = f"{os.fsdecode(path)}: " if isinstance(path, (str, bytes, os.PathLike)) else ""
    return Fault(f"{where}{what}", do, status)


def _missing_package(name: str) -> Fault:
    package = name.partition(".")[0]
    if package in _EXTRAS:
        return Fault(
            f"the Python package {package} is missing", f"pip install -e '.[{_EXTRAS[package]}]'", INPUT
        )
    return Fault(
        f"the Python package {package} is missing", "pip install -e . in the project's folder", INPUT
    )


def _exit_status(work: Callable[[], object]) -> int:
    """0, or with what the work itself ended the program."""
    try:
        work()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return MACHINE
        return int(stop.code or 0)
    return 0


@contextlib.contextmanager
def _heeding_ctrl_c(command: str) -> Iterator[None]:
    """Ctrl-C ends the work wherever it is.

    Python raises KeyboardInterrupt in whatever runs: a module that is being imported is then left half made,
    which other modules take for a fault of theirs, or crash of; and JAX's callback of the garbage collector
    swallows it, and the work goes on.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        where = [(f.f_code.co_filename, f.f_code.co_name) for f in _frames(frame)]
        if any(file.startswith("<frozen importlib") for file, _ in where):
            print(f"{command}: {fault_of(KeyboardInterrupt())}", file=sys.stderr, flush=True)
            os._exit(STOPPED)
        if any(name == "_xla_gc_callback" for _, name in where):
            signal.setitimer(signal.ITIMER_REAL, 0.01)  # it will be over by then
            return
        raise KeyboardInterrupt

    in_background = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if in_background or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _quieten_libraries() -> None:
    """What libraries say from their threads of an error that they raise, too, is not said twice.

    Orbax logs each with a traceback; TensorStore's threads, which come back to an event loop that has failed,
    report that to the hook of errors that nobody can catch.
    """
    if os.environ.get("XGAN_TRACEBACK"):
        return
    for library in ("absl", "asyncio"):
        logging.getLogger(library).addFilter(_without_traceback)
    sys.unraisablehook = _unraisable


def _without_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _unraisable(report: "sys.UnraisableHookArgs") -> None:
    if str(report.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(report)


def _let_go_of_stdout() -> None:
    """Where nobody reads it any more, the interpreter would complain once more at its end."""
    try:
        print(end="", flush=True)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
