"""Warnings of a run that are told beyond its screen: each minute that nobody knows of them costs money or the model."""

NAN = "loss is nan"
NO_KERNEL = "Flash Attention 3 did not load: attention is slower, and paid for"
KERNEL_UNUSED = "Flash Attention 3 is not used: attention is slower, and paid for"
SLOW_WINDOWS = (
    "sliding windows without Flash Attention 3 cost a quarter of the speed: cancel and mend it, or launch with"
    " --window-pattern L"
)


def alarm(warning: str) -> str:
    """What a warning is an alarm of, empty when it is none: each kind is told once in an attempt."""
    if warning.startswith(NAN):
        return "nan"
    return "attention" if warning in (NO_KERNEL, KERNEL_UNUSED, SLOW_WINDOWS) else ""
