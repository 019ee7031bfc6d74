"""What of the command line changes something, so that who only looks is refused before anything is asked."""

import argparse

VOLUME = {
    "get": "bring files to this machine",
    "put": "send files to a volume",
    "rm": "delete files",
    "mv": "move files",
}


def change(args: argparse.Namespace) -> str:
    """What a command would change, as `cancel a run`; empty for one that only looks."""
    match args.command:
        case "launch" | "resume" | "cancel":
            return f"{args.command} a run"
        case "rm":
            return "delete a run"
        case "demo":
            return "make a demo"
        case "restore" if args.what or args.empty:
            return "empty the trash" if args.empty else "bring back what was deleted"
        case "volume":
            return VOLUME.get(args.action, "")
        case "checkpoints" if args.prune:
            return "delete checkpoints"
        case "settings" if args.value is not None:
            return "change settings"
        case "plan" if args.save_recipe:
            return "keep a recipe"
        case "compare" if args.csv or args.svg:
            return "save files on this machine"
        case "doctor" if args.bundle is not None:
            return "save files on this machine"
    return ""
