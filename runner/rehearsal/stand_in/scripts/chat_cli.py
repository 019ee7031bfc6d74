from runner.rehearsal.chat_cli import main

main()
