"""The stages. Each is a function of one frozen config, from files to files; none imports another."""
