"""The code that runs beside the GPU, in a container or a local process, and nowhere else."""
