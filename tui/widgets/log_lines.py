"""What a line of a log is, for its colour and its mark in the gutter."""

STAGE = ("[STAGE]", "[ATTEMPT")
OURS = ("[EXEC]", "[PLAN]", "[JOB]", "[PUBLISH]", "[DEVICE]", "[COMPILE]", "[PREPARED]", "[DONE]", "[CANCELLED]")
GLYPHS = {"stage": "▌", "ours": "·", "beat": "♥", "error": "✗", "eval": "▲"}


def line_kind(text: str) -> str:
    """stage, ours, beat, error, eval, or "" for any other."""
    if text.startswith("[HEARTBEAT]"):
        return "beat"
    if text.startswith(STAGE):
        return "stage"
    if text.startswith(OURS):
        return "ours"
    if text.startswith(("Traceback", "[FAILED]")) or "Error: " in text[:120] or "loss: nan" in text:
        return "error"
    if text.startswith("Step ") or " accuracy: " in text[:40] or "CORE metric" in text[:20]:
        return "eval"
    return ""
