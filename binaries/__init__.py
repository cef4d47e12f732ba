"""What all command-line programs share: parsing of flags, messages, exit codes."""
