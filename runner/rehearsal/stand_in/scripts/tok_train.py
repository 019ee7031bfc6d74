from runner.rehearsal.tok_train import main

main()
