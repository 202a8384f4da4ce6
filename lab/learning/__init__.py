"""The product's learning loop, driven by experiments: the same ledger, the same rounds."""
