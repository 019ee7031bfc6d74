"""Which tokenizer a run takes: the one that all runs of a volume share, or one of its own. Pure."""

from runner.nanochat import layout, shapes
from runner.nanochat.command_lines import ResolvedSpec
from runner.nanochat.layout import Inventory


def asked_for(s: ResolvedSpec) -> tuple[str, ...]:
    """How a tokenizer was asked for, but for what every run is given: two runs that agree share one.

    Of nanochat's own the size of the vocabulary is seen in the files.
    """
    given = s.spec.overrides
    typed = [("max-chars", given.tokenizer_chars)]
    typed += [("vocab-size", given.vocab_size)] if s.spec.engine == "rehearsal" else []
    flags = {f"{one.name.replace('_', '-')}={one.value}" for one in s.spec.flags if one.stage == "tokenizer"}
    return tuple(sorted(flags | {f"{name}={value}" for name, value in typed if value is not None}))


def unlike_shared(s: ResolvedSpec, has: Inventory) -> str:
    """Why a run must not take the tokenizer that is shared, and trains its own beside it; empty where it may.

    One that others may use is never written over while it is whole.
    """
    if not has.tokenizer or has.tokenizer_of_run:
        return ""
    vocab = s.values.vocab_size or shapes.VOCAB
    if s.spec.engine == "nanochat" and not layout.has_vocabulary(has.token_bytes, vocab):
        return f"the one there has not {vocab:,} tokens"
    if s.spec.source:
        # What its model was trained with is known by the digest.
        return ""
    asked = asked_for(s)
    if has.tokenizer_asked is None:
        flags = any(one.stage == "tokenizer" for one in s.spec.flags)
        return "how the one there was made is not known" if flags else ""
    if asked != has.tokenizer_asked:
        made = ", ".join(has.tokenizer_asked)
        return f"the one there was made with {made}" if made else f"the one there was made without {', '.join(asked)}"
    return ""
