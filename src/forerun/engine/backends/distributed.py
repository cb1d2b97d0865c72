"""Distributed: the steps of a round split over the ranks of a torch.distributed group, one gather a round."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from forerun.engine.backends.base import Backend, Call
from forerun.engine.backends.local import Local, stopwatch
from forerun.engine.backends.message import (
    AXES,
    DTYPES,
    HEADER,
    Header,
    Place,
    aligned,
    body,
    disagreement,
    failures,
    restore,
)
from forerun.engine.rounds import RoundTiming

if dist.is_available():
    # Its defaults keep the group that there is when it is first imported, as torch.compile does sooner or later: such a
    # group outlives `destroy_process_group`, and its threads may abort a process that ends. So: while there is none.
    import torch.distributed.nn.functional  # noqa: F401

LAUNCH = "torchrun --nproc-per-node 4 script.py"
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class RankFailed(RuntimeError):
    """Evaluate raised on some rank; raised on all of them, in the same round. The group is still usable."""


class RanksDisagree(RuntimeError):
    """The ranks do not do the same; raised on all of them, in the same round. The group is still usable."""


class RankLost(RuntimeError):
    """A rank died, hung or left; raised on the others. The group cannot be used any more."""


@dataclass
class _Past:
    """What all ranks know from the rounds before; it changes on all of them alike."""

    rounds: int = 0
    communicate: float = 0.0  # of the last round, on this rank
    sizes: deque[int] = field(default_factory=lambda: deque([0], maxlen=4))  # bytes of the largest share

    @property
    def room(self) -> int:
        """Bytes for rows in the next message. The last few rounds, as some methods take turns of wide and narrow."""
        return aligned(max(self.sizes))


@dataclass(frozen=True)
class _Own:
    """What this rank made of its part of a round."""

    rows: Tensor | None
    seconds: float
    error: Exception | None = None

    def header(self, place: Place, part: slice, communicate: float, overhead: float) -> Header:
        """What to say about it; a rank without a step of its own says that it has no rows."""
        if self.rows is None:
            said = f"{type(self.error).__name__}: {self.error}"
            return Header(place, self.seconds, communicate, overhead, error=said)
        count, shape = part.stop - part.start, tuple(self.rows.shape[1:])
        return Header(place, self.seconds, communicate, overhead, count, shape, self.rows.dtype)


@dataclass(frozen=True)
class Distributed(Backend):
    """Many devices and machines: every rank evaluates a part of the steps, and all receive all outputs.

    Run the same script on every rank, from the same state and seed: `torchrun --nproc-per-node 4 script.py`. Each
    rank evaluates `W / G` steps, rounded up or down. A rank left without one evaluates the first step, for nothing
    but to have seen an output. Then one all-gather carries all rows with a header each, by which ranks that fail or
    disagree are noticed by all. All outputs are taken from the gathered bytes, one's own too, so that all ranks go
    on with the same bits. Weights are never sent, gradients do not flow through.

    A message is as large as those of the last rounds needed. All ranks know this size beforehand, also one whose
    evaluation fails; where rows outgrow it (the first rounds, a growing window) a second gather carries them.

    The times are agreed upon: the slowest rank's for `evaluate` and `overhead`. `communicate` is that of the round
    before on the rank that waited least, as the others' includes waiting for it.

    Args:
        group: the ranks to split over; None for all. Where torch.distributed is not initialised, the first round does
            it from the environment that torchrun sets: nccl for CUDA inputs, gloo for others.
        max_batch: steps in one call at most, on each rank.
        timeout: seconds to wait for the other ranks in a round; None for the group's own, 30 minutes with gloo and
            10 with nccl unless `init_process_group(timeout=...)` says otherwise.
        pad: sizes to pad a call to, as in `Local`.

    Raises:
        RankFailed: evaluate raised on a rank.
        RanksDisagree: a rank has other steps, inputs or outputs than the others.
        RankLost: a rank did not answer in time.
    """

    group: dist.ProcessGroup | None = None
    max_batch: int | None = None
    timeout: float | None = None
    pad: Sequence[int] = field(default=())
    _past: _Past = field(default_factory=_Past, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"Distributed(timeout={self.timeout}) waits for no one; pass seconds, such as timeout=60")
        Local(self.max_batch, self.pad)  # refuses a bad max_batch here, before any round

    def evaluate(
        self, call: Call, steps: Tensor, inputs: Tensor, overhead: float
    ) -> tuple[Tensor, Callable[[], RoundTiming]]:
        _join(inputs.device, self.timeout)
        world, rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        if rank < 0:
            raise ValueError("this process is not in Distributed's group; call solve on members of the group only")
        if world == 1:
            return Local(self.max_batch, self.pad).evaluate(call, steps, inputs, overhead)
        begun, part = time.perf_counter(), share(len(steps), rank, world)
        place = Place.of(self._past.rounds, steps, inputs)
        own = self._evaluate(call, steps, inputs, part)
        headers, rows = self._exchange(own.header(place, part, self._past.communicate, overhead), own, inputs.device)
        timing = RoundTiming(
            evaluate=max(header.evaluate for header in headers),
            communicate=min(header.communicate for header in headers),
            overhead=max(header.overhead for header in headers),
        )
        self._past.communicate = time.perf_counter() - begun - own.seconds
        return rows, lambda: timing

    def _evaluate(self, call: Call, steps: Tensor, inputs: Tensor, part: slice) -> _Own:
        """This rank's share; an error is kept, to be told to all."""
        part = part if part.start < part.stop else slice(0, 1)
        stop = stopwatch(inputs.device)
        try:
            rows = Local(self.max_batch, self.pad).slices(call, steps[part], inputs[part])
            seconds = stop()()  # waits for the device, whose errors then show here
            _refuse(rows, part.stop - part.start)
        except Exception as error:  # whatever it is, the others must not wait for this rank
            return _Own(None, 0.0, error)
        return _Own(rows, seconds)

    def _exchange(self, header: Header, own: _Own, device: torch.device) -> tuple[list[Header], Tensor]:
        """The headers of all ranks and all output rows, on `device`.

        What is sent, and whether a second gather follows, depends only on what all ranks know.
        """
        past, room = self._past, self._past.room
        past.rounds += 1
        try:
            wire = _wire(self.group, device)
            content = body(own.rows[: header.rows]).to(wire) if own.rows is not None else torch.empty(0, device=wire)
            first = torch.zeros(HEADER + room, dtype=torch.uint8, device=wire)
            first[:HEADER] = torch.frombuffer(bytearray(header.pack()), dtype=torch.uint8)
            if len(content) <= room:
                first[HEADER : HEADER + len(content)] = content
            gathered = self._gather(first)
            headers = _read(gathered[:, :HEADER].tolist(), own)
            past.sizes.append(max(each.size for each in headers))
            bodies = gathered[:, HEADER:]
            if past.sizes[-1] > room:
                second = torch.zeros(past.room, dtype=torch.uint8, device=wire)
                second[: len(content)] = content
                bodies = self._gather(second)
        except (RankFailed, RanksDisagree, torch.cuda.OutOfMemoryError):
            raise
        except RuntimeError as error:  # what gloo, nccl and a lost device raise
            raise RankLost(_lost(header.place, error)) from (own.error or error)
        rows = [restore(each, data) for each, data in zip(headers, bodies, strict=True) if each.rows]
        return headers, torch.cat(rows).to(device)

    def _gather(self, message: Tensor) -> Tensor:
        """The messages of all ranks, `(G, bytes)`."""
        gathered = message.new_empty(dist.get_world_size(self.group), len(message))
        # not all_gather_into_tensor, which has another name in every few versions of torch
        work = dist.all_gather(list(gathered.unbind()), message, group=self.group, async_op=True)
        if self.timeout is None:
            work.wait()
        else:
            work.wait(timedelta(seconds=self.timeout))
        return gathered


def share(count: int, rank: int, world: int) -> slice:
    """The steps of `rank` out of `count`; the first ranks take one more where they do not divide."""
    size, more = divmod(count, world)
    start = rank * size + min(rank, more)
    return slice(start, start + size + (rank < more))


def _join(device: torch.device, timeout: float | None) -> None:
    """Make sure that there is a process group, from torchrun's environment if need be."""
    if not dist.is_available():
        raise RuntimeError("this build of torch has no torch.distributed; install one that has, or use backend=Local()")
    if dist.is_initialized():
        return
    missing = [name for name in TORCHRUN if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"Distributed() found no process group, and {', '.join(missing)} not set in the environment. Start the "
            f"script with `{LAUNCH}`, call torch.distributed.init_process_group(...) first, or use backend=Local()"
        )
    wait = None if timeout is None else timedelta(seconds=timeout)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=wait)


def _wire(group: dist.ProcessGroup | None, device: torch.device) -> torch.device:
    """Where messages must lie: on the inputs' device, or on the CPU where only gloo would carry them."""
    config = dist.get_backend_config(group)  # such as "cpu:gloo,cuda:nccl"
    carriers = dict(entry.split(":", 1) for entry in config.split(",")) if ":" in config else {device.type: config}
    if carriers.get(device.type, "gloo") != "gloo":
        return device
    return torch.device("cpu") if "gloo" in carriers.values() else torch.device("cuda", torch.cuda.current_device())


def _refuse(rows: Tensor, count: int) -> None:
    """What `call` must not return."""
    if rows.dim() == 0 or len(rows) != count:
        raise ValueError(f"{count} steps were evaluated, but outputs came as {list(rows.shape)}; return one row a step")
    if rows.dim() - 1 > AXES or rows.dtype not in DTYPES:
        raise ValueError(
            f"outputs came as {rows.dtype} with {rows.dim() - 1} axes a step, which do not fit into a message; "
            f"return at most {AXES} axes of a plain dtype: rows.flatten(1).float()"
        )


def _read(data: Sequence[Sequence[int]], own: _Own) -> list[Header]:
    """The headers of all ranks, if all is well with them."""
    try:
        headers = [Header.unpack(bytes(each)) for each in data]
    except ValueError as error:
        raise RanksDisagree(f"{error}: install the same version of forerun on all machines") from error
    if said := failures(headers):
        raise RankFailed(said) from own.error
    if said := disagreement(headers):
        raise RanksDisagree(said)
    return headers


def _lost(place: Place, error: Exception) -> str:
    return (
        f"{place}: a rank did not answer. It died, was killed, or left the loop; if it was only slow, wait longer with "
        "Distributed(timeout=seconds). Its own output says why; torchrun names the rank that failed first. Start "
        f"again, from a checkpoint with solve(..., resume=...). The group said: {error}"
    )
