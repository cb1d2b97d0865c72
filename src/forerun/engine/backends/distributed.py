"""Distributed: the steps of a round split over the ranks of a torch.distributed group, one gather a round."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from forerun.engine.backends.agreement import describe_disagreement, describe_failures, project_output
from forerun.engine.backends.base import Backend, RowFunction, TimingReader
from forerun.engine.backends.local import Local, start_stopwatch
from forerun.engine.backends.message import (
    HEADER_BYTES,
    MessageHeader,
    align_size,
    refuse_unsendable_rows,
    rows_from_bytes,
    rows_to_bytes,
)
from forerun.engine.backends.process_group import choose_wire_device, join_process_group
from forerun.engine.backends.rank_errors import RankFailed, RankLost, RanksDisagree
from forerun.engine.backends.round_identity import RoundIdentity
from forerun.engine.rounds import RoundTiming


@dataclass
class ExchangeHistory:
    """What all ranks know from the rounds before; it changes on all of them alike.

    Attributes:
        rounds: rounds so far.
        communicate: seconds of the last round, on this rank.
        sizes: bytes of the largest share, of the last few rounds: some methods take turns of wide and narrow.
    """

    rounds: int = 0
    communicate: float = 0.0
    sizes: deque[int] = field(default_factory=lambda: deque([0], maxlen=4))

    @property
    def room(self) -> int:
        """Bytes for rows in the next message."""
        return align_size(max(self.sizes))


@dataclass(frozen=True)
class RankShare:
    """What this rank made of its share of a round.

    Attributes:
        count: steps of the share; 0 where a rank evaluated a step only to have seen an output.
        rows: outputs of the steps that were evaluated; None where that failed.
        seconds: of the evaluation.
        error: what went wrong.
    """

    count: int
    rows: Tensor | None
    seconds: float
    error: Exception | None = None

    def make_header(self, identity: RoundIdentity, communicate: float, overhead: float) -> MessageHeader:
        """Return what to say about it; a rank without a step of its own says that it has no rows."""
        if self.rows is None:
            error = f"{type(self.error).__name__}: {self.error}"
            return MessageHeader(identity, self.seconds, communicate, overhead, error=error)
        return MessageHeader(
            identity,
            self.seconds,
            communicate,
            overhead,
            rows=self.count,
            shape=tuple(self.rows.shape[1:]),
            dtype=self.rows.dtype,
            sample=project_output(self.rows[0]) if identity.width == 1 else (0.0, 0.0),
        )

    def to_bytes(self, device: torch.device) -> Tensor:
        """Return the rows to send as bytes on a device; none where the evaluation failed."""
        if self.rows is None:
            return torch.empty(0, dtype=torch.uint8, device=device)
        return rows_to_bytes(self.rows[: self.count]).to(device)


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
    _history: ExchangeHistory = field(default_factory=ExchangeHistory, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"Distributed(timeout={self.timeout}) waits for no one; pass seconds, such as timeout=60")
        Local(self.max_batch, self.pad)  # refuses a bad max_batch here, before any round

    def evaluate(
        self,
        call: RowFunction,
        steps: Tensor,
        inputs: Tensor,
        overhead: float,
    ) -> tuple[Tensor, TimingReader]:
        join_process_group(inputs.device, self.timeout)
        world = dist.get_world_size(self.group)
        rank = dist.get_rank(self.group)
        if rank < 0:
            raise ValueError("this process is not in Distributed's group; call solve on members of the group only")
        if world == 1:
            return Local(self.max_batch, self.pad).evaluate(call, steps, inputs, overhead)
        start_time = time.perf_counter()
        identity = RoundIdentity.from_round(self._history.rounds, steps, inputs)
        share = self._evaluate_share(call, steps, inputs, share_steps(len(steps), rank, world))
        header = share.make_header(identity, self._history.communicate, overhead)
        headers, rows = self._exchange_rows(header, share, inputs.device)
        timing = _agree_on_timing(headers)
        self._history.communicate = time.perf_counter() - start_time - share.seconds
        return rows, lambda: timing

    def _evaluate_share(self, call: RowFunction, steps: Tensor, inputs: Tensor, share: slice) -> RankShare:
        """Return this rank's share; an error is kept, to be reported to all."""
        count = share.stop - share.start
        if count == 0:
            share = slice(0, 1)
        stop_watch = start_stopwatch(inputs.device)
        try:
            rows = Local(self.max_batch, self.pad).evaluate_slices(call, steps[share], inputs[share])
            read_seconds = stop_watch()
            seconds = read_seconds()  # waits for the device, whose errors then show here
            refuse_unsendable_rows(rows, share.stop - share.start)
        except Exception as error:  # whatever it is, the others must not wait for this rank
            return RankShare(count, None, 0.0, error)
        return RankShare(count, rows, seconds)

    def _exchange_rows(
        self,
        header: MessageHeader,
        share: RankShare,
        device: torch.device,
    ) -> tuple[list[MessageHeader], Tensor]:
        """Return the headers of all ranks and all output rows, on `device`."""
        self._history.rounds += 1
        try:
            headers, bodies = self._gather_shares(header, share, device)
        except (RankFailed, RanksDisagree, torch.cuda.OutOfMemoryError):
            raise
        except RuntimeError as error:  # what gloo, nccl and a lost device raise
            raise RankLost(_describe_loss(header.identity, error)) from (share.error or error)
        pairs = zip(headers, bodies, strict=True)
        rows = [rows_from_bytes(sent, data) for sent, data in pairs if sent.rows]
        return headers, torch.cat(rows).to(device)

    def _gather_shares(
        self,
        header: MessageHeader,
        share: RankShare,
        device: torch.device,
    ) -> tuple[list[MessageHeader], Tensor]:
        """Return the headers of all ranks, and their rows as bytes `(G, bytes)`.

        What is sent, and whether a second gather follows, depends only on what all ranks know.
        """
        history = self._history
        room = history.room
        wire = choose_wire_device(self.group, device)
        content = share.to_bytes(wire)
        message = torch.zeros(HEADER_BYTES + room, dtype=torch.uint8, device=wire)
        message[:HEADER_BYTES] = torch.frombuffer(bytearray(header.pack()), dtype=torch.uint8)
        if len(content) <= room:
            message[HEADER_BYTES : HEADER_BYTES + len(content)] = content
        gathered = self._gather_messages(message)
        headers = _read_headers(gathered[:, :HEADER_BYTES].tolist(), share)
        largest = max(sent.row_bytes for sent in headers)
        history.sizes.append(largest)
        if largest <= room:
            return headers, gathered[:, HEADER_BYTES:]
        message = torch.zeros(history.room, dtype=torch.uint8, device=wire)
        message[: len(content)] = content
        return headers, self._gather_messages(message)

    def _gather_messages(self, message: Tensor) -> Tensor:
        """Return the messages of all ranks, `(G, bytes)`."""
        gathered = message.new_empty(dist.get_world_size(self.group), len(message))
        # not all_gather_into_tensor, which has another name in every few versions of torch
        work = dist.all_gather(list(gathered.unbind()), message, group=self.group, async_op=True)
        if self.timeout is None:
            work.wait()
        else:
            work.wait(timedelta(seconds=self.timeout))
        return gathered


def share_steps(count: int, rank: int, world: int) -> slice:
    """Return the steps of `rank` out of `count`; the first ranks take one more where they do not divide."""
    size, remainder = divmod(count, world)
    start = rank * size + min(rank, remainder)
    if rank < remainder:
        size += 1
    return slice(start, start + size)


def _agree_on_timing(headers: Sequence[MessageHeader]) -> RoundTiming:
    """Return the time of the round, the same on all ranks."""
    return RoundTiming(
        evaluate=max(header.evaluate for header in headers),
        communicate=min(header.communicate for header in headers),
        overhead=max(header.overhead for header in headers),
    )


def _read_headers(data: Sequence[Sequence[int]], share: RankShare) -> list[MessageHeader]:
    """Return the headers of all ranks, if all is well with them."""
    try:
        headers = [MessageHeader.unpack(bytes(header_bytes)) for header_bytes in data]
    except ValueError as error:
        raise RanksDisagree(f"{error}: install the same version of forerun on all machines") from error
    if failures := describe_failures(headers):
        raise RankFailed(failures) from share.error
    if disagreement := describe_disagreement(headers):
        raise RanksDisagree(disagreement)
    return headers


def _describe_loss(identity: RoundIdentity, error: Exception) -> str:
    return (
        f"{identity}: a rank did not answer. It died, was killed, or left the loop; if it was only slow, wait longer "
        "with Distributed(timeout=seconds). Its own output says why; torchrun names the rank that failed first. Start "
        f"again, from a checkpoint with solve(..., resume=...). The group said: {error}"
    )
