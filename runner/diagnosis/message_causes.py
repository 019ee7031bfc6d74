"""The words of a message that name a cause, whatever the class of the exception that says them."""

import functools
import re

from runner.diagnosis.advice import Cause as C

# The narrower come first.
_SAID: tuple[tuple[C, str], ...] = (
    (
        C.SHARED_MEMORY,
        r"/dev/shm|(?:out of|insufficient) shared memory\b(?!,)|shared memory segment|torch_shm_manager|shm_open|"
        r"shared memory (?:object|file)|killed by signal: Bus error"
        r"|</torch_\d|unable to mmap",
    ),
    (
        C.GPU_TOO_SMALL,
        r"out of resource: |only supported on (?:CUDA )?devices? with|"
        r"requires? (?:compute capability|sm_?\d)|fp8e4nv not supported|"
        r"not supported (?:on|in|for) (?:this )?(?:arch|sm_?\d|compute capab)|"
        r"does not support (?:bfloat16|float8|fp8)|only supports? (?:Hopper|Ampere|GPUs)"
        r"|No available kernel",
    ),
    (
        C.GPU_MEMORY,
        r"(?:CUDA|HIP|XPU|MPS|GPU|NPU|cuda)(?: error: | backend | )out of memory|"
        r"(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory|"
        r"cudaErrorMemoryAllocation|Cuda failure\W{0,3}\d{0,4}\W{1,4}out of memory|"
        r"Failed to (?:CUDA|Cuda) (?:calloc|malloc)|Invalid buffer size"
        r"|\[CUDA\]: out of memory|runtime error \(2\)|CUBLAS_STATUS_NOT_INITIALIZED",
    ),
    (
        C.DISK_FULL,
        r"No space left on device|[Qq]uota exceeded|PytorchStreamWriter|"
        r"inline_container\.cc\S* ?\S* ?(?:unexpected pos|\. (?:unexpected pos|PytorchStreamWriter))|"
        r"unexpected pos \d|[Nn]ot enough (?:free )?(?:disk )?space|database or disk is full|"
        r"file write failed|ephemeral[- ]storage|iostream error|basic_ios::clear"
        r"|StorageFull|WinError 112",
    ),
    (
        C.DISK_FAULT,
        r"Input/output error|Read-only file system|Stale file handle|Transport endpoint is not connected|"
        r"Structure needs cleaning|No locks available|I/O error|[Rr]emounting filesystem read-only"
        r"|Parent directory \S+ does not exist",
    ),
    (
        C.WORKER,
        r"killed by signal: (?:Killed|Terminated|Segm)|exited unexpectedly|"
        r"process pool was terminated abruptly|[Ss]ubprocess (?:pool )?(?:died|terminated)|"
        r"terminated with signal SIGKILL",
    ),
    (
        C.HOST_MEMORY,
        r"DefaultCPUAllocator|not enough memory: you tried|Cannot allocate memory|std::bad_alloc|"
        r"Unable to allocate [\d.]+ \wi?B|cudaHostAlloc|malloc of size \d+ failed|"
        r"realloc of size \d+ failed|page-locked|memory allocation of \d+ bytes failed"
        r"|WinError 1455|paging file is too small",
    ),
    (
        C.DRIVER,
        r"driver on your system is too old|driver version is insufficient|"
        r"[Dd]river/library version mismatch|unsupported toolchain|compiled with an unsupported|"
        r"forward compatibility was attempted|unsatisfied condition: cuda|CUDA_ERROR_UNSUPPORTED_PTX|"
        r"RmInitAdapter",
    ),
    (
        C.GPU_TOO_NEW,
        r"no kernel image is available|not compatible with the current PyTorch|"
        r"CUDA_ERROR_NO_BINARY_FOR_GPU|ptxas (?:fatal|error)\W.{0,40}(?:sm_|gpu-name)|"
        r"invalid device function|Value 'sm_|TensileLibrary|for GPU arch\b|hipErrorNoBinaryForGpu",
    ),
    (
        C.GPU_FAULT,
        r"uncorrectable (?:ECC|NVLink)|fallen off the bus|GPU is lost|hardware stack error|"
        r"Unable to determine the device handle|GPU requires reset|row remap|"
        r"CUDA error: (?:unknown error$|ECC)|NVLink (?:error|fault)|system not yet initialized|"
        r"CUDA_ERROR_SYSTEM_NOT_READY|CUDA_ERROR_ECC",
    ),
    (
        C.GPU_MISSING,
        r"no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device|"
        r"CUDA driver initialization failed|cudaGetDeviceCount|CUDA unknown error|"
        r"(?:busy or|busy/) ?unavailable|not compiled with CUDA|invalid device ordinal|"
        r"nvidia-container-cli|could not select device driver|not configured for (?:CUDA|MPS)|"
        r"libcuda\.so|libnvidia-ml\.so|Failed to initialize NVML|all CUDA-capable devices|"
        r"CUDA is not available|Driver Not Loaded|0 active drivers|no GPU (?:is )?(?:found|available)"
        r"|communicate with the NVIDIA driver",
    ),
    (
        C.TOKEN_RANGE,
        r"srcIndex < srcSelectDimSize|index out of range in self|Target -?\d+ is out of bounds|n_classes|"
        r"index out of bounds|ScatterGather|indexSelect",
    ),
    (
        C.TWO_RANKS_A_GPU,
        r"Duplicate GPU detected",
    ),
    (
        C.PORT,
        r"EADDRINUSE|[Aa]ddress already in use|failed to listen on",
    ),
    (
        C.NOT_FINITE,
        r"returned nan values|[Ll]oss (?:is|was|became) (?:nan|inf|NaN|not finite|non-finite)|"
        r"[Nn]on-?finite (?:loss|grad)|contains? (?:nan|NaN|inf)|loss (?:exploded|diverged)"
        r"|contains either",
    ),
    (
        C.DATA_MISSING,
        r"No dataset parquet files found"
        r"|No such file or directory: '\S*(?:\.parquet|\.jsonl|\.csv|/eval_bundle\S*|/task_data\S*|/base_data\S*)'",
    ),
    (
        C.DATA_OTHER,
        r"does not exist in schema|No match for FieldRef|schema (?:mismatch|at index)",
    ),
    (
        C.TOKENIZER_MISSING,
        r"Token bytes not found|No such file or directory: '\S*/?tokenizer/",
    ),
    (
        C.CHECKPOINT_PART,
        r"No such file or directory: '\S*/optim_\d",
    ),
    (
        C.CHECKPOINT_MISSING,
        r"No checkpoints found|No such file or directory: '\S*(?:_checkpoints/|/(?:model|meta)_\d)|"
        r"Checkpoint not found",
    ),
    (
        C.TOKENIZER_OTHER,
        r"Tokenizer vocab size",
    ),
    (
        C.CHECKPOINT_OTHER,
        r"loading state_dict|size mismatch for|[Uu]nexpected key\(s\)|Missing key\(s\) in|"
        r"broadcast a dimension of length|doesn't match the size of optimizer|"
        r"different number of parameter groups|Error loading state",
    ),
    (
        C.CHECKPOINT_DAMAGED,
        r"PytorchStreamReader|legacy .tar format|Invalid magic number|"
        r"finding central directory|invalid header or archive|zip archive|"
        r"Weights only load failed|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer|"
        r"storage has wrong"
        r"|unexpected EOF, expected",
    ),
    (
        C.FILE_CUT,
        r"Ran out of input|pickle data was truncated|invalid load key",
    ),
    (
        C.DATA_DAMAGED,
        r"Parquet magic bytes|parquet|[Ss]nappy|not a zip file|not a gzip|Bad CRC|CRC check failed|"
        r"while decompressing|[Cc]orrupt|deserialize thrift|Unexpected end of (?:stream|file)|"
        r"Expecting value: line|checksum (?:mismatch|does not match)|Not a (?:tar|zst)|truncated file|"
        r"end-of-stream marker",
    ),
    (
        C.LIBRARY,
        r"cannot open shared object|undefined symbol|GLIBC(?:XX)?_\d|No module named|cannot import name|"
        r"incompatible architecture|DLL load failed|numpy\.dtype size changed|compiled using NumPy|"
        r"symbol lookup error|wrong ELF class"
        r"|VERSION_MISMATCH|Could not find a version that satisfies|already initialized\.|No matching distribution"
        r"|were compiled with different",
    ),
    (
        C.PACKAGE,
        r"module '[\w.]+' has no attribute|type object '\w+' has no attribute|"
        r"unexpected keyword argument|has no attribute '(?:enable_gqa|from_pretrained)|requires Python|"
        r"is required but found|version conflict"
        r"|not supported on (?:Python|Windows)|operator \S+ does not exist|without libuv support|charmap",
    ),
    (C.KILLED, r"died with <Signals\.SIGKILL"),
    # Whoever starts a training says that it ended.
    (C.ECHO, r"Command '\[.{0,200}python.{0,2000}returned non-zero exit status"),
    (
        C.COMPILER,
        r"fatal error: \S+: No such file|cannot find -l|ld returned \d|C(?:\+\+)? compiler|"
        r"nvcc\b.{0,60}(?:not found|No such)|CUDA_HOME|"
        r"Command '\[?'?\S*(?:gcc|g\+\+|clang|cc|nvcc|ninja|ptxas)'?\b|Ninja is required|Python\.h|"
        r"working triton|\bptxas\b|cc1plus|Failed to find C|Error compiling objects|"
        r"Error building extension|CalledProcessError"
        r"|Compiler: \S+ is not found|Visual C\+\+ \d|linker `\w+` not found|maturin failed|ldconfig"
        r"|Rust compiler",
    ),
    (
        C.FILES,
        r"Too many open files|inotify (?:instance|watch) limit|received 0 items of ancdata",
    ),
    (
        C.THREADS,
        r"start new thread|[Tt]hread creation failed|pthread_create failed|"
        r"Resource temporarily unavailable|fork: retry",
    ),
    (
        C.SETTINGS,
        r"must be (?:a multiple|divisible|at least|greater|less|one of|>=?|<=?)|(?:not|is) divisible by|"
        r"divisible by world_size|No training horizon|Invalid window_pattern|unrecognized arguments|"
        r"invalid choice|Sequence length grew|invalid (?:int|float) value|"
        r"the following arguments are required|is not (?:a )?power of",
    ),
    (
        C.DENIED,
        r"\b(?:401|403|404)\b.{0,40}(?:Client Error|Unauthorized|Forbidden|Not Found)|HTTP Error 40[134]|"
        r"gated repo|Invalid user token|not a valid model identifier|Repository Not Found|Access Denied|"
        r"AccessDenied",
    ),
    (
        C.KEY,
        r"api_key not configured|API key|wandb login|[Nn]o API key",
    ),
    (
        C.TIMED_OUT,
        r"collective operation timeout|Timed out waiting \d+ ?ms for|timed out in (?:all|reduce|broad)|"
        r"watchdog got stuck|[Hh]eartbeat monitor timed out|monitoredBarrier|"
        r"NCCL operations have failed or timed out|wait timeout after \d+ ?ms",
    ),
    (
        C.RENDEZVOUS,
        r"client socket has (?:timed out|failed to connect)|waiting for clients|[Rr]endezvous|"
        r"RendezvousTimeout|clients joined|store.{0,40}(?:timed out|timeout)|"
        r"hostname of the client socket"
        r"|store[ -]based barrier",
    ),
    (
        C.PEER,
        r"[Cc]onnection closed by (?:remote )?peer|[Cc]onnection reset by (?:remote )?peer|Broken pipe|"
        r"remote process exited|ncclRemoteError|[Cc]onnection (?:was )?aborted by|Socket Timeout|"
        r"socketProgress|Peer process|Failed to recv|failed to recv",
    ),
    (
        C.NCCL,
        r"NCCL error|ncclSystemError|ncclInternalError|ncclUnhandledCudaError|ncclInvalidUsage|NCCL WARN|"
        r"ibv_|NET/IB|NCCL communicator was aborted",
    ),
    (
        C.KERNEL_FAULT,
        r"illegal memory access|misaligned address|unspecified launch failure|illegal instruction was|"
        r"an illegal|launch (?:timed out|failure)|CUBLAS_STATUS_\w+|CUDNN_STATUS_\w+|CUDA error|"
        r"Triton Error|HIP error|CUDA_ERROR_\w+",
    ),
    (C.HOST_NAME, r"IPv4 network addresses of .{1,200} cannot be retrieved"),
    (C.CERTIFICATE, r"CERTIFICATE_VERIFY_FAILED|certificate (?:is not yet valid|has expired)"),
    (
        C.DOWNLOAD,
        r"Name or service not known|name resolution|Max retries exceeded|Network is unreachable|"
        r"No route to host|Connection refused|[Cc]onnection timed out|Read timed out|"
        r"HTTP Error (?:429|5\d\d)|\b(?:429|50\d)\b.{0,40}(?:Client|Server) Error|Too Many Requests|"
        r"couldn't connect to|Remote end closed|UNEXPECTED_EOF|IncompleteRead|"
        r"urlopen error|The handshake operation timed out|Server disconnected|Tunnel connection"
        r"|read operation timed out|Could not resolve host|unable to resolve host|unable to access .https?:",
    ),
)


# Compiled when the first message asks: most programs that read lines of nanochat meet none, and start sooner.
@functools.cache
def _any() -> re.Pattern[str]:
    return re.compile("|".join(words for _, words in _SAID))


@functools.cache
def _each() -> tuple[tuple[C, re.Pattern[str]], ...]:
    return tuple((cause, re.compile(words)) for cause, words in _SAID)


def cause_in_words(text: str) -> C | None:
    """The cause that the words of a message name by themselves."""
    # One pass for all of them; only where one matched is each asked.
    if not _any().search(text):
        return None
    return next(cause for cause, words in _each() if words.search(text))
