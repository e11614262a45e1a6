"""Kernels, and the passes that place them (`NOTES/KERNELS.md` says what each does and how fast).

- `graph`: what is done to a Relax module before its operators become loops;
- `attention`, `gathered`, `rotary`, `winograd`: generated kernels, with the passes that place them;
- `products`: matrix products and convolutions; `amx`: these and attention in matrix tiles;
- `gpu`: schedules for GPUs, from TVM's own;
- the modules here: rules that give every other TIR function of a CPU its loops (`default` asks them
  in turn, `lower` applies them), and what all kernels share.
"""
