"""`completion`: the script by which a shell asks this program what may come next."""

import argparse
import sys

from runner.exit_codes import Exit
from tui.cli.parser import Parser

# Each asks the very program that is being typed; what that says stands on the line and means nothing to the shell.
BASH = r"""# bash completion of nanochat-tui
_nanochat_tui() {
    local IFS=$'\n' program=${COMP_WORDS[0]/#\~\//$HOME/} first line
    COMPREPLY=()
    {
        IFS= read -r first
        while IFS= read -r line; do COMPREPLY+=("$line"); done
    } < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null)
    type compopt &>/dev/null || return 0
    case $first in
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
        open) compopt -o nospace ;;
    esac
}
if type compopt &>/dev/null; then
    complete -F _nanochat_tui nanochat-tui
else
    complete -o default -F _nanochat_tui nanochat-tui
fi
"""
ZSH = r"""#compdef nanochat-tui
_nanochat_tui() {
    local program=${${(Q)words[1]}/#\~\//$HOME/} tab=$'\t' line rest
    local -a lines whole whole_shown open open_shown
    lines=("${(@f)$("$program" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
    case $lines[1] in
        files) compset -P '--[a-z-]#='; _files; return ;;
        folders) compset -P '--[a-z-]#='; _files -/; return ;;
    esac
    shift lines
    for line in "$lines[@]"; do
        rest=${line#*$tab}
        if [[ ${rest%%$tab*} == open ]]; then
            open+=("${(Q)line%%$tab*}") open_shown+=("${rest#*$tab}")
        else
            whole+=("${(Q)line%%$tab*}") whole_shown+=("${rest#*$tab}")
        fi
    done
    (( $#whole )) && compadd -l -V words -d whole_shown -a whole
    (( $#open )) && compadd -l -V open -S '' -d open_shown -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _nanochat_tui "$@"; else compdef _nanochat_tui nanochat-tui; fi
"""
FISH = r"""# fish completion of nanochat-tui
function __nanochat_tui
    set -l words (commandline -opc)
    set -l last (commandline -ct | string unescape 2>/dev/null; or commandline -ct | string trim --left --chars \'\")
    set -l said ($words[1] __complete fish $words[2..] "$last" 2>/dev/null </dev/null | string split0)
    set -l before (string match -r -- '^--[a-z-]+=' "$last")
    set -l path (string replace -r -- '^--[a-z-]+=' '' "$last")
    switch "$said[1]"
        case files
            string join0 -- "$before"(__fish_complete_path "$path")
        case folders
            string join0 -- "$before"(__fish_complete_directories "$path")
        case '*'
            string join0 -- $said[2..]
    end
end
complete -c nanochat-tui -f -a '(__nanochat_tui | string split0)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("shell", choices=tuple(SCRIPTS), metavar="SHELL", help="bash, zsh or fish")


def completion(args: argparse.Namespace) -> int:
    """Print the script of a shell; needs no data folder."""
    sys.stdout.write(SCRIPTS[args.shell])
    return Exit.OK
