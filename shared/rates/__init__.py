"""How much of something may be used a minute: counted in this process, or in a Redis that several share."""
