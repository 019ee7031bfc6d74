"""Lines, as templates, that say nothing of why a run ended."""

# Of runs that ended well.
GOOD = frozenset(
    (
        "WARNING: Flash Attention # not available, using PyTorch SDPA fallback",
        "WARNING: Flash Attention # not available, using PyTorch SDPA fallback. Training will be less efficient.",
        "WARNING: Recommend using --window-pattern L for full context attention without alternating"
        " sliding window patterns.",
        "WARNING: SDPA has no support for sliding window attention (window_pattern=<name>). Your GP"
        "U utilization will be terrible.",
        "WARNING: Training will be less efficient without FA#",
    )
)
# What follows any failure: of the launcher, of ranks that only miss another, advice of the libraries.
AFTERMATH = frozenset(
    (
        "<NO_OTHER_FAILURES>",
        "compilation terminated.",
        "ncclInternalError: Internal check failed.",
        "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
        "ncclUnhandledCudaError: Call to CUDA function failed.",
        "<path> UserWarning: TensorFloat# tensor cores are available but not enabled.",
        "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktr"
        "ace below might be incorrect.",
        "Compile with <name> to enable device-side assertions.",
        "Device-side assertion tracking was not enabled by user.",
        "During handling of the above exception, another exception occurred:",
        "Exception raised from recvBytes at <path> (most recent call first):",
        "Exception raised from sendBytes at <path> (most recent call first):",
        "Failures:",
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=#",
        "Root Cause (first observed failure):",
        "Set TORCHDYNAMO_VERBOSE=# for the internal stack trace (please do this especially if you'r"
        "e reporting a bug to PyTorch).",
        "Set TORCH_LOGS=<name> and TORCHDYNAMO_VERBOSE=# for more information",
        "The above exception was the direct cause of the following exception:",
        "W# <clock> # <path>] Received # death signal, shutting down workers",
        "W# <clock> # <path>] Sending process # closing signal SIGTERM",
        "You can suppress this exception and fall back to eager by setting:",
        "[E# <clock> ProcessGroupNCCL.cpp:#] [PG ID # PG GUID #(default_pg) Rank #] failure detecte"
        "d by watchdog at work sequence id: # PG status: last enqueued work: # last completed work:"
        " #",
        "[E# <clock> ProcessGroupNCCL.cpp:#] [Rank #] Some NCCL operations have failed or timed out"
        ". Due to the asynchronous nature of CUDA kernels, subsequent GPU operations might run on c"
        "orrupted/incomplete data.",
        "[E# <clock> ProcessGroupNCCL.cpp:#] [Rank #] To avoid data inconsistency, we are taking th"
        "e entire process down.",
        "[W# <clock> ProcessGroupNCCL.cpp:#] Warning: WARNING: destroy_process_group() was not call"
        "ed before program exit, which can leak resources. For more info, please see <url> (functio"
        "n operator())",
        "[W# <clock> TCPStore.cpp:#] [c#d] recvValue failed on SocketImpl(fd=# addr=[localhost]:# r"
        "emote=[localhost]:#): Failed to recv, got # bytes",
        "[W# <clock> TCPStore.cpp:#] [c#d] sendBytes failed on SocketImpl(fd=# addr=[localhost]:# r"
        "emote=[localhost]:#): Broken pipe",
        "from user code:",
        "note: run with <name> environment variable to display a backtrace",
        "terminate called after throwing an instance of <name>",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
    )
)
