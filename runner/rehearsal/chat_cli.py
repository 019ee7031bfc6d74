"""Stand-in for `scripts.chat_cli`: talk to the character model."""

import argparse

from runner.rehearsal.common import begin, load_model
from runner.rehearsal.model import ASSISTANT, USER, CharModel

LONGEST = 200


def reply(model: CharModel, asked: str, *, temperature: float, seed: int) -> str:
    return model.generate(f"{USER}{asked}{ASSISTANT}", LONGEST, temperature=temperature, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat with the model (rehearsal)")
    parser.add_argument("-i", "--source", default="sft")
    parser.add_argument("-g", "--model-tag")
    parser.add_argument("-s", "--step", type=int)
    parser.add_argument("-p", "--prompt", default="")
    parser.add_argument("-t", "--temperature", type=float, default=0.6)
    parser.add_argument("-k", "--top-k", type=int, default=50)
    parser.add_argument("--device-type", default="")
    args = parser.parse_args()
    begin()
    model, _, _ = load_model(args.source, args.model_tag, args.step)
    print("\nNanoChat Interactive Mode\n" + "-" * 50)
    print("Type 'quit' or 'exit' to end the conversation\nType 'clear' to start a new conversation\n" + "-" * 50)
    turn = 0
    while True:
        try:
            asked = args.prompt or input("\nUser: ").strip()
        except (EOFError, KeyboardInterrupt):
            print("\nGoodbye!")
            break
        if asked.lower() in ("quit", "exit"):
            print("Goodbye!")
            break
        if asked.lower() == "clear":
            print("Conversation cleared.")
            continue
        print(f"\nAssistant: {reply(model, asked, temperature=args.temperature, seed=turn)}", flush=True)
        turn += 1
        if args.prompt:
            break
