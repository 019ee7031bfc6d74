from runner.rehearsal.chat_sft import main

main()
