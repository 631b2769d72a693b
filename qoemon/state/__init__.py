"""What survives a crash: a store on disk, and whoever keeps it up to date."""
