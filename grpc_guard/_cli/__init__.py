"""The command line: a module or a folder for each subcommand."""
