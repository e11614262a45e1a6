"""Matrix products and convolutions: recognised in a stage, cut into tiles, written as loops."""
