"""Sets of keys to choose from, by the action: what is not named keeps the keys of the table."""

BACK = ("watch", "compare", "cost", "launch", "files")
CLEAR = ("runs", "view")


def _back(keys: str) -> dict[str, str]:
    return {**{f"{screen}.back": keys for screen in BACK}, **{f"{screen}.clear": keys for screen in CLEAR}}


PRESETS: dict[str, dict[str, str]] = {
    "default": {},
    "vim": {
        **_back("escape,ctrl+o"),
        "app.command_palette": "ctrl+p,colon",
        "view.command_palette": "ctrl+p,colon",
    },
    "emacs": {
        **_back("escape,ctrl+g"),
        "app.command_palette": "alt+x",
        "view.command_palette": "alt+x",
        "move.down": "down,ctrl+n,j",
        "move.up": "up,ctrl+p,k",
        "move.left": "left,ctrl+b,h",
        "move.right": "right,ctrl+f,l",
        "move.page_down": "pagedown,ctrl+v",
        "move.page_up": "pageup,alt+v",
        # Of most terminals Textual takes Alt with a sign for the sign alone.
        "move.top": "home,alt+less_than_sign,less_than_sign,g",
        "move.bottom": "end,alt+greater_than_sign,greater_than_sign,G",
        "log.search": "ctrl+s,slash",
        "log.previous": "ctrl+r,N",
        "log.copy": "alt+w,y",
        "runs.filter": "ctrl+s,slash",
        "checkpoints.filter": "ctrl+s,slash",
        "volume.find": "ctrl+s,slash",
        "volume.copy": "alt+w,y",
        "app.undo": "ctrl+underscore,U",
    },
    "function-keys": {
        "app.help": "f1,question_mark",
        "view.help": "f1,question_mark",
        "app.command_palette": "f12,ctrl+p",
        "view.command_palette": "f12,ctrl+p",
        "app.leave": "f10,q",
        "view.quit": "f10,q",
        "runs.new": "f2,n",
        "runs.watch": "f3,enter",
        "runs.filter": "f4,slash",
        "runs.resume": "f5,r",
        "runs.sort": "f6,s",
        "runs.compare": "f7,v",
        "runs.delete": "f8,x",
        "runs.cancel": "f9,c",
        "watch.metrics": "f2,M",
        "log.search": "f3,slash",
        "log.filter": "f4,f",
        "watch.resume": "f5,r",
        "watch.report": "f6,o",
        "log.error": "f7,e",
        "watch.cancel": "f9,c",
        "cost.watch": "f3,enter",
        "cost.sort": "f6,s",
        "volume.put": "f2,u",
        "volume.open": "f3,enter",
        "volume.filter": "f4,f",
        "files.get": "f5,d",
        "files.sort": "f6,s",
        "volume.find": "f7,slash",
        "files.remove": "f8,x",
        "volume.resume": "f9,r",
        "checkpoints.open": "f3,enter",
        "checkpoints.filter": "f4,slash",
        "checkpoints.keep": "f7,K",
        "checkpoints.resume": "f9,r",
        "sizes.open": "f3,enter",
        "sizes.browse": "f4,o",
    },
}
