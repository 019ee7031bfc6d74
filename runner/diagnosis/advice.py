"""A cause -> its kind, what to do about it, and whether a resume can help. The one table of advice.

What depends on the run itself, as the batch size that would fit, `job/outcome.py` puts in its place."""

from enum import StrEnum

from msgspec import Struct

from runner.model.status import RESUME
from runner.model.status import OutcomeKind as Kind


class CanResume(StrEnum):
    """Whether a resume can help: as it is, once something was changed, or never."""

    YES = "yes"
    CHANGED = "after a change"
    NO = "no"


class Cause(StrEnum):
    """What brought a run to its end, finer than the kind of an outcome."""

    GPU_MEMORY = "gpu memory"
    HOST_MEMORY = "host memory"
    HOST_KILLER = "host memory killer"
    DISK_FULL = "disk full"
    DISK_FAULT = "disk fault"
    SHARED_MEMORY = "shared memory"
    TIME_LIMIT = "time limit"
    PREEMPTED = "preempted"
    NODE = "node"
    CANCELLED = "cancelled"
    GPU_FAULT = "gpu fault"
    GPU_MISSING = "gpu missing"
    GPU_TOO_NEW = "gpu too new"
    GPU_TOO_SMALL = "gpu too small"
    DRIVER = "driver"
    KERNEL_FAULT = "kernel fault"
    TOKEN_RANGE = "token range"
    COMPILER = "compiler"
    LIBRARY = "library"
    PACKAGE = "package"
    PROGRAM = "program"
    FILES = "open files"
    THREADS = "threads"
    PERMISSION = "permission"
    PORT = "port"
    TWO_RANKS_A_GPU = "two ranks a gpu"
    SETTINGS = "settings"
    DATA_MISSING = "data missing"
    DATA_DAMAGED = "data damaged"
    DATA_OTHER = "data other"
    FILE_CUT = "file cut"
    TOKENIZER_MISSING = "tokenizer missing"
    TOKENIZER_OTHER = "tokenizer other"
    TOKENIZER_DAMAGED = "tokenizer damaged"
    CHECKPOINT_MISSING = "checkpoint missing"
    CHECKPOINT_PART = "checkpoint part"
    CHECKPOINT_DAMAGED = "checkpoint damaged"
    CHECKPOINT_OTHER = "checkpoint other"
    DOWNLOAD = "download"
    DENIED = "denied"
    CERTIFICATE = "certificate"
    HOST_NAME = "host name"
    KEY = "key"
    NOT_FINITE = "not finite"
    TIMED_OUT = "timed out"
    RENDEZVOUS = "rendezvous"
    OUT_OF_STEP = "out of step"
    PEER = "peer"
    NCCL = "nccl"
    WORKER = "worker"
    CUT_OFF = "cut off"
    CRASH = "crash"
    SIGNAL = "signal"
    KILLED = "killed"
    NATIVE = "native"
    BUS = "bus"
    ILLEGAL = "illegal"
    ABORT = "abort"
    EXIT = "exit"
    SILENT = "silent"
    ECHO = "echo"


class Advice(Struct, frozen=True):
    """`do` may name RUN, which is replaced by the run's id."""

    kind: Kind
    resume: CanResume
    text: str


WHOLE = "nanochat-tui checkpoints RUN shows which are whole"
CHECK_NETWORK = "check the network, then resume: what arrived is kept"
LOG = "see the log: nanochat-tui logs RUN --level error"
_OWN = "nanochat-tui doctor shows which Python is used and what it lacks; mend that before a resume"
_ROOM = (
    "make room (nanochat-tui checkpoints RUN --prune deletes all but the best and the last) or give the volume a larger"
    " disk, then resume"
)

ADVICE: dict[Cause, Advice] = {
    Cause.GPU_MEMORY: Advice(Kind.OOM, CanResume.CHANGED, "launch with a smaller --device-batch-size"),
    Cause.HOST_MEMORY: Advice(
        Kind.OOM, CanResume.CHANGED, "give the machine or container more memory (or run less beside it), then resume"
    ),
    Cause.HOST_KILLER: Advice(
        Kind.KILLED, CanResume.CHANGED, "give the machine, container or job more memory (not the GPU), then resume"
    ),
    Cause.DISK_FULL: Advice(Kind.DISK, CanResume.CHANGED, _ROOM),
    Cause.DISK_FAULT: Advice(
        Kind.DISK, CanResume.CHANGED, "see that the disk can be written (dmesg, mount), or use another, then resume"
    ),
    Cause.SHARED_MEMORY: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "give the container more shared memory (docker run --ipc=host or --shm-size=16g), then resume",
    ),
    Cause.TIME_LIMIT: Advice(Kind.TIMEOUT, CanResume.YES, f"{RESUME}; ask the scheduler for more time"),
    Cause.PREEMPTED: Advice(Kind.KILLED, CanResume.YES, RESUME),
    Cause.NODE: Advice(Kind.KILLED, CanResume.YES, f"{RESUME}, on another machine"),
    Cause.CANCELLED: Advice(Kind.CANCELLED, CanResume.YES, RESUME),
    Cause.GPU_FAULT: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "the GPU failed, not your code: take another machine, or reset the GPU (nvidia-smi --gpu-reset, or a reboot),"
        " then resume",
    ),
    Cause.GPU_MISSING: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "see that nvidia-smi lists the GPUs there (is the container given them? CUDA_VISIBLE_DEVICES?), then resume",
    ),
    Cause.GPU_TOO_NEW: Advice(
        Kind.ENVIRONMENT, CanResume.CHANGED, "install a torch that is built for this GPU, or take another --gpu"
    ),
    Cause.GPU_TOO_SMALL: Advice(
        Kind.ENVIRONMENT,
        CanResume.NO,
        "this kind of GPU cannot run that kernel: launch on another --gpu, or with --no-fp8",
    ),
    Cause.DRIVER: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "update the NVIDIA driver of the machine (after an update: reboot), or install a torch for an older CUDA, then"
        " resume",
    ),
    Cause.KERNEL_FAULT: Advice(
        Kind.CRASH,
        CanResume.CHANGED,
        "run it with CUDA_LAUNCH_BLOCKING=1 to see which kernel it was; if dmesg shows an Xid the GPU is to blame",
    ),
    Cause.TOKEN_RANGE: Advice(
        Kind.TOKENIZER,
        CanResume.NO,
        "a token or an index is beyond the table: tokenizer and model do not belong together; put the model's own"
        " tokenizer on the volume, or train anew",
    ),
    Cause.COMPILER: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "install what the compiler lacks (gcc, g++, python3-dev, the CUDA toolkit), then resume",
    ),
    Cause.LIBRARY: Advice(Kind.ENVIRONMENT, CanResume.CHANGED, _OWN),
    Cause.PACKAGE: Advice(Kind.ENVIRONMENT, CanResume.CHANGED, _OWN),
    Cause.PROGRAM: Advice(Kind.ENVIRONMENT, CanResume.CHANGED, _OWN),
    Cause.FILES: Advice(
        Kind.ENVIRONMENT, CanResume.CHANGED, "raise the limit of open files (ulimit -n 65536), then resume"
    ),
    Cause.THREADS: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "raise the limit of processes (ulimit -u, docker --pids-limit) or set OMP_NUM_THREADS=1, then resume",
    ),
    Cause.PERMISSION: Advice(
        Kind.ENVIRONMENT, CanResume.CHANGED, "give the run the right to read and write there, then resume"
    ),
    Cause.PORT: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "another training holds that port: end it (ps aux | grep torchrun) or set MASTER_PORT, then resume",
    ),
    Cause.TWO_RANKS_A_GPU: Advice(
        Kind.ENVIRONMENT,
        CanResume.CHANGED,
        "give each rank a GPU of its own: launch with --gpus as many as there are",
    ),
    Cause.SETTINGS: Advice(Kind.CRASH, CanResume.NO, "a resume repeats it: launch with values that fit"),
    Cause.DATA_MISSING: Advice(Kind.DATA, CanResume.YES, "resume: the prepare stage fetches it"),
    Cause.DATA_DAMAGED: Advice(
        Kind.DATA,
        CanResume.CHANGED,
        "delete the damaged file (nanochat-tui volume ls shows the folder), then resume: it is fetched again",
    ),
    Cause.DATA_OTHER: Advice(
        Kind.DATA,
        CanResume.CHANGED,
        "the data has other columns than nanochat reads (text): bring it in that form, then resume",
    ),
    Cause.FILE_CUT: Advice(
        Kind.DATA,
        CanResume.CHANGED,
        "a file is empty or ends too early: find it above that line, delete it, then resume",
    ),
    Cause.TOKENIZER_MISSING: Advice(Kind.TOKENIZER, CanResume.YES, "resume: the tokenizer stage trains it"),
    Cause.TOKENIZER_OTHER: Advice(
        Kind.TOKENIZER, CanResume.CHANGED, "the model was trained with another tokenizer: put that one on the volume"
    ),
    Cause.TOKENIZER_DAMAGED: Advice(
        Kind.TOKENIZER,
        CanResume.CHANGED,
        "put the run's own back in its folder tokenizer; without it, and with no checkpoint, it is trained again",
    ),
    Cause.CHECKPOINT_MISSING: Advice(Kind.CHECKPOINT, CanResume.NO, f"{WHOLE}; launch with --from and --step of one"),
    Cause.CHECKPOINT_PART: Advice(
        Kind.CHECKPOINT, CanResume.CHANGED, f"{WHOLE}; go on with as many --gpus as it was saved with"
    ),
    Cause.CHECKPOINT_DAMAGED: Advice(
        Kind.CHECKPOINT, CanResume.CHANGED, f"{WHOLE}; resume --step goes back to one of them"
    ),
    Cause.CHECKPOINT_OTHER: Advice(
        Kind.CHECKPOINT,
        CanResume.NO,
        "the checkpoint is of another model or number of GPUs: launch with the --model and --gpus it was saved with",
    ),
    Cause.DOWNLOAD: Advice(Kind.NETWORK, CanResume.YES, CHECK_NETWORK),
    Cause.CERTIFICATE: Advice(
        Kind.NETWORK,
        CanResume.CHANGED,
        "a server's certificate was not believed: see that the machine's clock is right (date) and its certificates"
        " are there (ca-certificates, SSL_CERT_FILE behind a proxy), then resume",
    ),
    Cause.HOST_NAME: Advice(
        Kind.NETWORK,
        CanResume.CHANGED,
        "the machines do not find each other by name: see MASTER_ADDR (or --rdzv-endpoint) and that the name is known"
        " there, then resume",
    ),
    Cause.DENIED: Advice(
        Kind.NETWORK,
        CanResume.CHANGED,
        "the server refused it: see that the name is right and the token (HF_TOKEN) may read it",
    ),
    Cause.KEY: Advice(
        Kind.ENVIRONMENT, CanResume.CHANGED, "give it its key (wandb login, or WANDB_MODE=disabled), then resume"
    ),
    Cause.NOT_FINITE: Advice(
        Kind.NAN, CanResume.CHANGED, "go back to a step before it, with --no-fp8 or a lower learning rate"
    ),
    Cause.TIMED_OUT: Advice(Kind.NCCL, CanResume.YES, RESUME),
    Cause.RENDEZVOUS: Advice(
        Kind.NCCL,
        CanResume.YES,
        "see that the ranks reach each other (host name, firewall, all of them started), then resume",
    ),
    Cause.OUT_OF_STEP: Advice(
        Kind.NCCL,
        CanResume.CHANGED,
        "the ranks did not do the same: look for what only some of them run (an evaluation on rank 0, another number"
        " of batches), then resume",
    ),
    Cause.PEER: Advice(Kind.NCCL, CanResume.YES, RESUME),
    Cause.NCCL: Advice(Kind.NCCL, CanResume.YES, f"{RESUME}; if it comes again, NCCL_DEBUG=INFO says more"),
    Cause.WORKER: Advice(
        Kind.KILLED,
        CanResume.YES,
        "the machine may have run out of memory: give it more, or run less beside it; " + RESUME,
    ),
    Cause.CUT_OFF: Advice(Kind.CANCELLED, CanResume.YES, RESUME),
    Cause.CRASH: Advice(Kind.CRASH, CanResume.CHANGED, f"{LOG}; a resume repeats it until its cause is mended"),
    Cause.SIGNAL: Advice(Kind.KILLED, CanResume.YES, RESUME),
    Cause.KILLED: Advice(Kind.KILLED, CanResume.YES, f"the machine or container may have run out of memory; {RESUME}"),
    Cause.NATIVE: Advice(
        Kind.KILLED, CanResume.YES, f"native code crashed; {RESUME}; if it comes again at the same place, {LOG}"
    ),
    Cause.BUS: Advice(
        Kind.KILLED,
        CanResume.CHANGED,
        "a full /dev/shm or disk ends a process so: give the container more shared memory (docker run --ipc=host), then"
        " resume",
    ),
    Cause.ILLEGAL: Advice(
        Kind.ENVIRONMENT,
        CanResume.NO,
        "a package is built for another processor: use another machine or another build",
    ),
    Cause.ABORT: Advice(Kind.KILLED, CanResume.CHANGED, f"a library gave up; {LOG}"),
    Cause.EXIT: Advice(Kind.CRASH, CanResume.CHANGED, LOG),
    Cause.SILENT: Advice(Kind.CRASH, CanResume.CHANGED, LOG),
    Cause.ECHO: Advice(Kind.CRASH, CanResume.CHANGED, LOG),
}
# Of ends that have their reason elsewhere: in what the person asked for, in money or time, in the volume.
_OF_KIND = {
    Kind.DONE: CanResume.NO,
    Kind.OOM: CanResume.CHANGED,
    Kind.BUDGET: CanResume.CHANGED,
    Kind.CRASH: CanResume.CHANGED,
    Kind.CRASH_LOOP: CanResume.CHANGED,
    Kind.NAN: CanResume.CHANGED,
    Kind.VOLUME: CanResume.CHANGED,
    Kind.DISK: CanResume.CHANGED,
    Kind.LAUNCH: CanResume.CHANGED,
    Kind.CHECKPOINT: CanResume.CHANGED,
    Kind.ENVIRONMENT: CanResume.CHANGED,
}


def resume_of(kind: Kind) -> CanResume:
    """Whether a resume can help after an end of this kind, where nothing more is known of it."""
    return _OF_KIND.get(kind, CanResume.YES)
