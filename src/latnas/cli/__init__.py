"""The command line: fills configs, shows progress on stderr, prints results, and turns errors into exit codes."""
