"""From footage to crops, stage by stage: footage, extraction, coverage, review, split."""
