"""The kit that all commands share: options, stopping, tables, the machine, and the files that a command leaves."""
