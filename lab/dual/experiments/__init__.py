"""Each experiment on the dual model, one file each: what is measured, and how it is drawn."""
