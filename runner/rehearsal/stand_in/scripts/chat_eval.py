from runner.rehearsal.chat_eval import main

main()
