"""The machine and not the method: errors, files, devices, processes."""
