"""What is typed most, by command: the end of each page of help."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "launch --task speedrun --tag my-first --watch   # a free rehearsal on this machine",
        "ls                                              # all runs",
        "watch my-first                                  # follow one; Ctrl-C leaves it running",
        "volume get my-first: .                          # bring all of it home",
    ),
    "plan": (
        "plan --task speedrun --model d26 --backend modal",
        "plan --recipe quick --model d16 --save-recipe mine",
    ),
    "launch": (
        "launch --task speedrun --model d12 --tag my-first --watch",
        "launch --backend modal --task test --watch      # ten real steps on one H100, under $2",
        "launch --task sft --from my-first --set sft.mmlu-epochs=2",
        "launch --backend modal --task base --model d12 --code ~/my-nanochat --budget 20",
    ),
    "recipes": ("recipes", "recipes speedrun-d24 > my.toml"),
    "find": ("find 'loss: nan'", "find d12 --kind run --json"),
    "restore": (
        "restore             # what can come back",
        "restore my-first",
        "restore --empty",
    ),
    "keys": ("keys                # every key by its id", "keys --json"),
    "flags": ("flags base", "flags --code ~/my-nanochat --json"),
    "ls": ("ls", "ls --backend modal                              # also runs of other machines", "ls --json"),
    "show": ("show last", "show my-first --json", "show my-first --diff                            # what was changed"),
    "logs": (
        "logs my-first -f",
        "logs my-first -n 100 --timestamps",
        "logs my-first --level error --since 2h",
        "logs my-first --grep '~loss: [3-9]'",
    ),
    "view": ("view train.log", "view - < train.log", "view train.log.gz --summary --json"),
    "watch": (
        "watch my-first                                  # Ctrl-C leaves it running",
        "watch my-first --every 1m                       # sentences, for a screen reader",
        "watch last --json | jq .state",
    ),
    "cancel": ("cancel my-first", "cancel my-first bad-day --no-wait"),
    "resume": (
        "resume bad-day --watch",
        "resume bad-day --step 100                       # back to a step; what came later is put aside",
        "resume bad-day --code ~/my-nanochat --budget 40",
    ),
    "rm": (
        "rm bad-day",
        "rm bad-day my-first --yes",
        "rm --forget bad-day                             # its volume is gone",
    ),
    "cost": ("cost", "cost --json | jq .total_usd"),
    "compare": (
        "compare my-first bad-day",
        "compare my-first bad-day --csv c.csv --svg c.svg",
        "compare my-first bad-day --code --diff",
    ),
    "checkpoints": (
        "checkpoints",
        "checkpoints my-first",
        "checkpoints my-first --prune                    # keeps best and last",
    ),
    "volume": ("volume ls runs --sort time", "volume get my-first:report.md .", "volume du --backend modal"),
    "volume ls": ("volume ls", "volume ls my-first:base_checkpoints", "volume ls runs --backend modal --sort size"),
    "volume tree": ("volume tree my-first:", "volume tree --depth 2"),
    "volume du": ("volume du", "volume du runs --backend modal"),
    "volume cat": ("volume cat my-first:report.md", "volume cat my-first:events.jsonl | tail -1 | jq"),
    "volume get": (
        "volume get my-first: .",
        "volume get my-first:base_checkpoints ~/models",
        "volume get my-first:run.toml .",
    ),
    "volume put": ("volume put my-shards base_data_climbmix/ --backend modal", "volume put notes.md my-first:"),
    "volume rm": ("volume rm -r base_data", "volume rm my-first:notes.md --yes"),
    "volume mv": ("volume mv my-first:notes.md my-first:README.md", "volume mv old.txt kept/old.txt"),
    "demo": (
        "demo                                            # gone when the app is left",
        "demo --home ~/nanochat-demo --no-open           # stays; says how to look at it",
    ),
    "completion": (
        "completion bash > ~/.local/share/bash-completion/completions/nanochat-tui",
        "completion zsh > ~/.zfunc/_nanochat-tui         # with fpath+=~/.zfunc before compinit",
        "completion fish > ~/.config/fish/completions/nanochat-tui.fish",
    ),
    "settings": (
        "settings",
        "settings gpu B200",
        "settings gpu default                            # take it back",
        "settings on_notice 'notify-send \"$NANOCHAT_TEXT\"'",
    ),
    "doctor": ("doctor", "doctor --backend modal --engine nanochat", "doctor --bundle report.zip --run bad-day"),
}
