"""How bytes travel: the peers' network and its frames, and HTTP/2 for clients."""
