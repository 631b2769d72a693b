"""Access logs of CDNs and web servers: CMCD in the requests of players becomes a recording."""
