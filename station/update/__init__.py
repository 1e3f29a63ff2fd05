"""Over-the-air updates: what a release is, who may sign it, how it comes here, how the station changes over to it."""
