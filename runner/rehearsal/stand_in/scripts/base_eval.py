from runner.rehearsal.base_eval import main

main()
