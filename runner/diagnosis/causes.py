"""What an exception or a message is caused by, and what follows from what. The class decides, by its package, its name
and its errno; what a class leaves open is decided by the words of its message."""

import errno
import re
from enum import IntEnum

from runner.diagnosis.advice import Cause as C
from runner.diagnosis.message_causes import cause_in_words


class Tier(IntEnum):
    """How far something seen is from the cause: what stands lower follows from what stands higher.

    A time-out aborts, an abort is no cause; a broken pipe follows a dead peer; a rank that is stopped follows another.
    """

    CAUSE = 0
    UNKNOWN = 1
    DEATH = 2
    WAITED = 3
    LOST = 4
    GAVE_UP = 5
    TOLD = 6


_TIERS = {
    C.CRASH: Tier.UNKNOWN,
    C.KERNEL_FAULT: Tier.UNKNOWN,
    C.CANCELLED: Tier.UNKNOWN,
    C.CUT_OFF: Tier.UNKNOWN,
    C.SIGNAL: Tier.DEATH,
    C.KILLED: Tier.DEATH,
    C.NATIVE: Tier.DEATH,
    C.BUS: Tier.DEATH,
    C.ILLEGAL: Tier.DEATH,
    C.WORKER: Tier.DEATH,
    C.OUT_OF_STEP: Tier.DEATH,
    C.SILENT: Tier.WAITED,
    C.NCCL: Tier.WAITED,
    C.TIMED_OUT: Tier.WAITED,
    C.RENDEZVOUS: Tier.WAITED,
    C.PEER: Tier.LOST,
    C.ABORT: Tier.GAVE_UP,
    C.ECHO: Tier.TOLD,
    C.EXIT: Tier.TOLD,
}


def tier(cause: C) -> Tier:
    """How far from a cause it is; what is not in the table needs no other."""
    return _TIERS.get(cause, Tier.CAUSE)


# By the last part of the name, where the name alone decides.
CLASSES = {
    name: cause
    for cause, names in {
        C.GPU_MEMORY: "OutOfMemoryError",
        C.HOST_MEMORY: "MemoryError _ArrayMemoryError ArrowMemoryError bad_alloc",
        C.GPU_TOO_SMALL: "OutOfResources",
        C.COMPILER: "PTXASError NoTritonGpuBackend InvalidCxxCompiler CppCompileError TritonMissing CUDACompileError"
        " CompileWorkerError CompilationError",
        C.LIBRARY: "ModuleNotFoundError ImportError PackageNotFoundError DistributionNotFound",
        C.DATA_DAMAGED: "ArrowInvalid BadZipFile BadGzipFile LZMAError ZstdError DataLossError DatasetGenerationError"
        " NonMatchingSplitsSizesError"
        " NonMatchingChecksumError ExpectedMoreDownloadedFilesError"
        " UnicodeDecodeError",
        C.FILE_CUT: "UnpicklingError EOFError",
        C.DOWNLOAD: "URLError gaierror herror HTTPError ConnectionError ConnectTimeout ReadTimeout SSLError ProxyError"
        " ChunkedEncodingError IncompleteRead RemoteDisconnected ContentTooShortError HfHubHTTPError"
        " LocalEntryNotFoundError ProtocolError MaxRetryError NewConnectionError ConnectError ReadError"
        " RemoteProtocolError"
        " ServerDisconnectedError ClientConnectorError ClientPayloadError OfflineModeIsEnabled NameResolutionError"
        " SSLCertVerificationError SSLEOFError ConnectTimeoutError ReadTimeoutError EndpointConnectionError"
        " IncompleteReadError OfflineModeIsEnabledError XetDownloadError FileMetadataError CommError",
        C.DENIED: "GatedRepoError RepositoryNotFoundError RevisionNotFoundError EntryNotFoundError HFValidationError"
        " DatasetNotFoundError",
        C.WORKER: "BrokenProcessPool BrokenExecutor TerminatedWorkerError",
        C.PEER: "DistBackendError DistNetworkError ConnectionResetError BrokenPipeError ConnectionAbortedError",
        C.RENDEZVOUS: "DistStoreError RendezvousTimeoutError RendezvousConnectionError RendezvousClosedError",
        C.CANCELLED: "KeyboardInterrupt CancelledError",
        C.PERMISSION: "PermissionError",
        C.NOT_FINITE: "FloatingPointError",
        C.TIME_LIMIT: "FunctionTimeoutError",
        C.ECHO: "ChildFailedError SignalException ProcessRaisedException ExceptionGroup BaseExceptionGroup"
        " ProcessFailure ProcessExitedException RayTaskError SystemExit RestartableException"
        # Who only waits for another in vain.
        " Empty Full BrokenBarrierError",
    }.items()
    for name in names.split()
}
# By the package, where every class of it says the same.
_PACKAGES = {
    package: cause
    for cause, packages in {
        C.DOWNLOAD: "requests urllib3 http.client httpx httpcore aiohttp ssl socket botocore",
        C.DATA_DAMAGED: "pyarrow zlib lzma zipfile tarfile json.decoder datasets.exceptions",
        C.CHECKPOINT_DAMAGED: "safetensors safetensors_rust",
        C.KEY: "wandb",
        C.SETTINGS: "argparse",
    }.items()
    for package in packages.split()
}
_ERRNOS = {
    errno.ENOSPC: C.DISK_FULL, errno.EDQUOT: C.DISK_FULL, errno.EFBIG: C.DISK_FULL, errno.EIO: C.DISK_FAULT,
    errno.EROFS: C.DISK_FAULT, errno.ESTALE: C.DISK_FAULT, errno.ENOTCONN: C.DISK_FAULT, errno.EREMOTEIO: C.DISK_FAULT,
    errno.ENOLCK: C.DISK_FAULT, errno.EUCLEAN: C.DISK_FAULT, errno.ENODEV: C.DISK_FAULT,
    errno.ENOMEM: C.HOST_MEMORY, errno.EMFILE: C.FILES,
    errno.ENFILE: C.FILES, errno.EACCES: C.PERMISSION, errno.EPERM: C.PERMISSION, errno.EADDRINUSE: C.PORT,
    errno.EAGAIN: C.THREADS, errno.ECONNREFUSED: C.DOWNLOAD, errno.ETIMEDOUT: C.DOWNLOAD, errno.ENETUNREACH: C.DOWNLOAD,
    errno.EHOSTUNREACH: C.DOWNLOAD, errno.EPIPE: C.PEER, errno.ECONNRESET: C.PEER, errno.ENOEXEC: C.PROGRAM,
}  # fmt: skip
_ERRNO = re.compile(r"\[Errno (-?\d{1,4})\]")

# A class of these says nothing by itself; the words of its message do.
_OPEN = frozenset(
    "RuntimeError AcceleratorError Error Exception OSError IOError EnvironmentError AssertionError ValueError TypeError"
    " AttributeError IndexError KeyError NotImplementedError CalledProcessError FileNotFoundError StopIteration"
    " BackendCompilerFailed InductorError InternalTorchDynamoError TorchRuntimeError LoweringException TimeoutError"
    " DistBackendError DistNetworkError DistStoreError DistError Unsupported SubprocException UsageError"
    " ProcessExitedException".split()
)
# Words of wide use, which a class of its own outweighs.
_FIRST = frozenset(
    {
        C.SHARED_MEMORY, C.GPU_MEMORY, C.DISK_FULL, C.HOST_MEMORY, C.GPU_TOO_SMALL, C.CHECKPOINT_DAMAGED, C.DENIED,
        C.TOKENIZER_MISSING, C.CHECKPOINT_PART, C.CHECKPOINT_MISSING, C.PORT, C.GPU_MISSING, C.TIMED_OUT,
        C.CERTIFICATE,
    }
)  # fmt: skip


def cause_of(name: str, text: str, files: list[str]) -> C:
    """What an exception is caused by: its class, its errno, its words, and, of a file that was cut, who read it."""
    last = name.rpartition(".")[2]
    words, number = cause_in_words(text), _ERRNO.search(text)
    by_errno = _ERRNOS.get(int(number[1])) if number else None
    found = CLASSES.get(last)
    if words in _FIRST and (by_errno is None or by_errno is C.DISK_FULL):
        return words
    if "." not in name and by_errno:
        found = by_errno
    elif found is None or last in _OPEN:
        package = next((cause for prefix, cause in _PACKAGES.items() if name.startswith(f"{prefix}.")), None)
        found = (package if last not in _OPEN else None) or words or by_errno or package or found
    return _by_files(found, files) if found in (C.FILE_CUT, C.PEER) else found or C.CRASH


def _by_files(found: C | None, files: list[str]) -> C:
    """What only the frames tell: whose file ended too early, and whether it was a peer or a server that hung up."""
    for file in reversed(files):
        if found is C.PEER and any(part in file for part in ("/urllib", "/http/", "/requests/", "/ssl.py", "/httpx/")):
            return C.DOWNLOAD
        if found is C.FILE_CUT and file.endswith("/tokenizer.py"):
            return C.TOKENIZER_DAMAGED
        if found is C.FILE_CUT and file.endswith(("/checkpoint_manager.py", "/serialization.py")):
            return C.CHECKPOINT_DAMAGED
    return found or C.CRASH


def disk_cause(number: int | None) -> C | None:
    """What an errno says of a disk; None for one that is about something else."""
    found = _ERRNOS.get(number or 0)
    return found if found in (C.DISK_FULL, C.DISK_FAULT) else None
