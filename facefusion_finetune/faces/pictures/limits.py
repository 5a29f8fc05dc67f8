"""How much a picture file may cost before it is refused."""

MAX_PIXELS = 110_000_000
"""Of one picture: those of cameras and phones have up to 108 million. Decoding more than this takes
over a gigabyte in one place or another."""

MAX_FRAME_PIXELS = 24_000_000
"""Larger pictures are scaled down to this: several are in memory at the same time."""

MAX_BYTES = 500_000_000
"""Of a picture file: 16-bit TIFFs of `MAX_PIXELS` may have more, everything else far less."""

MAX_MEMORY = 900_000_000
"""Bytes that the decoding process may take, where the system can limit it."""

MAX_SECONDS = 12
"""Processor time for one picture: the largest take 4 seconds."""

MAX_WAIT = 60
"""Seconds that one picture may take on a busy machine."""

MAX_CANVAS_PIXELS = 40_000_000
"""Of each picture of an animation, of which a decoder holds several."""

MAX_ANIMATION_PIXELS = 1_000_000_000
"""Of all pictures of an animation together; what comes behind is not used."""

MAX_ANIMATION_PICTURES = 3_000
"""Five minutes of ten pictures a second; they are looked at one by one."""
