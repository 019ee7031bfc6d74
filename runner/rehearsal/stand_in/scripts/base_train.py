from runner.rehearsal.base_train import main

main()
