"""The subcommands beside the daemon. Only the command line imports them."""
