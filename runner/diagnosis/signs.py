"""Lines that tell a failure by themselves: of the kernel, the driver, a scheduler, a compiler, a shell, the runtime of
C++, torchrun and NCCL. One table, also for the search for errors in a log."""

import functools
import re
from collections.abc import Callable

from msgspec import Struct

from runner.diagnosis.advice import Cause as C
from runner.diagnosis.message_causes import cause_in_words
from runner.diagnosis.signals import SHELL, ZSH, sign_of_signal, signal_of_exit_code
from runner.text import units

# What an Xid says of the program that ran on the GPU, not of the GPU.
_XID_OF_PROGRAM = frozenset({8, 13, 31, 43, 45, 68, 69})


# A warning, which is of a failure where a GPU is missed then.
OF_CUDA_INIT = "CUDA initialization"


class Sign(Struct, frozen=True):
    """What one line shows. `prose`: a model could have written it; `rank` and `code` where it names them."""

    cause: C
    text: str
    rank: int | None = None
    code: int | None = None
    prose: bool = False


_Make = Callable[[re.Match[str]], Sign | None]


def _text(cause: C) -> _Make:
    return lambda m: Sign(cause, m[0].strip())


def _named(cause: C, what: str) -> _Make:
    return lambda m: Sign(cause, what.format(*m.groups()))


def _by_words(otherwise: C) -> _Make:
    """The words in the pattern's last group decide."""
    return lambda m: Sign(cause_in_words(m[m.lastindex or 0]) or otherwise, m[m.lastindex or 0].strip())


def _if_named(m: re.Match[str]) -> Sign | None:
    cause = cause_in_words(m[1])
    return Sign(cause, m[1].strip()) if cause else None


def _shell(m: re.Match[str]) -> Sign:
    number = SHELL[m["word"]]
    return Sign(sign_of_signal(number), f"killed by signal {number}", code=-number, prose=m["at"] is None)


def _exit_code(m: re.Match[str]) -> Sign | None:
    number = signal_of_exit_code(int(m[1]))
    return Sign(sign_of_signal(number), f"killed by signal {number}", code=-number) if number else None


def _xid(m: re.Match[str]) -> Sign:
    number = int(m[1])
    words = ", ".join(part for part in m[2].strip(" ,:.").split(", ") if not part.startswith(("pid=", "name=")))
    what = f"the GPU reported Xid {number}" + (f": {words}" if words else "")
    return Sign(C.KERNEL_FAULT if number in _XID_OF_PROGRAM else C.GPU_FAULT, what[:300])


def _rank_failed(m: re.Match[str]) -> Sign:
    code, rank = int(m[1]), int(m[2])
    number = signal_of_exit_code(code)
    if number:
        return Sign(sign_of_signal(number), f"rank {rank} was killed by signal {number}", rank, -number)
    return Sign(C.EXIT, f"rank {rank} ended with exit code {code} and did not say why", rank, code)


def _exited(m: re.Match[str]) -> Sign | None:
    number = signal_of_exit_code(int(m[1]))
    return Sign(sign_of_signal(number), f"a rank was killed by signal {number}", code=-number) if number else None


def _got_signal(m: re.Match[str]) -> Sign:
    return Sign(sign_of_signal(int(m[1])), f"torchrun was stopped by signal {m[1]}", code=-int(m[1]))


def _watchdog(m: re.Match[str]) -> Sign:
    said_by = re.search(r"\[[Rr]ank ?(\d{1,6})\]", m[0])
    rank = int(said_by[1]) if said_by else None
    op, waited = re.search(r"OpType=(\w{1,40})", m[1]), re.search(r"Timeout\(ms\)=(\d{1,12})", m[1])
    who = f"rank {rank}" if rank is not None else "a rank"
    waits = f" for {int(waited[1]) / 1000:,.0f} s" if waited else ""
    return Sign(
        C.TIMED_OUT, f"{who} waited{waits} in {op[1] if op else 'a collective'} for GPUs that did not answer", rank
    )


def _stuck(m: re.Match[str]) -> Sign:
    return Sign(C.TIMED_OUT, f"a rank waited {m[1]} s in vain for the others (NCCL's watchdog got stuck)")


def _oom_kill(m: re.Match[str]) -> Sign:
    size = re.search(r"anon-rss:(\d{1,15})kB", m[0])
    had = f", which had {units.size(int(size[1]) * 1024)}" if size else ""
    return Sign(
        C.HOST_KILLER, f"the kernel killed {m[2] or 'a process'}{had}: the machine or container ran out of memory"
    )


_OURS = re.compile(r"slurmstepd|srun|=>>|Job |job ")
_OUT = "a limit on memory was reached and the job was killed: "
# Each line: words of which it has one (what the search for errors looks for first), its pattern, what it becomes. A
# pattern is tried at the beginning of the line, after `[rankN]:`; `.*` in front of it where others print before it.
_TABLE: tuple[tuple[str, str, _Make], ...] = (
    # The kernel and what limits memory.
    (
        "Killed process|Kill process",
        r".{0,200}?\bKill(?:ed)? process (\d+) \((.{1,60}?)\).*",
        _oom_kill,
    ),
    (
        "oom-kill:constraint",
        r".{0,200}oom-kill:constraint=.*",
        lambda m: Sign(C.HOST_KILLER, "the kernel killed a process for want of memory"),
    ),
    (
        "oom_kill event|oom-kill event",
        r".{0,200}[Dd]etected \d+ oom[-_]kill event.*",
        lambda m: Sign(C.HOST_KILLER, _OUT + m[0].strip()[:160]),
    ),
    (
        "Out Of Memory",
        r"srun: error: .{1,200}: task .{1,40}: Out Of Memory",
        lambda m: Sign(C.HOST_KILLER, _OUT + m[0]),
    ),
    (
        "emory limit",
        r".{0,200}(?:[Ee]xceed\w*|[Oo]ver) .{0,60}?\b(?:job |step |its |the )*[Mm]emory limit.*",
        lambda m: Sign(C.HOST_KILLER, _OUT + m[0].strip()[:160], prose=not _OURS.match(m[0])),
    ),
    ("TERM_MEMLIMIT", r"TERM_MEMLIMIT.*", lambda m: Sign(C.HOST_KILLER, _OUT + m[0])),
    (
        "job killed: ",
        r"=>> PBS: job killed: walltime.*",
        lambda m: Sign(C.TIME_LIMIT, f"the scheduler's time limit was reached: {m[0][4:]}"),
    ),
    ("job killed: ", r"=>> PBS: job killed: .*mem.*", lambda m: Sign(C.HOST_KILLER, _OUT + m[0][4:])),
    (
        "OOMKilled",
        r".{0,200}\bOOMKilled\b.*",
        lambda m: Sign(C.HOST_KILLER, "the container was killed: it ran out of memory (OOMKilled)", prose=True),
    ),
    (
        "earlyoom|systemd-oomd|memory pressure",
        r".{0,120}(?:earlyoom|systemd-oomd|killed due to (?:the node running low on memory|memory pressure)).*",
        lambda m: Sign(C.HOST_KILLER, _OUT + m[0].strip()[:160]),
    ),
    (
        "low on resource: memory|the request memory|the requested memory",
        r".{0,200}(?:low on resource: memory|exceed\w* the request(?:ed)? memory).*",
        lambda m: Sign(C.HOST_KILLER, _OUT + m[0].strip()[:160]),
    ),
    (
        "invoked oom-killer|killed as a result of limit",
        r".{0,200}(?:invoked oom-killer|killed as a result of limit of).*",
        lambda m: Sign(C.HOST_KILLER, "the kernel killed a process for want of memory"),
    ),
    # A scheduler, a platform.
    (
        "DUE TO ",
        r".{0,200}CANCELLED AT \S{1,40} DUE TO TIME LIMIT.*",
        lambda m: Sign(C.TIME_LIMIT, "the scheduler's time limit was reached"),
    ),
    (
        "TERM_RUNLIMIT",
        r"TERM_RUNLIMIT.*",
        lambda m: Sign(C.TIME_LIMIT, f"the scheduler's time limit was reached ({m[0][:80]})"),
    ),
    (
        "hard limit|time limit",
        r".{0,120}(?:reached|exceeded|hit) (?:the |its )?(?:hard |wall(?:clock|time) |run ?)?time limit.*",
        lambda m: Sign(C.TIME_LIMIT, f"a time limit was reached: {m[0].strip()[:160]}", prose=not _OURS.match(m[0])),
    ),
    (
        "DeadlineExceeded",
        r".{0,120}\bDeadlineExceeded\b.{0,40}(?:longer than|deadline).*",
        lambda m: Sign(C.TIME_LIMIT, "the job was active longer than its deadline allows", prose=True),
    ),
    (
        "DUE TO ",
        r".{0,200}CANCELLED AT \S{1,40} DUE TO PREEMPTION.*",
        lambda m: Sign(C.PREEMPTED, "the scheduler took its machine for another job"),
    ),
    (
        "DUE TO |NODE FAIL",
        r".{0,200}(?:CANCELLED AT \S{1,40} DUE TO NODE FAIL\w*|Node failure on \S{1,80}).*",
        lambda m: Sign(C.NODE, "the machine it ran on failed"),
    ),
    (
        "CANCELLED AT",
        r"slurmstepd: error: \*\*\* .{1,120} CANCELLED AT \S{1,40}(?: \*\*\*)?.*",
        lambda m: Sign(C.CUT_OFF, "somebody or the scheduler cancelled the job"),
    ),
    (
        "preemption|preempted|reclaimed",
        r".{0,60}(?:interrupted|stopped|terminated|reclaimed) (?:due to|by|for) (?:\w+ ){0,2}preempt\w*.*"
        r"|(?i:.{0,120}\b(?:cluster|node|instance|vm|machine|worker|job|pod)\b.{0,40}"
        r"\b(?:is|was|has been|got|were|being) (?:preempted|reclaimed)\b.*)",
        lambda m: Sign(C.PREEMPTED, "its machine was taken away (preempted)", prose=True),
    ),
    (
        "ephemeral",
        r".{0,160}(?:low on resource: ephemeral-storage|ephemeral local storage usage exceeds).*",
        lambda m: Sign(C.DISK_FULL, m[0].strip()[:200]),
    ),
    (
        "exit code|exited with|exit status|Exit Code|Exit code|return code|error code",
        r"(?i:.{0,120}\b(?:exit(?:ed with)?|return|error) (?:code|status)\W{1,6}(1[3-5]\d)\b.*)",
        _exit_code,
    ),
    (
        "exited on signal",
        r"mpirun noticed .{1,200} exited on signal (\d{1,2}).*",
        lambda m: Sign(sign_of_signal(int(m[1])), f"killed by signal {m[1]}", code=-int(m[1])),
    ),
    # The GPU and its driver.
    (
        "Xid|XID",
        r".{0,200}?\b(?:Xid|XID)\b(?:[^(\d]{0,10}\([^)]{0,40}\))?\D{0,20}(\d{1,3})\b(.{0,300})",
        _xid,
    ),
    (
        "fallen off",
        r".{0,120}\bGPU\b.{0,80}fallen off (?:of )?the bus.*",
        lambda m: Sign(C.GPU_FAULT, "the GPU has fallen off the bus", prose=True),
    ),
    ("Unable to determine the device handle", r"Unable to determine the device handle.*", _text(C.GPU_FAULT)),
    (
        "nvidia-container-cli|could not select device driver",
        r".{0,400}(nvidia-container-cli: .{1,300}|could not select device driver.{0,100})",
        lambda m: Sign(C.GPU_MISSING, m[1].strip()[:300]),
    ),
    (
        "Failed to initialize NVML",
        r"Failed to initialize NVML: (.*)",
        lambda m: Sign(cause_in_words(m[1]) or C.GPU_MISSING, m[0].strip()),
    ),
    (
        "Assertion `",
        r"\S{1,300}\.(?:cu|cuh|h|hpp|cpp):\d{1,6}: .{0,300}[Aa]ssertion `(.{1,200}?)` failed.*",
        lambda m: Sign(
            words
            if (words := cause_in_words(m[1])) in (C.TOKEN_RANGE, C.NOT_FINITE)
            else C.TOKEN_RANGE
            if "index" in m[1].lower()
            else C.KERNEL_FAULT,
            f"a kernel's assertion failed: {m[1]}",
        ),
    ),
    ("Hardware Error]", r".{0,200}\[Hardware Error\]: .*", _named(C.NODE, "the machine's hardware reported an error")),
    (
        "UserWarning: CUDA initialization",
        r".{0,300}UserWarning: CUDA initialization: (.*)",
        lambda m: Sign(cause_in_words(m[1]) or C.GPU_MISSING, f"{OF_CUDA_INIT}: {m[1]}"),
    ),
    (
        "ounting filesystem read-only|Buffer I/O error|I/O error, dev|Corruption of|utting down file",
        r".{0,200}(?:(?:EXT4-fs|XFS|BTRFS|JBD2|blk_update_request|nvme|ata|sd[a-z]|nfs|Buffer I/O|print_req_error)\b"
        r".{0,200}(?:[Rr]emounting filesystem read-only|I/O error|error|Corruption|[Ss]hutting down file))(.*)",
        lambda m: Sign(C.DISK_FAULT, f"the disk failed: {m[0].strip()[:200]}"),
    ),
    # Compilers and loaders.
    (
        "fatal error: ",
        r"(?:\S{1,300}:\d{1,7}: |\S{0,80}(?:gcc|g\+\+|clang|cc1plus|c\+\+)\S{0,20}: )fatal error: (.{1,300})",
        _named(C.COMPILER, "the compiler gave up: {}"),
    ),
    (
        "ld: |ld returned",
        r"(?:\S{0,200}/)?(?:\S{0,40}-)?ld(?:\.\w+)?: (cannot find .{1,200}|.{1,200}undefined reference.{0,200})",
        _named(C.COMPILER, "the linker gave up: {}"),
    ),
    (
        "nvcc fatal|ptxas fatal",
        r"(?:nvcc|ptxas) fatal\s*: (.{1,300})",
        lambda m: Sign(cause_in_words(m[0]) or C.COMPILER, f"the compiler gave up: {m[1]}"),
    ),
    (
        "error while loading shared libraries",
        r".{1,300}: error while loading shared libraries: (.{1,300})",
        lambda m: Sign(cause_in_words(m[1]) or C.LIBRARY, m[1]),
    ),
    (
        "symbol lookup error|GLIBC",
        r".{1,300}: (symbol lookup error: .{1,300}|version `GLIBC\S{1,40} not found.*)",
        lambda m: Sign(C.LIBRARY, m[1]),
    ),
    # Shells, Python and command lines.
    (
        "|".join(SHELL),
        r"(?P<at>(?:\S{1,300}: )?line \d{1,7}: +\d{1,9} |srun: error: .{1,120}: task .{1,40}: )?(?P<word>"
        + "|".join(SHELL)
        + r")(?P<core> +\(core dumped\))?(?(at).*|(?: +(?:python|torchrun|uv)\b.{0,300})?)",
        _shell,
    ),
    (
        "zsh: ",
        r"zsh: (abort|segmentation fault|killed|bus error|illegal hardware instruction|terminated) +\S.*",
        lambda m: Sign(sign_of_signal(ZSH[m[1]]), f"killed by signal {ZSH[m[1]]}", code=-ZSH[m[1]]),
    ),
    (
        "failed assertion `",
        r".{1,400}:\d{1,6}: failed assertion `(.{1,300})'",
        lambda m: Sign(C.KERNEL_FAULT, f"native code's assertion failed: {m[1]}"),
    ),
    ("exec format error", r"exec (\S{1,200}): exec format error", _named(C.PROGRAM, "{} cannot be executed here")),
    (
        "Fatal Python error: ",
        r"Fatal Python error: (.{1,100})",
        lambda m: Sign(sign_of_signal(SHELL.get(m[1], 6)), f"Python itself died: {m[1]}", code=-SHELL.get(m[1], 6)),
    ),
    (
        "Segfault encountered",
        r"!!!!+ Segfault encountered !!!!+",
        lambda m: Sign(C.NATIVE, "killed by signal 11", code=-11),
    ),
    (
        "command not found|: not found|executable file not found",
        r"(?:\S{0,80}sh: (?:(?:line )?\d{1,7}: )?|exec: \"?)(\S{1,200}?)\"?: "
        r"(?:command not found|not found|executable file not found.*)",
        _named(C.PROGRAM, "{} is not installed where the run looks for it"),
    ),
    (
        "can't open file|No module named",
        r"\S{0,200}python\S{0,10}: (can't open file .{1,300}|No module named .{1,200})",
        lambda m: Sign(C.PROGRAM, m[1]),
    ),
    (": error: ", r"(?:\S{0,80}/)?[\w.]{1,80}\.py: error: (.{1,300})", lambda m: Sign(C.SETTINGS, m[1], prose=True)),
    (
        "No space left on device|quota exceeded|endpoint is not connected|nput/output error|Read-only file|Stale file",
        r"[\w./ -]{1,120}: .{0,200}(?:No space left on device|[Dd]isk quota exceeded"
        r"|Transport endpoint is not connected|Input/output error|Read-only file system|Stale file handle)"
        r"(?:\W.{0,200})?",
        lambda m: Sign(cause_in_words(m[0]) or C.DISK_FULL, m[0].strip()[:300]),
    ),
    (
        "libgomp: |OpenBLAS |OMP: Error|bus error encountered|curl: (|fatal: unable to access|wget: |maturin failed"
        "|Rust compiler|error: linker|NVIDIA-SMI has failed|rocBLAS error|memory allocation of|The IPv4 network",
        r"(?:\[[EW]\d{1,6} [^\]]{1,60}\] \[c10d\] |.{0,14}?)"
        r"((?:libgomp|rocBLAS error|memory allocation|The IPv4 network|OpenBLAS \w{1,40}|OMP: Error #\d{1,5}"
        r"|Unexpected bus error|curl|fatal|wget|maturin|error"
        r"|NVIDIA-SMI)\b.{1,400})",
        _if_named,
    ),
    (
        "free(|malloc(|munmap_chunk(|double free|corrupted size|smashing detected",
        r"(?:\*\*\* .{0,200})?(?:free\(|malloc\(|munmap_chunk\(|double free|corrupted size|stack smashing detected).*",
        lambda m: Sign(C.NATIVE, f"native code broke its memory ({m[0].strip()[:100]})"),
    ),
    # The runtime of C++, and the threads of PyTorch.
    (
        "terminate called",
        r"terminate called after throwing an instance of '(.{1,200}?)'.*",
        lambda m: Sign(cause_in_words(m[1]) or C.ABORT, f"native code gave up ({m[1]})"),
    ),
    (
        "libc++abi: terminating",
        r"libc\+\+abi: terminating (?:due to|with) uncaught exception of type (.{1,400})",
        _by_words(C.ABORT),
    ),
    ("  what():  ", r"  what\(\):  (.{1,600})", _by_words(C.CRASH)),
    (
        "WorkNCCL(",
        r".{0,400}?Watchdog caught collective operation timeout: WorkNCCL\((.{0,400})",
        _watchdog,
    ),
    ("watchdog got stuck", r".{0,400}watchdog got stuck for (\d{1,6}) seconds.*", _stuck),
    (
        "eartbeat monitor timed out",
        r".{0,400}[Hh]eartbeat monitor timed out!.*",
        lambda m: Sign(C.TIMED_OUT, "NCCL's heartbeat monitor timed out: a rank hung"),
    ),
    (
        "terminated with exception: ",
        r".{0,400}watchdog thread terminated with exception: (?!.{0,40}Watchdog caught)(.{1,400})",
        _by_words(C.NCCL),
    ),
    ("NCCL WARN ", r".{0,200}NCCL WARN (.{1,300})", _if_named),
    # torchrun.
    ("  exitcode  : ", r"  exitcode  : (-?\d{1,4}) \(pid: .*", _exited),
    ("failed (exitcode: ", r".{0,200}failed \(exitcode: (-?\d{1,4})\) local_rank: (\d{1,4}) .*", _rank_failed),
    (
        "SignalException: ",
        r"(?:torch\.distributed\.elastic\.\S{1,80})?SignalException: Process \d{1,9} got signal: (\d{1,3})",
        _got_signal,
    ),
)
WORDS = tuple(dict.fromkeys(word for words, _, _ in _TABLE for word in words.split("|")))
_HAS = re.compile("|".join(map(re.escape, WORDS)))
_OF_WORD = {word: [n for n, (words, _, _) in enumerate(_TABLE) if word in words.split("|")] for word in WORDS}


@functools.cache
def _pattern(number: int) -> re.Pattern[str]:
    """Compiled when a line has one of its words: most programs meet few, and start sooner."""
    return re.compile(_TABLE[number][1])


def sign_of(line: str) -> Sign | None:
    """What a cleaned line shows by itself; None for one that tells no failure."""
    words = set(_HAS.findall(line))
    for number in sorted({number for word in words for number in _OF_WORD[word]}) if words else ():
        make = _TABLE[number][2]
        if (whole := _pattern(number).fullmatch(line)) and (sign := make(whole)):
            return sign
    return None
