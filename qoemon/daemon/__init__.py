"""One running qoemon: assembly, tick loop, reload, health, shutdown."""
