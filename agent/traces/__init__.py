"""What a run leaves to be read: events, the manifest, and readers and views of them."""
