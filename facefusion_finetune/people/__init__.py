"""Who: profile, consent, deletion."""
