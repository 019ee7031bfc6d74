"""Lines, as templates, that say nothing of why a run ended."""

import re

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
        "Last error:",
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
# The same, in as many words as there are programs: where to read more, how long it took, that something ended.
_AFTERMATH = re.compile(
    r"(?:Search for|See|Please|For more|To (?:debug|suppress|disable|get|see)|Consider|Try|[Nn]ote:|hint: see|help:"
    r"|If you|You can|Read more|Visit|Refer to|Run with|Set [A-Z_]+=)\b.*"
    r"(?:<url>|inform|debug|report|document|detail|backtrace|trace\b).*"
    r"|(?:real|user|sys) ?#m#s"
    r"|.{0,80}(?:[Ee]xit(?:ed)?|returned|finished)\b(?: with)?(?: an?)?(?: exit| non-zero| error)*"
    r"(?: code| status)?:? #\.?"
    r"|.*\bexitcode : #.*|error_file: .*|traceback : .*"
    r"|\+ .*|(?:\W )?(?:Job|Task|Run|Pod|Container|Process|Command)\b.{0,60}"
    r"\b(?:finished|failed|exited|ended|FAILED)\b.{0,40}"
    r"|.*\[c#d\] (?:recvValue|sendBytes) failed on .*|.*raised the following async exception.*"
    r"|.*\brank # died from signal #"
    r"|Exception in thread .*|Exception raised from .{1,80} \(most recent call first\):"
    r"|.*(?:resource_tracker|semaphore_tracker): .{0,40}leaked .*"
    r"|.*(?:Setting OMP_NUM_THREADS|Stack trace of the failed collective not found).*"
    r"|.*(?:Sending process # closing signal|Received # death signal|destroy_process_group).*"
    r"|.*amdgpu\.ids: No such file or directory|<path> No such file or directory"
)
# What is news of a process that said nothing else.
_END = re.compile(
    r"srun: (?:Terminating|Job step aborted).*|srun: error: .{1,80}: task .{1,40}: Terminated|"
    r".*\bfailed \(exitcode: #\) local_rank: # \(pid: #\) of binary.*"
    r"|Fatal Python error: Aborted|(?:.*: line #: +# +)?Aborted(?: +\(core dumped\).*)?"
)


def follows_any_failure(template: str, *, cause_known: bool) -> bool:
    """Whether a line, as a template, is said after failures of every cause."""
    return bool(template in AFTERMATH or _AFTERMATH.fullmatch(template) or (cause_known and _END.fullmatch(template)))
