from runner.rehearsal.dataset import main

main()
