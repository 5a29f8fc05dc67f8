"""From footage to crops: sources, cut-outs, identity, split by shot, manifest."""
